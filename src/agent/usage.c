/* usage.c - looking what replicas use, for control and those who ask it. One timer, and none while
 * nothing runs. A look is some files of the kernel, so that a start which comes in between should
 * not wait for hundreds of them: a few at a time. Only what moved is reported. */
#include "agent_impl.h"

#define SLICE    4 /* replicas, then a pause for what else there is to do */
#define PAUSE_MS 5

static bool see(const struct replica *r, struct gt_usage *ret)
{
	*ret = (struct gt_usage){ 0 };
	if (gt_container_usage(r->container, ret, NULL) < 0)
		return false;
	gt_agent_gpus_usage(r, ret);
	return true;
}

bool gt_usage_look(struct replica *r)
{
	struct gt_usage now;

	if (!see(r, &now) || !(now.has & GT_USAGE_MEMORY))
		return false;
	r->usage = now;
	return true;
}

static void look(struct replica *r)
{
	struct gt_usage now;

	gt_replica_gang_look(r);
	if (!see(r, &now) || !gt_usage_moved(&r->usage, &now))
		return;
	r->usage = now;
	r->dirty = true;
}

static void on_timer(void *arg)
{
	struct agent *a = arg;
	struct usage_rounds *u = &a->usage;
	struct replica *r, *next;
	unsigned looked = 0;
	bool any = false;

	HASH_ITER (hh, a->replicas, r, next) {
		any |= r->container != NULL;
		if (!r->container || r->usage_round == u->round)
			continue;
		if (looked++ == SLICE) {
			gt_timer_set(a->loop, &u->timer, PAUSE_MS, on_timer, a);
			return;
		}
		r->usage_round = u->round;
		look(r);
	}
	u->round++;
	if (any)
		gt_timer_set(a->loop, &u->timer, u->every_ms, on_timer, a);
	gt_report_soon(a); /* goes only if something moved */
}

void gt_usage_rounds_begin(struct agent *a)
{
	if (gt_timer_is_set(&a->usage.timer))
		return;
	a->usage.round++;
	gt_timer_set(a->loop, &a->usage.timer, a->usage.every_ms, on_timer, a);
}

void gt_usage_rounds_stop(struct agent *a)
{
	gt_timer_clear(a->loop, &a->usage.timer);
}
