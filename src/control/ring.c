/* ring.c - grows to its bound and then turns; it is only in order from 0 while it grows. */
#include "ring.h"

#include <stdlib.h>

void gt_ctl_ring_add(struct gt_ctl_ring *ring, void *item)
{
	if (ring->n == ring->max) {
		free(ring->all[ring->first]);
		ring->all[ring->first] = item;
		ring->first = (ring->first + 1) % ring->max;
		return;
	}
	if (ring->n == ring->cap) {
		ring->cap = GT_MIN(ring->cap ? 2 * ring->cap : 64, ring->max);
		ring->all = gt_grow(ring->all, ring->cap, sizeof(void *));
	}
	ring->all[ring->n++] = item;
}

void *gt_ctl_ring_at(const struct gt_ctl_ring *ring, size_t i)
{
	return ring->all[(ring->first + i) % ring->cap];
}

void gt_ctl_ring_fini(struct gt_ctl_ring *ring)
{
	for (size_t i = 0; i < ring->n; i++)
		free(ring->all[i]);
	free(ring->all);
}
