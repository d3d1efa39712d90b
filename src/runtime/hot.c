/* hot.c - functions that were started lately: a sandbox each, and more by demand, is prepared up to
 * the last step before the program, for the next replicas of the very same revision; and what the
 * replicas before left that those may have. The function whose last start is the longest ago makes
 * room; after some idle minutes each does. */
#include <stdlib.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "runtime_impl.h"

#define TRACES_MAX 4 /* looks for a clean vessel in one start */

static void cool(void *arg);

/* ---- what a function has ---- */

static void put_box(struct hot *h, struct sandbox *box)
{
	box->hot = h;
	h->n_boxes++;
	DL_APPEND2(h->boxes, box, hot_prev, hot_next);
}

static void pull_box(struct sandbox *box)
{
	struct hot *h = gt_steal(&box->hot);

	h->n_boxes--;
	DL_DELETE2(h->boxes, box, hot_prev, hot_next);
}

static struct vessel *pull_vessel(struct hot *h, struct vessel *v)
{
	h->n_vessels--;
	DL_DELETE(h->vessels, v);
	return v;
}

static void end_box(struct hot *h)
{
	struct sandbox *box = h->boxes->hot_prev; /* the one begun last */

	pull_box(box);
	gt_sandbox_drop(box);
}

static void hot_free(struct gt_runtime *rt, struct hot *h)
{
	DL_DELETE(rt->hots, h);
	while (h->boxes)
		end_box(h);
	while (h->vessels)
		gt_vessel_drop(rt, pull_vessel(h, h->vessels));
	gt_plan_free(h->plan);
	free(h);
}

/* ---- which functions ---- */

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

struct hot *gt_hot_of(struct gt_runtime *rt, const struct plan *p)
{
	struct hot *h = hot_find(rt, p->function);

	if (!h || gt_plan_same(h->plan, p))
		return h;
	hot_free(rt, h);
	arm(rt);
	return NULL;
}

uint64_t gt_hot_keep(struct gt_runtime *rt, struct plan *p)
{
	struct hot *h;
	unsigned n = 0;

	if (rt->prepared_max == 0 || p->once || p->passing) {
		gt_plan_free(p);
		return 0;
	}
	h = gt_hot_of(rt, p);
	if (h) {
		DL_DELETE(rt->hots, h);
		gt_plan_free(p);
	} else {
		h = gt_alloc(sizeof(*h));
		h->plan = p;
		h->id = ++rt->hot_n;
	}
	h->failed = false;
	h->used_ns = gt_loop_now_ns(rt->loop);
	DL_PREPEND(rt->hots, h);
	DL_COUNT(rt->hots, h, n);
	if (n > rt->prepared_max)
		hot_free(rt, hot_last(rt));
	arm(rt);
	gt_pool_pump(rt);
	return rt->hots->id;
}

/* ---- sandboxes ahead ---- */

struct sandbox *gt_hot_take(struct hot *h)
{
	struct sandbox *box = h->boxes;

	if (box)
		pull_box(box);
	return box;
}

void gt_hot_on_lost(struct sandbox *box, const struct gt_err *why)
{
	struct hot *h = box->hot;

	pull_box(box);
	h->failed = why != NULL;
	if (why)
		gt_debug("no sandbox is prepared for %s: %s", h->plan->function, why->text);
}

/* One always: the next start finds it. */
static unsigned wanted(struct gt_runtime *rt, struct hot *h)
{
	return GT_MAX(gt_demand_now(rt, &h->demand), 1u);
}

static void prepare(struct gt_runtime *rt, struct hot *h)
{
	struct sandbox *box;
	struct gt_err err;

	if (gt_sandbox_spawn_for(rt, h->plan, gt_hot_vessel(rt, h), &box, &err) < 0) {
		h->failed = true;
		gt_pool_staged(rt, h->plan->network, &err);
		return;
	}
	box->state = SANDBOX_PREPARING;
	put_box(h, box);
	if (gt_sandbox_prepare(box, h->plan, true, &err) < 0) {
		gt_hot_on_lost(box, &err); /* the function's trouble; sandboxes can be made */
		gt_sandbox_drop(box);
	}
}

void gt_hot_refill(struct gt_runtime *rt, unsigned most)
{
	/* The first of each function apart, as many as of sandboxes for anyone. */
	unsigned n = 0, n_max = rt->prepared_max + rt->pool_max;
	struct hot *h;

	DL_FOREACH (rt->hots, h)
		n += h->n_boxes;
	DL_FOREACH (rt->hots, h) {
		unsigned want = wanted(rt, h);

		while (h->n_boxes < want && !h->failed && !rt->staging[h->plan->network].failed &&
		       (h->n_boxes == 0 || n < n_max)) {
			if (most-- == 0)
				return; /* the next one that is staged brings us back */
			prepare(rt, h);
			n++;
		}
	}
}

bool gt_hot_shrink(struct gt_runtime *rt)
{
	bool more = false;
	struct hot *h;

	DL_FOREACH (rt->hots, h) {
		unsigned want = gt_demand_now(rt, &h->demand);

		if (h->n_boxes > GT_MAX(want, 1u))
			end_box(h);
		if (h->n_vessels > want)
			gt_vessel_drop(rt, pull_vessel(h, h->vessels));
		more |= h->demand.n > 0 || h->n_boxes > 1 || h->n_vessels > 0;
	}
	return more;
}

/* ---- what is left ---- */

bool gt_hot_inherit(struct sandbox *box)
{
	struct gt_runtime *rt = box->rt;
	struct vessel *v;
	struct hot *h;

	DL_SEARCH_SCALAR(rt->hots, h, id, box->kin);
	if (!h || box->kin == 0 || h->n_vessels >= gt_demand_now(rt, &h->demand))
		return false;
	v = gt_vessel_of(box);
	if (!v)
		return false;
	h->n_vessels++;
	DL_APPEND(h->vessels, v);
	return true;
}

/* One that is not clean yet may be in a moment: the gateway still holds a connection. */
struct vessel *gt_hot_vessel(struct gt_runtime *rt, struct hot *h)
{
	unsigned looks = 0;
	struct vessel *v;

	DL_FOREACH (h->vessels, v) {
		if (gt_vessel_is_clean(rt, v))
			return pull_vessel(h, v);
		if (++looks == TRACES_MAX)
			break;
	}
	return NULL;
}

bool gt_hot_has_leaf(const struct gt_runtime *rt, const char *leaf)
{
	const struct vessel *v;
	const struct hot *h;

	DL_FOREACH (rt->hots, h) {
		DL_FOREACH (h->vessels, v) {
			if (gt_streq(v->leaf, leaf))
				return true;
		}
	}
	return false;
}

/* ---- for the room's users ---- */

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
