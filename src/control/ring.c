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

int gt_ctl_ring_after(const struct gt_ctl_ring *ring, uint64_t last, uint64_t after,
		      const char *what, size_t *ret, struct gt_err *err)
{
	uint64_t first = last - ring->n + 1;

	if (after != 0 && after + 1 < first)
		return gt_err_set(err, ERANGE, "cursor_gone",
				  "%s after %llu are no longer kept; the oldest kept is %llu: "
				  "list from the start",
				  what, (unsigned long long)after, (unsigned long long)first);
	*ret = after >= first ? (size_t)GT_MIN(after - first + 1, ring->n) : 0;
	return 0;
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
