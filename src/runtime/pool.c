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

static struct sandbox *staged_first(struct gt_runtime *rt)
{
	struct sandbox *box;

	DL_FOREACH (rt->sandboxes, box) {
		if (box->state == SANDBOX_STAGED)
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

static unsigned count_waiting(const struct gt_runtime *rt)
{
	const struct gt_container *c;
	unsigned n = 0;

	DL_FOREACH (rt->waiting, c)
		n++;
	return n;
}

static void spawn_up_to(struct gt_runtime *rt, unsigned wanted)
{
	unsigned have = count(rt, SANDBOX_STAGED), staging = count(rt, SANDBOX_STAGING);

	while (have + staging < wanted && staging < STAGING_MAX) {
		struct gt_err err;

		if (gt_sandbox_spawn(rt, &err) < 0) {
			gt_pool_staged(rt, &err);
			return;
		}
		staging++;
	}
}

static void refill(void *arg)
{
	struct gt_runtime *rt = arg;

	rt->staging_failed = false;
	spawn_up_to(rt, rt->pool + count_waiting(rt));
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

static void pump(void *arg)
{
	struct gt_runtime *rt = arg;
	struct sandbox *box;

	while (rt->waiting && (box = staged_first(rt)))
		pair(rt, rt->waiting, box);
	if (rt->waiting && !rt->staging_failed)
		spawn_up_to(rt, count_waiting(rt));
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
