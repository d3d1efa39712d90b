/* ring.h - the newest so many things, each a block of memory of its own. */
#ifndef GANTRY_CONTROL_RING_H
#define GANTRY_CONTROL_RING_H

#include <gantry/base/err.h>

/* Starts zeroed but for max. */
struct gt_ctl_ring {
	size_t max;
	void **all;
	size_t n, cap, first;
};

/* When there are max already, the oldest is freed. */
void gt_ctl_ring_add(struct gt_ctl_ring *ring, void *item GT_TAKES);
/* Things have ids without gaps, the newest `last`: *ret = place of the first whose id is above
 * `after`, n when there is none; 0 = from the oldest kept. -ERANGE (slug cursor_gone) when some of
 * those are no longer kept. what: "events". */
GT_MUST_USE int gt_ctl_ring_after(const struct gt_ctl_ring *ring, uint64_t last, uint64_t after,
				  const char *what, size_t *ret, struct gt_err *err);
void *gt_ctl_ring_at(const struct gt_ctl_ring *ring, size_t i); /* i < n; 0 is the oldest */
void gt_ctl_ring_fini(struct gt_ctl_ring *ring);

#endif
