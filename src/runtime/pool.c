/* pool.c - sandboxes staged ahead, and the containers that wait for one.
 *
 * Whoever waits gets the sandbox that is furthest: one prepared for it, a staged one, one that is
 * being staged, a new one. Everything is sent to it at once, so that nobody is woken up in between.
 * The pool is refilled a little later: the processors belong to the start that has just taken a
 * sandbox. Recent starts raise its size, and each DEMAND_HALF_S without one halves that. */
#include "runtime_impl.h"

#include <errno.h>
#include <utlist.h>

#include <gantry/base/log.h>

#define STAGING_MAX     8 /* at once */
#define REFILL_DELAY_MS 25
#define FAILED_DELAY_MS 1000
#define SHRINK_DELAY_MS 1000
#define DEMAND_HALF_S   5

static struct sandbox *first(struct gt_runtime *rt, enum sandbox_state state)
{
	struct sandbox *box;

	DL_FOREACH (rt->sandboxes, box) {
		if (box->state == state)
			return box;
	}
	return NULL;
}

static unsigned count(const struct gt_runtime *rt, enum sandbox_state state)
{
	const struct sandbox *box;
	unsigned n = 0;

	DL_FOREACH (rt->sandboxes, box)
		n += box->state == state;
	return n;
}

/* How many more may be made now. */
static unsigned staging_left(const struct gt_runtime *rt)
{
	const struct sandbox *box;
	unsigned n = 0;

	DL_FOREACH (rt->sandboxes, box)
		n += box->state <= SANDBOX_STARTING && !box->staged;
	return n < STAGING_MAX ? STAGING_MAX - n : 0;
}

/* ---- how many to keep ---- */

static void fade(struct gt_runtime *rt)
{
	const uint64_t half_ns = DEMAND_HALF_S * 1000 * GT_NS_PER_MS;
	uint64_t now_ns = gt_loop_now_ns(rt->loop);

	for (; rt->demand > 0 && rt->demand_ns + half_ns <= now_ns; rt->demand_ns += half_ns)
		rt->demand /= 2;
	if (rt->demand == 0)
		rt->demand_ns = now_ns;
}

static unsigned wanted(struct gt_runtime *rt)
{
	fade(rt);
	return GT_MAX(rt->pool, GT_MIN(rt->demand, rt->pool_max));
}

/* A start found nothing prepared for it. */
static void demanded(struct gt_runtime *rt)
{
	fade(rt);
	rt->demand = GT_MIN(rt->demand + 1, 2 * rt->pool_max);
}

/* ---- filling ---- */

static unsigned have(const struct gt_runtime *rt)
{
	return count(rt, SANDBOX_STAGED) + count(rt, SANDBOX_STAGING);
}

/* One at a time, long after they were of use. */
static void shrink(void *arg)
{
	struct gt_runtime *rt = arg;
	struct sandbox *box = first(rt, SANDBOX_STAGED);

	if (box && have(rt) > wanted(rt))
		gt_sandbox_drop(box);
	if (have(rt) > rt->pool)
		gt_timer_set(rt->loop, &rt->shrink, SHRINK_DELAY_MS, shrink, rt);
}

static int stage_ahead(struct gt_runtime *rt, struct gt_err *err)
{
	unsigned want = wanted(rt), left = staging_left(rt);
	struct sandbox *box;
	int r = 0;

	for (unsigned n = have(rt); r == 0 && n < want && left > 0; n++, left--)
		r = gt_sandbox_spawn(rt, &box, err);
	if (want > rt->pool && !gt_timer_is_set(&rt->shrink))
		gt_timer_set(rt->loop, &rt->shrink, SHRINK_DELAY_MS, shrink, rt);
	return r;
}

static void refill(void *arg)
{
	struct gt_runtime *rt = arg;
	struct gt_err err;

	if (rt->staging_failed) {
		rt->staging_failed = false;
		gt_pool_pump(rt);
	}
	if (gt_hot_refill(rt, staging_left(rt), &err) < 0 || stage_ahead(rt, &err) < 0)
		gt_pool_staged(rt, &err);
}

/* ---- pairing ---- */

static int hand_over(struct sandbox *box, struct gt_container *c, struct gt_err *err)
{
	int r = 0;

	if (c->kind != GT_START_PREPARED)
		r = gt_sandbox_prepare(box, c->plan, false, err);
	/* Beside that: only GO runs something of the image. */
	if (r == 0 && c->events.on_sandbox)
		r = c->events.on_sandbox(c, &box->where, c->events.arg, err);
	return r == 0 ? gt_sandbox_go(box, c, err) : r;
}

static void pair(struct gt_runtime *rt, struct gt_container *c, struct sandbox *box)
{
	struct gt_err err = { 0 };

	DL_DELETE(rt->waiting, c);
	c->waiting = false;
	c->box = box;
	box->owner = c;
	box->state = SANDBOX_STARTING;
	if (hand_over(box, c, &err) == 0)
		return;
	gt_sandbox_drop(box);
	gt_container_on_failed(c, &err);
}

/* The container that waits longest. False: nothing can be done for it now. */
static bool pair_next(struct gt_runtime *rt)
{
	struct gt_container *c = rt->waiting;
	struct sandbox *box = gt_hot_take(rt, c->plan);
	struct gt_err err;

	c->kind = box ? GT_START_PREPARED : GT_START_POOLED;
	if (!box)
		box = first(rt, SANDBOX_STAGED);
	if (!box) {
		c->kind = GT_START_COLD;
		box = first(rt, SANDBOX_STAGING);
	}
	if (!box) {
		if (rt->staging_failed || staging_left(rt) == 0)
			return false;
		if (gt_sandbox_spawn(rt, &box, &err) < 0) {
			gt_pool_staged(rt, &err);
			return false;
		}
	}
	if (c->kind != GT_START_PREPARED)
		demanded(rt);
	pair(rt, c, box);
	return true;
}

static void pump(void *arg)
{
	struct gt_runtime *rt = arg;

	while (rt->waiting && pair_next(rt))
		;
	if (!gt_timer_is_set(&rt->refill))
		gt_timer_set(rt->loop, &rt->refill,
			     rt->staging_failed ? FAILED_DELAY_MS : REFILL_DELAY_MS, refill, rt);
}

void gt_pool_pump(struct gt_runtime *rt)
{
	if (!rt->freeing && !gt_timer_is_set(&rt->pump))
		gt_timer_set(rt->loop, &rt->pump, 0, pump, rt);
}

/* A machine that can not make a sandbox now will not make one for the next in line either. */
static void fail_waiting(struct gt_runtime *rt, const struct gt_err *why)
{
	struct gt_container *c, *next;

	DL_FOREACH_SAFE (rt->waiting, c, next) {
		DL_DELETE(rt->waiting, c);
		c->waiting = false;
		gt_container_on_failed(c, why);
	}
}

void gt_pool_staged(struct gt_runtime *rt, const struct gt_err *failed)
{
	if (rt->freeing)
		return;
	rt->staging_failed = failed != NULL;
	if (!failed)
		gt_err_clear(&rt->staging_err);
	if (failed) {
		if (!gt_streq(rt->staging_err.text, failed->text))
			gt_warn("no sandbox: %s", failed->text); /* once, not with each try */
		rt->staging_err = *failed;
		fail_waiting(rt, &rt->staging_err);
	}
	gt_pool_pump(rt);
}
