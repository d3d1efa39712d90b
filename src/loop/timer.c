/* timer.c - a binary heap of pointers to the timers of their owners. Each timer knows its place,
 * so that clearing one needs no search. */
#include "loop_impl.h"

#include <stdlib.h>

static void heap_put(struct gt_timer_heap *h, size_t i, struct gt_timer *t)
{
	h->timers[i] = t;
	t->slot = i + 1;
}

static void sift_up(struct gt_timer_heap *h, size_t i, struct gt_timer *t)
{
	while (i > 0 && h->timers[(i - 1) / 2]->due_ns > t->due_ns) {
		heap_put(h, i, h->timers[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(h, i, t);
}

static void sift_down(struct gt_timer_heap *h, size_t i, struct gt_timer *t)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->n && h->timers[child + 1]->due_ns < h->timers[child]->due_ns)
			child++;
		if (child >= h->n || h->timers[child]->due_ns >= t->due_ns)
			break;
		heap_put(h, i, h->timers[child]);
		i = child;
	}
	heap_put(h, i, t);
}

void gt_timer_clear(struct gt_loop *l, struct gt_timer *t)
{
	struct gt_timer_heap *h = &l->timers;

	if (!t->slot)
		return;
	size_t i = t->slot - 1;
	struct gt_timer *last = h->timers[--h->n];

	t->slot = 0;
	if (last == t)
		return;
	if (last->due_ns < t->due_ns)
		sift_up(h, i, last);
	else
		sift_down(h, i, last);
}

void gt_timer_set_at(struct gt_loop *l, struct gt_timer *t, uint64_t due_ns, gt_timer_fn *fn,
		     void *arg)
{
	struct gt_timer_heap *h = &l->timers;

	gt_timer_clear(l, t);
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->timers = gt_grow(h->timers, h->cap, sizeof(h->timers[0]));
	}
	t->due_ns = due_ns;
	t->fn = fn;
	t->arg = arg;
	h->n++;
	sift_up(h, h->n - 1, t);
}

/* Counts from the clock and not from the round's start: after a long callback, the delay of a
 * timer would otherwise be partly over before it began. */
void gt_timer_set(struct gt_loop *l, struct gt_timer *t, uint64_t delay_ms, gt_timer_fn *fn,
		  void *arg)
{
	uint64_t now_ns = gt_loop_clock_ns(l), delay_ns, due_ns;

	if (__builtin_mul_overflow(delay_ms, GT_NS_PER_MS, &delay_ns) ||
	    __builtin_add_overflow(now_ns, delay_ns, &due_ns))
		due_ns = UINT64_MAX;
	gt_timer_set_at(l, t, due_ns, fn, arg);
}

bool gt_timers_next(const struct gt_loop *l, uint64_t *due_ns)
{
	if (!l->timers.n)
		return false;
	*due_ns = l->timers.timers[0]->due_ns;
	return true;
}

void gt_timers_run(struct gt_loop *l)
{
	struct gt_timer_heap *h = &l->timers;

	/* Bounded by the timers set at the start: one that is set again for the past must not
	 * keep the loop here. */
	for (size_t budget = h->n; budget > 0 && h->n > 0; budget--) {
		struct gt_timer *t = h->timers[0];

		if (t->due_ns > l->now_ns)
			break;
		gt_timer_clear(l, t);
		t->fn(t->arg); /* may free the timer with its owner */
	}
}

void gt_timers_fini(struct gt_loop *l)
{
	for (size_t i = 0; i < l->timers.n; i++)
		l->timers.timers[i]->slot = 0;
	free(l->timers.timers);
	l->timers = (struct gt_timer_heap){ 0 };
}
