/* scale_priv.h - what the files of this room share: the states, and the rules as functions. */
#ifndef GANTRY_SCALE_PRIV_H
#define GANTRY_SCALE_PRIV_H

#include <gantry/scale/scale.h>

/* Counts that fall while their times grow, so that the first one still in force is the maximum.
 * When more come than fit, two neighbours are merged upwards: replicas are then kept a little
 * longer, never stopped early. Empty ones hold no memory. */
#define STEPS_MAX 16
struct step {
	uint32_t count;
	uint64_t end_ns;
};
struct steps {
	struct step *all;
	uint8_t n, cap;
};

/* `count` counts until end_ns. */
void gt_steps_put(struct steps *w, uint32_t count, uint64_t end_ns);
/* Forgets those whose end is `late_ns` or more before now; returns the highest that is left, and
 * when it ends (UINT64_MAX: none). */
uint32_t gt_steps_max(struct steps *w, uint64_t now_ns, uint64_t late_ns, uint64_t *end_ns);
void gt_steps_drop(struct steps *w, uint32_t count);    /* forgets those of at most `count` */
void gt_steps_shift(struct steps *w, uint64_t back_ns); /* the clock went back by so much */
struct steps gt_steps_copy(const struct steps *w);
void gt_steps_clear(struct steps *w);

/* How long levels stay off, in bins that grow by the same factor from 1 s to 8 h. */
#define GAP_BINS   48
#define GAP_MOST_S 28800.0

/* One group of levels of one function. */
struct level {
	uint8_t at_risk[GAP_BINS], returned[GAP_BINS]; /* halved before they overflow */
	float harm_s, harm_n; /* measured call-seconds lost by its absence, and how often */
};
#define LEVEL_GROUPS 16

/* Levels from the next run's count up to this one's, which went off at the same time. */
struct off_run {
	uint32_t count;
	uint8_t context; /* of the pool, as it was then */
	uint8_t told;    /* bins that are in the tables already */
	uint64_t off_ns;
};
struct off_runs { /* falling counts, growing times; at most STEPS_MAX */
	struct off_run *all;
	uint8_t n, cap;
};

#define AHEAD 8 /* forecasts that are kept, a quarter of a start apart */

struct gt_scale {
	uint64_t now_ns; /* of the last input; 0 = none yet */
	uint32_t on;     /* levels that are on */
	uint32_t calls, queued;
	struct steps idle; /* by the time at which they were last on */
	struct steps held; /* by the end of their hold */
	struct steps renewed;
	struct off_runs off;
	struct level *levels[LEVEL_GROUPS]; /* NULL: never off */
	struct kpa *kpa;                    /* NULL: that policy was never asked */
	float recent, today;                /* arrivals, decaying in 10 min and in 4 h */
	float fast, slow;                   /* calls at once: means of about 20 and 90 s */
	float service_s, service_n;         /* mean of about the last 32; n 0 = none */
	float start_s, start_n;             /* of the last 8 */
	float ahead[AHEAD];                 /* what `fast` or `slow` said, newest at ahead_at */
	float error2;                       /* mean square by which they were wrong a start later */
	uint8_t ahead_at;
	bool waited; /* there has been a time in which calls waited */
	bool wait_start;
	uint64_t ahead_ns; /* of the newest */
	uint64_t wait_ns;  /* calls wait since then; 0 = nobody waits */
	float wait_call_s;
	uint32_t wait_ready, wait_peak;
};

#define CLASSES  4 /* levels 0, 1, 2, and those above */
#define CONTEXTS 36
struct cell {
	float at_risk, returned;
};
struct gt_scale_pool {
	struct cell cells[CLASSES][CONTEXTS][GAP_BINS];
	struct cell all[CLASSES][GAP_BINS];
	float start_s, start_n;      /* of the last 256 starts of any function */
	double edge_s[GAP_BINS + 1]; /* where bins begin */
};

/* `count` replicas are asked for by this rule; the highest wins, and of equals the first. start: it
 * also asks for new ones. */
void gt_scale_ask(struct gt_scale_out *out, enum gt_scale_rule rule, uint32_t count, bool start);
void gt_scale_why(const struct gt_scale_in *in, struct gt_scale_out *out);

/* ---- load.c: averages, and the floor that they ask for ---- */
double gt_load_start_s(const struct gt_scale *s, const struct gt_scale_pool *pool);
double gt_load_service_s(const struct gt_scale *s);
/* s->calls were there for the last dt_s. */
void gt_load_add(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 double dt_s);
void gt_load_ask(struct gt_scale *s, const struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 struct gt_scale_out *out);

/* ---- levels.c: how soon levels return, and what keeping them is worth ---- */
unsigned gt_level_group(uint32_t level);
struct level *gt_level_get(struct gt_scale *s, uint32_t level);
/* The last level below `to` in the group of `level`. */
uint32_t gt_level_last(uint32_t level, uint32_t to);
void gt_levels_pool_init(struct gt_scale_pool *pool);
/* Levels went off or came on: learns, and sets the ends of holds. */
void gt_levels_change(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		      uint32_t on);
/* Time passed without a return teaches as well. */
void gt_levels_passed(struct gt_scale *s, struct gt_scale_pool *pool, uint64_t now_ns);
/* For how long a level that goes off now is held. */
double gt_levels_hold_s(const struct gt_scale *s, const struct gt_scale_pool *pool, uint32_t level,
			double price);
void gt_levels_shift(struct gt_scale *s, uint64_t back_ns);

/* ---- harm.c: what the absence of a level costs ---- */
/* Waiting call-seconds that its replica would have saved. */
double gt_harm_of(const struct gt_scale *s, uint32_t level, double start_s);
/* s->queued waited for the last dt_s. */
void gt_harm_add(struct gt_scale *s, const struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 double dt_s);

/* ---- kpa.c ---- */
/* `before` calls were there since before_ns. */
void gt_kpa_ask(struct gt_scale *s, const struct gt_scale_in *in, uint32_t before,
		uint64_t before_ns, struct gt_scale_out *out);
void gt_kpa_reset(struct gt_scale *s); /* the clock went back */
struct kpa *gt_kpa_copy(const struct kpa *k);
size_t gt_kpa_bytes(void);

#endif
