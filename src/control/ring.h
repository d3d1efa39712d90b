/* ring.h - the newest so many things, each a block of memory of its own. */
#ifndef GANTRY_CONTROL_RING_H
#define GANTRY_CONTROL_RING_H

#include <gantry/base/base.h>

/* Starts zeroed but for max. */
struct gt_ctl_ring {
	size_t max;
	void **all;
	size_t n, cap, first;
};

/* When there are max already, the oldest is freed. */
void gt_ctl_ring_add(struct gt_ctl_ring *ring, void *item GT_TAKES);
void *gt_ctl_ring_at(const struct gt_ctl_ring *ring, size_t i); /* i < n; 0 is the oldest */
void gt_ctl_ring_fini(struct gt_ctl_ring *ring);

#endif
