/* away.c - replicas of nodes that were not heard of: when they are given up, so that others may
 * take their place, and which of the two stays when the node is back.
 *
 * A function that has its replicas stopped by a node without a connection gets no other before the
 * node must have done it: after stop_after and the grace, counted here from when the node was last
 * heard of, there from the last report that was acknowledged, which is never later. */
#include "place.h"

#include <string.h>

/* Clocks of two machines differ by less than one in this many, and each needs a moment to act. */
#define CLOCKS_PART 128
#define MOMENT_NS   GT_NS_PER_S

/* How long after its node was last heard of a replica of this specification may run; 0 = for ever.
 */
static uint64_t stops_ns(const struct gt_spec *spec)
{
	uint64_t ns = (spec->disconnect.stop_after_ms + spec->limits.drain_ms) * GT_NS_PER_MS;

	return spec->disconnect.stop_after_ms ? ns + ns / CLOCKS_PART + MOMENT_NS : 0;
}

static uint64_t lost_ns(const struct gt_control *c, const struct gt_ctl_replica *r)
{
	if (!r->rev)
		return c->node_lost_ns;
	uint64_t asked_ns = r->rev->spec->disconnect.lost_after_ms * GT_NS_PER_MS;

	return GT_MAX(GT_MAX(asked_ns, c->node_lost_ns), stops_ns(r->rev->spec));
}

/* Not when its watch broke: one may stand open for long that carries nothing. Of one that was not
 * heard of by this control, its start. */
static uint64_t last_ns(const struct gt_ctl_node *node)
{
	return node->heard_ns ? node->heard_ns : node->down_ns;
}

void gt_ctl_node_give_up(struct gt_control *c, struct gt_ctl_node *node, bool all)
{
	struct gt_end end = { .cause = "node_lost", .exit_code = -1 };
	uint64_t now = gt_ctl_now(c), last = last_ns(node), until;
	struct gt_ctl_replica *r, *r_next;

	gt_strcopy(end.text, sizeof(end.text), "the node went away: ");
	gt_strcopy(end.text + strlen(end.text), GT_NAME_MAX + 1, node->name);
	DL_FOREACH_SAFE2(node->list, r, r_next, node_next)
	{
		until = last + lost_ns(c, r);
		if (!all && until > now) {
			c->away_due_ns = GT_MIN(c->away_due_ns, until);
			continue;
		}
		if (all && r->f && stops_ns(r->rev->spec) > 0) {
			struct gt_ctl_live *live = gt_ctl_live(c, r->f);

			live->fenced_until_ns = GT_MAX(live->fenced_until_ns,
						       last + stops_ns(r->rev->spec));
		}
		gt_ctl_replica_ended(c, r, GT_REPLICA_FAILED, &end);
	}
}

void gt_ctl_away_tick(struct gt_control *c)
{
	struct gt_ctl_node *node, *next;

	if (c->away_due_ns > gt_ctl_now(c))
		return;
	c->away_due_ns = CTL_NEVER;
	HASH_ITER (hh, c->nodes, node, next)
		if (node->lost)
			gt_ctl_node_give_up(c, node, false);
}

/* A member that has not come since this control started may have what the last one gave it. */
static bool any_unheard(const struct gt_control *c)
{
	const struct gt_ctl_node *node;

	for (node = c->nodes; node; node = node->hh.next)
		if (node->member_ms && !node->told)
			return true;
	return false;
}

uint64_t gt_ctl_fence_ns(const struct gt_control *c, const struct gt_ctl_live *live)
{
	uint64_t now = gt_ctl_now(c), stops = stops_ns(live->f->rev->spec);
	uint64_t until = live->fenced_until_ns;

	if (stops > 0 && live->f->rev->loaded && now < c->started_ns + stops && any_unheard(c))
		until = GT_MAX(until, c->started_ns + stops);
	return until > now ? until : 0;
}

static bool has_others(const struct gt_ctl_live *live, const struct gt_ctl_replica *but)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r)
		if (r != but && gt_ctl_current(r) && !gt_ctl_leaving(r))
			return true;
	return false;
}

void gt_ctl_replica_returned(struct gt_control *c, struct gt_ctl_replica *r)
{
	if (!r->f || r->gang || gt_ctl_leaving(r))
		return;
	r->original = r->rev->spec->disconnect.reconcile == GT_RECONCILE_ORIGINAL;
	if (r->rev->spec->disconnect.reconcile == GT_RECONCILE_REPLACEMENT &&
	    has_others(gt_ctl_live(c, r->f), r))
		gt_ctl_replica_leave(c, r, "it was given to another", false);
}
