/* scale_priv.h - what the files of this room share: the state of one function. */
#ifndef GANTRY_SCALE_PRIV_H
#define GANTRY_SCALE_PRIV_H

#include <gantry/scale/scale.h>

/* Counts that fall while their times grow, so that the first one still in force is the maximum.
 * When more come than fit, two neighbours are merged upwards: replicas are then kept a little
 * longer, never stopped early. */
#define STEPS_MAX 16
struct steps {
	uint32_t n;
	struct step {
		uint32_t count;
		uint64_t end_ns;
	} all[STEPS_MAX];
};

/* `count` counts until end_ns. */
void gt_steps_put(struct steps *w, uint32_t count, uint64_t end_ns);
/* Forgets those whose end is `late_ns` or more before now; returns the highest that is left, and
 * when it ends (UINT64_MAX: none). */
uint32_t gt_steps_max(struct steps *w, uint64_t now_ns, uint64_t late_ns, uint64_t *end_ns);
/* The clock went back by so much. */
void gt_steps_shift(struct steps *w, uint64_t back_ns);

struct gt_scale {
	uint64_t now_ns;   /* of the last input; 0 = none yet */
	uint32_t on;       /* levels that are on */
	struct steps idle; /* by the time at which they were last on */
};

struct gt_scale_pool {
	double starts; /* weight of what was learned of starts */
};

void gt_scale_why(const struct gt_scale_in *in, struct gt_scale_out *out);

#endif
