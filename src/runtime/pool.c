/* pool.c - sandboxes staged ahead, and the containers that wait for one.
 *
 * Whoever waits has one staged at once. The pool itself is refilled a little later: the processors
 * belong to the start that has just taken a sandbox. */
#include "runtime_impl.h"

#include <errno.h>
#include <utlist.h>

#include <gantry/base/log.h>

#define STAGING_MAX     8 /* at once */
#define REFILL_DELAY_MS 25
#define FAILED_DELAY_MS 1000

static struct sandbox *staged_first(struct gt_runtime *rt, enum gt_network network)
{
	struct sandbox *box;

	DL_FOREACH (rt->sandboxes, box) {
		if (box->state == SANDBOX_STAGED && box->net.kind == network)
			return box;
	}
	return NULL;
}

static struct gt_container *waiting_first(struct gt_runtime *rt, enum gt_network network)
{
	struct gt_container *c;

	DL_FOREACH (rt->waiting, c) {
		if (c->network == network)
			return c;
	}
	return NULL;
}

static unsigned count(const struct gt_runtime *rt, enum gt_network network,
		      enum sandbox_state state)
{
	const struct sandbox *box;
	unsigned n = 0;

	DL_FOREACH (rt->sandboxes, box)
		n += box->state == state && box->net.kind == network;
	return n;
}

static unsigned count_waiting(const struct gt_runtime *rt, enum gt_network network)
{
	const struct gt_container *c;
	unsigned n = 0;

	DL_FOREACH (rt->waiting, c)
		n += c->network == network;
	return n;
}

/* A way out is made ahead once somebody wanted one; the host's network costs nothing to make. */
static unsigned pool_size(const struct gt_runtime *rt, enum gt_network network)
{
	if (network == GT_NETWORK_HOST ||
	    (network == GT_NETWORK_EGRESS && !rt->staging[network].used))
		return 0;
	return rt->pool;
}

static void spawn_up_to(struct gt_runtime *rt, enum gt_network network, unsigned wanted)
{
	unsigned have = count(rt, network, SANDBOX_STAGED);
	unsigned staging = count(rt, network, SANDBOX_STAGING);

	while (have + staging < wanted && staging < STAGING_MAX) {
		struct gt_err err;

		if (gt_sandbox_spawn(rt, network, &err) < 0) {
			gt_pool_staged(rt, network, &err);
			return;
		}
		staging++;
	}
}

static void refill(void *arg)
{
	struct gt_runtime *rt = arg;

	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		rt->staging[k].failed = false;
		spawn_up_to(rt, k, pool_size(rt, k) + count_waiting(rt, k));
	}
}

static void pair(struct gt_runtime *rt, struct gt_container *c, struct sandbox *box)
{
	struct gt_err err = { 0 };
	int r = 0;

	DL_DELETE(rt->waiting, c);
	c->waiting = false;
	c->box = box;
	box->owner = c;
	box->state = SANDBOX_STARTING;
	if (c->events.on_sandbox)
		r = c->events.on_sandbox(c, &box->where, c->events.arg, &err);
	if (r == 0)
		r = gt_cgroup_limit(&rt->cgroups, box->where.sandbox, &c->limits, &err);
	if (r == 0)
		r = gt_sandbox_begin(box, c, &err);
	if (r == 0)
		return;
	box->owner = NULL;
	c->box = NULL;
	box->state = SANDBOX_DYING;
	gt_sandbox_kill(box);
	gt_container_on_failed(c, &err);
}

static void pump_class(struct gt_runtime *rt, enum gt_network network)
{
	struct gt_container *c;
	struct sandbox *box;

	while ((c = waiting_first(rt, network)) && (box = staged_first(rt, network)))
		pair(rt, c, box);
	if (c && !rt->staging[network].failed)
		spawn_up_to(rt, network, count_waiting(rt, network));
}

static void pump(void *arg)
{
	struct gt_runtime *rt = arg;
	bool failed = false;

	for (enum gt_network k = 0; k < GT_NETWORK_N; k++) {
		pump_class(rt, k);
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
	struct gt_container *c;

	while ((c = waiting_first(rt, network))) {
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
