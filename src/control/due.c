/* due.c - functions ordered by the time at which something must be decided without a new input. A
 * heap: ten thousand functions at zero are not in it, so they cost no timer. */
#include "control_priv.h"

#include <stdlib.h>

static void heap_put(struct gt_control *c, size_t at, struct gt_ctl_live *live)
{
	c->heap[at] = live;
	live->due_slot = at + 1;
}

static void heap_up(struct gt_control *c, size_t at)
{
	struct gt_ctl_live *live = c->heap[at];

	while (at > 0 && c->heap[(at - 1) / 2]->due_ns > live->due_ns) {
		heap_put(c, at, c->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(c, at, live);
}

static void heap_down(struct gt_control *c, size_t at)
{
	struct gt_ctl_live *live = c->heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= c->n_heap)
			break;
		if (child + 1 < c->n_heap && c->heap[child + 1]->due_ns < c->heap[child]->due_ns)
			child++;
		if (c->heap[child]->due_ns >= live->due_ns)
			break;
		heap_put(c, at, c->heap[child]);
		at = child;
	}
	heap_put(c, at, live);
}

static void heap_remove(struct gt_control *c, struct gt_ctl_live *live)
{
	size_t at = live->due_slot - 1;
	struct gt_ctl_live *last = c->heap[--c->n_heap];

	live->due_slot = 0;
	if (last == live)
		return;
	heap_put(c, at, last);
	heap_up(c, at);
	heap_down(c, last->due_slot - 1);
}

void gt_ctl_due_set(struct gt_control *c, struct gt_ctl_live *live, uint64_t due_ns)
{
	live->due_ns = due_ns;
	if (due_ns == CTL_NEVER) {
		if (live->due_slot)
			heap_remove(c, live);
		return;
	}
	if (!live->due_slot) {
		if (c->n_heap == c->cap_heap) {
			c->cap_heap = c->cap_heap ? 2 * c->cap_heap : 16;
			c->heap = gt_grow(c->heap, c->cap_heap, sizeof(struct gt_ctl_live *));
		}
		heap_put(c, c->n_heap++, live);
	}
	heap_up(c, live->due_slot - 1);
	heap_down(c, live->due_slot - 1);
}

uint64_t gt_ctl_due_first(const struct gt_control *c)
{
	return c->n_heap ? c->heap[0]->due_ns : CTL_NEVER;
}
