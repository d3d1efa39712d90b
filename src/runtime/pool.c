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

static struct sandbox *first(struct gt_runtime *rt, enum gt_network network,
			     enum sandbox_state state)
{
	struct sandbox *box;

	DL_FOREACH2(rt->young, box, young_next)
	{
		if (box->state == state && box->net.kind == network)
			return box;
	}
	return NULL;
}

/* Those that are staged for anyone have ids of their own. */
static struct sandbox *first_for(struct gt_runtime *rt, const struct plan *p,
				 enum sandbox_state state)
{
	return p->shared_ids ? NULL : first(rt, p->network, state);
}

static struct gt_container *waiting_first(struct gt_runtime *rt, enum gt_network network)
{
	struct gt_container *c;

	DL_FOREACH (rt->waiting, c) {
		if (c->plan->network == network)
			return c;
	}
	return NULL;
}

static unsigned count(const struct gt_runtime *rt, enum gt_network network,
		      enum sandbox_state state)
{
	const struct sandbox *box;
	unsigned n = 0;

	DL_FOREACH2(rt->young, box, young_next)
	n += box->state == state && box->net.kind == network;
	return n;
}

/* How many more may be made now. */
static unsigned staging_left(const struct gt_runtime *rt)
{
	const struct sandbox *box;
	unsigned n = 0;

	DL_FOREACH2(rt->young, box, young_next)
	n += box->state <= SANDBOX_STARTING && !box->staged;
	return n < STAGING_MAX ? STAGING_MAX - n : 0;
}

/* ---- how many to keep ---- */

unsigned gt_demand_now(const struct gt_runtime *rt, struct demand *d)
{
	const uint64_t half_ns = DEMAND_HALF_S * 1000 * GT_NS_PER_MS;
	uint64_t now_ns = gt_loop_now_ns(rt->loop);

	for (; d->n > 0 && d->since_ns + half_ns <= now_ns; d->since_ns += half_ns)
		d->n /= 2;
	if (d->n == 0)
		d->since_ns = now_ns;
	return GT_MIN(d->n, rt->pool_max);
}

static void demand_more(struct gt_runtime *rt, struct demand *d)
{
	gt_demand_now(rt, d);
	d->n = GT_MIN(d->n + 1, 2 * rt->pool_max);
	gt_pool_shrink(rt);
}

/* A way out is made ahead once somebody wanted one; who has the host's network is rare. */
static unsigned wanted(struct gt_runtime *rt, enum gt_network network)
{
	if (network == GT_NETWORK_HOST ||
	    (network == GT_NETWORK_EGRESS && !rt->staging[network].used))
		return 0;
	return GT_MAX(rt->pool, gt_demand_now(rt, &rt->staging[network].demand));
}

/* ---- filling ---- */

static unsigned have(const struct gt_runtime *rt, enum gt_network network)
{
	return count(rt, network, SANDBOX_STAGED) + count(rt, network, SANDBOX_STAGING);
}

/* One at a time, long after they were of use. */
static void shrink(void *arg)
{
	struct gt_runtime *rt = arg;
	bool more = gt_hot_shrink(rt);

	more |= gt_idranges_shrink(&rt->ids);
	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		struct sandbox *box = first(rt, k, SANDBOX_STAGED);

		if (box && have(rt, k) > wanted(rt, k))
			gt_sandbox_drop(box);
		more |= have(rt, k) > rt->pool || rt->staging[k].demand.n > 0;
	}
	if (more)
		gt_pool_shrink(rt);
}

void gt_pool_shrink(struct gt_runtime *rt)
{
	if (!rt->freeing && !gt_timer_is_set(&rt->shrink))
		gt_timer_set(rt->loop, &rt->shrink, SHRINK_DELAY_MS, shrink, rt);
}

static void stage_ahead(struct gt_runtime *rt, enum gt_network network)
{
	unsigned want = wanted(rt, network), left = staging_left(rt);
	struct sandbox *box;
	struct gt_err err;

	for (unsigned n = have(rt, network); n < want && left > 0; n++, left--) {
		if (gt_sandbox_spawn(rt, network, &box, &err) < 0) {
			gt_pool_staged(rt, network, &err);
			return;
		}
	}
}

static void refill(void *arg)
{
	struct gt_runtime *rt = arg;

	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		if (rt->staging[k].failed)
			gt_pool_pump(rt);
		rt->staging[k].failed = false;
	}
	gt_hot_refill(rt, staging_left(rt));
	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		if (!rt->staging[k].failed)
			stage_ahead(rt, k);
	}
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
	return r == 0 && !c->hold ? gt_sandbox_go(box, c, err) : r;
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
static bool pair_next(struct gt_runtime *rt, enum gt_network network)
{
	struct gt_container *c = waiting_first(rt, network);
	struct sandbox *box;
	struct hot *hot;
	struct gt_err err;

	if (!c)
		return false;
	hot = gt_hot_of(rt, c->plan);
	box = hot ? gt_hot_take(hot) : NULL;
	c->kind = box ? GT_START_PREPARED : GT_START_POOLED;
	if (!box)
		box = first_for(rt, c->plan, SANDBOX_STAGED);
	if (!box) {
		c->kind = GT_START_COLD;
		box = first_for(rt, c->plan, SANDBOX_STAGING);
	}
	if (!box) {
		if (rt->staging[network].failed || staging_left(rt) == 0)
			return false;
		if (gt_sandbox_spawn_for(rt, c->plan, hot ? gt_hot_vessel(rt, hot) : NULL, &box,
					 &err) < 0) {
			gt_pool_staged(rt, network, &err);
			return false;
		}
	}
	if (c->kind != GT_START_PREPARED)
		demand_more(rt, hot ? &hot->demand : &rt->staging[network].demand);
	pair(rt, c, box);
	return true;
}

static void pump(void *arg)
{
	struct gt_runtime *rt = arg;
	bool failed = false;

	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		while (pair_next(rt, k))
			;
		failed |= rt->staging[k].failed;
	}
	if (!gt_timer_is_set(&rt->refill))
		gt_timer_set(rt->loop, &rt->refill, failed ? FAILED_DELAY_MS : REFILL_DELAY_MS,
			     refill, rt);
}

void gt_pool_pump(struct gt_runtime *rt)
{
	if (!rt->freeing && !gt_timer_is_set(&rt->pump))
		gt_timer_set(rt->loop, &rt->pump, 0, pump, rt);
}

/* A machine that can not make a sandbox now will not make one for the next in line either. */
static void fail_waiting(struct gt_runtime *rt, enum gt_network network, const struct gt_err *why)
{
	struct gt_container *c, *next;

	DL_FOREACH_SAFE (rt->waiting, c, next) {
		if (c->plan->network != network)
			continue;
		DL_DELETE(rt->waiting, c);
		c->waiting = false;
		gt_container_on_failed(c, why);
	}
}

void gt_pool_staged(struct gt_runtime *rt, enum gt_network network, const struct gt_err *failed)
{
	struct gt_err *last = &rt->staging[network].err;

	if (rt->freeing)
		return;
	rt->staging[network].failed = failed != NULL;
	if (!failed)
		gt_err_clear(last);
	if (failed) {
		if (!gt_streq(last->text, failed->text))
			gt_warn("no sandbox: %s", failed->text); /* once, not with each try */
		*last = *failed;
		rt->staging[network].used = false; /* the next who wants one tries again */
		fail_waiting(rt, network, last);
	}
	gt_pool_pump(rt);
}
