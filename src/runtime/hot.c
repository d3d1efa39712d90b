/* hot.c - functions that were started lately: one sandbox each is prepared up to the last step
 * before the program, for the next replica of the very same revision. The one whose last start is
 * the longest ago makes room; after some idle minutes each does. */
#include <stdlib.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "runtime_impl.h"

static void cool(void *arg);

static void hot_free(struct gt_runtime *rt, struct hot *h)
{
	struct sandbox *box = h->box;

	DL_DELETE(rt->hots, h);
	if (box) {
		box->hot = NULL;
		gt_sandbox_drop(box);
	}
	gt_plan_free(h->plan);
	free(h);
}

static struct hot *hot_find(struct gt_runtime *rt, const char *function)
{
	struct hot *h;

	DL_FOREACH (rt->hots, h) {
		if (gt_streq(h->plan->function, function))
			return h;
	}
	return NULL;
}

static struct hot *hot_last(const struct gt_runtime *rt)
{
	return rt->hots ? rt->hots->prev : NULL; /* the list is a ring backwards */
}

static void arm(struct gt_runtime *rt)
{
	const struct hot *last = hot_last(rt);

	gt_timer_clear(rt->loop, &rt->cool);
	if (last)
		gt_timer_set_at(rt->loop, &rt->cool, last->used_ns + rt->prepared_idle_ns, cool,
				rt);
}

static void cool(void *arg)
{
	struct gt_runtime *rt = arg;
	uint64_t now_ns = gt_loop_now_ns(rt->loop);
	struct hot *last;

	while ((last = hot_last(rt)) && last->used_ns + rt->prepared_idle_ns <= now_ns)
		hot_free(rt, last);
	arm(rt);
}

struct sandbox *gt_hot_take(struct gt_runtime *rt, const struct plan *p)
{
	struct hot *h = hot_find(rt, p->function);
	struct sandbox *box;

	if (!h)
		return NULL;
	if (!gt_plan_same(h->plan, p)) {
		hot_free(rt, h);
		arm(rt);
		return NULL;
	}
	box = h->box;
	h->box = NULL;
	if (box)
		box->hot = NULL;
	return box;
}

void gt_hot_keep(struct gt_runtime *rt, struct plan *p)
{
	struct hot *h = hot_find(rt, p->function);
	unsigned n = 0;

	if (rt->prepared_max == 0 || p->once) {
		gt_plan_free(p);
		return;
	}
	if (h && gt_plan_same(h->plan, p)) {
		DL_DELETE(rt->hots, h);
		gt_plan_free(p);
	} else {
		if (h)
			hot_free(rt, h);
		h = gt_alloc(sizeof(*h));
		h->plan = p;
	}
	h->failed = false;
	h->used_ns = gt_loop_now_ns(rt->loop);
	DL_PREPEND(rt->hots, h);
	DL_COUNT(rt->hots, h, n);
	if (n > rt->prepared_max)
		hot_free(rt, hot_last(rt));
	arm(rt);
	gt_pool_pump(rt);
}

void gt_hot_on_lost(struct sandbox *box, const struct gt_err *why)
{
	struct hot *h = box->hot;

	box->hot = NULL;
	h->box = NULL;
	h->failed = why != NULL;
	if (why)
		gt_debug("no sandbox is prepared for %s: %s", h->plan->function, why->text);
}

static void prepare(struct gt_runtime *rt, struct hot *h)
{
	struct sandbox *box;
	struct gt_err err;

	if (gt_sandbox_spawn(rt, h->plan->network, &box, &err) < 0) {
		h->failed = true;
		gt_pool_staged(rt, h->plan->network, &err);
		return;
	}
	box->state = SANDBOX_PREPARING;
	box->hot = h;
	h->box = box;
	if (gt_sandbox_prepare(box, h->plan, true, &err) < 0) {
		gt_hot_on_lost(box, &err); /* the function's trouble; sandboxes can be made */
		gt_sandbox_drop(box);
	}
}

void gt_hot_refill(struct gt_runtime *rt, unsigned most)
{
	struct hot *h;

	DL_FOREACH (rt->hots, h) {
		if (h->box || h->failed || rt->staging[h->plan->network].failed)
			continue;
		if (most-- == 0)
			return; /* the next one that is staged brings us back */
		prepare(rt, h);
	}
}

int gt_runtime_prepare(struct gt_runtime *rt, const struct gt_container_args *args,
		       struct gt_err *err)
{
	struct plan *p;
	int r = gt_plan_new(rt, args, &p, err);

	if (r == 0)
		gt_hot_keep(rt, p);
	return r;
}

void gt_hot_clear(struct gt_runtime *rt)
{
	gt_timer_clear(rt->loop, &rt->cool);
	while (rt->hots)
		hot_free(rt, rt->hots);
}
