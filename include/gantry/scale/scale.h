/* scale/scale.h - how many replicas a function should have.
 *
 * A pure function of (state of the function, state of the pool, input): no I/O, no clock, no
 * randomness. The same states and the same sequence of inputs give the same outputs and states, to
 * the bit, so that a recorded run can be replayed and each decision explained. One thread.
 *
 * A caller tells what it knows whenever something happened, and when due_ns has come: each arrival
 * and completion one by one, or many of them collected in one input. Inputs may be late, may skip
 * what came and went in between, and may repeat without harm.
 *
 * Level k of a function is on while ceil((in_flight + queued) / target) > k: its (k+1)-th replica
 * has work.
 *
 *	queue	up at once: a replica for each level that is on
 *	schedule	and for calls that are booked: they find it ready
 *	age	one more when a call waited max(half a start, 1 s) and nothing is starting
 *	floor	dense load: enough for the mean load and its measured swing (square-root staffing)
 *	hold	a level that went off is kept for as long as a return within that time is likely
 *		enough: the time that minimises cost as learned, at most (start + price x harm), so
 *		that it never costs more than twice the best that hindsight could do (ski rental)
 *	idle	instead of floor and hold, where the user stated a window: the highest need of it
 *	renew	one that became ready, or was found running, is kept for a whole hold or window
 *	buffer	spare replicas on top while anything is needed or held
 *	min, max
 *	kpa	instead of floor, hold and idle: Knative's two windows (autoscaler.go)
 *
 * Every reason to keep a replica ends at a time that due_ns tells; a function with nothing to keep
 * has due_ns UINT64_MAX. */
#ifndef GANTRY_SCALE_SCALE_H
#define GANTRY_SCALE_SCALE_H

#include <gantry/model/spec.h>

const char *gt_scale_policy_name(enum gt_scale_policy p); /* "gantry", "kpa" */
/* -ENOENT for another name. */
GT_MUST_USE int gt_scale_policy_parse(const char *name, enum gt_scale_policy *ret);

#define GT_SCALE_PRICE_DEFAULT GT_DEFAULT_DELAY_PRICE

/* What the user said. */
struct gt_scale_params {
	enum gt_scale_policy policy;
	uint32_t target;   /* calls a replica should hold; 0 is taken as 1 */
	uint32_t min, max; /* min <= max */
	uint32_t buffer;
	bool idle_stated; /* idle_ms is the exact window; else it is only what is used while
			     nothing was learned, and holds may end before and after it */
	uint64_t idle_ms;
	double price; /* replica-seconds that a second of one waiting call is worth; >= 0 */
};

struct gt_scale_in {
	uint64_t now_ns; /* a clock that jumps, back or far ahead, costs one wrong hold at most */
	struct gt_scale_params params;
	/* As it is now. */
	uint32_t in_flight, queued;
	uint32_t booked;          /* calls that a schedule makes within the time of a start */
	uint64_t oldest_wait_ns;  /* of the queued ones; 0 = nobody waits or not known */
	uint32_t ready, starting; /* replicas that stay */
	/* Since the input before; all may be 0 when nobody counts them. */
	uint32_t arrivals, completions;
	uint64_t service_ns; /* sum over `completions`: how long each held its slot */
	uint32_t starts;     /* replicas that became ready */
	uint64_t start_ns;   /* sum over `starts`: from the order to ready */
	uint32_t renew;      /* so many replicas are kept for a whole hold from here on: the number
				that is ready after one became ready or was found running; else 0 */
};

enum gt_scale_rule {
	GT_SCALE_NONE, /* nothing asks for a replica */
	GT_SCALE_QUEUE,
	GT_SCALE_SCHEDULE,
	GT_SCALE_AGE,
	GT_SCALE_FLOOR,
	GT_SCALE_HOLD,
	GT_SCALE_IDLE,
	GT_SCALE_RENEW,
	GT_SCALE_BUFFER,
	GT_SCALE_MIN,
	GT_SCALE_MAX,
	GT_SCALE_KPA_STABLE,
	GT_SCALE_KPA_PANIC,
	GT_SCALE_RULES
};
const char *gt_scale_rule_name(enum gt_scale_rule r); /* "queue", "kpa_stable" ... */

#define GT_SCALE_WHY_SIZE 96
#define GT_SCALE_SILENT   UINT32_MAX
struct gt_scale_out {
	uint32_t need;   /* start replicas while ready + starting is below */
	uint32_t wanted; /* stop ready ones while there are more; >= need */
	uint64_t due_ns; /* decide again then if no input comes before; UINT64_MAX = never */
	enum gt_scale_rule need_rule, wanted_rule; /* which one set them */
	/* The alternatives: how many replicas each rule asked for by itself; GT_SCALE_SILENT when
	 * it has no say here. QUEUE, SCHEDULE, AGE, FLOOR, BUFFER, MIN and KPA ask for starts;
	 * HOLD, IDLE and RENEW only keep; MAX is the limit, and shows only where it cut. */
	uint32_t asked[GT_SCALE_RULES];
	double load;    /* calls at once that the floor took as the coming mean; 0 = none */
	double start_s; /* time of a start that was assumed */
	char why[GT_SCALE_WHY_SIZE]; /* for people: "2 in flight + 1 queued, target 1" */
};

/* ---- state ---- */
/* What all functions teach each other: how soon levels come on again. One for all functions of a
 * control (or of a simulation). 60 KiB, bounded. */
struct gt_scale_pool;
struct gt_scale_pool *gt_scale_pool_new(void);
struct gt_scale_pool *gt_scale_pool_copy(const struct gt_scale_pool *p);
void gt_scale_pool_free(struct gt_scale_pool *p); /* NULL is fine */

/* One function. At zero and never called: nothing is needed at all, callers make it at the first
 * demand. Bounded: below 0.8 KiB, and about 100 bytes more for each of at most 16 groups of levels
 * that ever were on (16 groups reach scale.max 1000). */
struct gt_scale;
struct gt_scale *gt_scale_new(void);
struct gt_scale *gt_scale_copy(const struct gt_scale *s);
void gt_scale_free(struct gt_scale *s);          /* NULL is fine */
size_t gt_scale_bytes(const struct gt_scale *s); /* memory that it holds */

/* Takes the input into both states and decides. */
void gt_scale_decide(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		     struct gt_scale_out *ret);

/* ---- when nothing is free ---- */
/* Replica-seconds that are lost on average when replica `level` (0 = the first) of a function goes
 * now instead of at the end of its hold: chance that it is called within the hold, times (start +
 * price x harm). */
double gt_scale_worth(const struct gt_scale *s, const struct gt_scale_pool *pool,
		      const struct gt_scale_params *params, uint32_t level, uint64_t now_ns);

/* A function with replicas that nobody uses. */
struct gt_scale_held {
	uint32_t spare; /* ready, without a call, above min; 0 = nothing may go */
	uint32_t units; /* of what is short (GPUs) that one replica frees; 0 = it frees none */
	double worth;   /* gt_scale_worth of the one that would go */
};
/* Which one to stop: least worth per unit, ties to the lowest index; never one without spare or
 * units. -ENOENT when there is none. */
GT_MUST_USE int gt_scale_pressure(const struct gt_scale_held *held, size_t n, size_t *ret);

#endif
