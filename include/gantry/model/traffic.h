/* model/traffic.h - what a gateway counts: fixed places, so that counting is an increment. Counters
 * grow from the start of the gateway. */
#ifndef GANTRY_MODEL_TRAFFIC_H
#define GANTRY_MODEL_TRAFFIC_H

#include <gantry/base/base.h>

/* How long something took, by upper bounds; the last place is above them all. */
#define GT_HIST_BOUNDS 10
extern const uint32_t gt_hist_bounds_ms[GT_HIST_BOUNDS];

struct gt_hist {
	uint64_t n[GT_HIST_BOUNDS + 1];
	uint64_t sum_us;
};

void gt_hist_add(struct gt_hist *h, uint64_t ns);

/* Why calls are refused: slugs of problem.tbl. [0] "other" stands for those that are not listed. */
#define GT_REFUSALS 16
extern const char *const gt_refusal_names[GT_REFUSALS];

unsigned gt_refusal_index(const char *slug);

#endif
