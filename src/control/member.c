/* member.c - machines that join and leave; what lets them is durable before it holds. */
#include "host.h"
#include "place.h"

#include <gantry/control/member.h>

#define JOINS_MAX 16 /* at once: anybody may ask, and each costs the store a transaction */

static bool member_set(struct gt_control *c, const struct gt_member *m)
{
	struct gt_ctl_node *node = gt_ctl_node_get(c, m->node);

	if (!node)
		return false;
	node->member_ms = m->since_ms;
	return true;
}

void gt_control_load_member(struct gt_control *c, const struct gt_member *m)
{
	(void)!member_set(c, m);
}

static void member_of(const struct gt_ctl_node *node, struct gt_member *ret)
{
	gt_strcopy(ret->node, sizeof(ret->node), node->name);
	ret->since_ms = node->member_ms;
}

bool gt_control_member(struct gt_control *c, const char *name, struct gt_member *ret)
{
	const struct gt_ctl_node *node = gt_ctl_node_find(c, name);

	if (!node || !node->member_ms)
		return false;
	if (ret)
		member_of(node, ret);
	return true;
}

void gt_control_members(struct gt_control *c, void (*fn)(const struct gt_member *m, void *arg),
			void *arg)
{
	const struct gt_ctl_node *node;
	struct gt_member m;

	for (node = c->nodes; node; node = node->hh.next) {
		if (!node->member_ms)
			continue;
		member_of(node, &m);
		fn(&m, arg);
	}
}

void gt_ctl_members_tell(struct gt_control *c)
{
	if (!c->ports.on_members)
		return;
	c->news++;
	c->ports.on_members(c->ports.ctx);
}

static void joined(struct gt_control *c, const struct gt_member *m)
{
	if (!member_set(c, m))
		return; /* after the next start, if there is room by then */
	gt_ctl_event(c, "node.joined", NULL, NULL, m->node, NULL, "it may connect from elsewhere");
	gt_ctl_members_tell(c);
	gt_ctl_hosts_touch(c);
}

static void op_done(struct gt_member_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;

	if (op->verb == GT_MEMBER_JOIN) {
		c->joins--;
		if (!err && !op->repeated)
			joined(c, &op->member);
	}
	op->asker(op, err, op->asker_arg);
	gt_ctl_finish(c);
}

int gt_control_member_do(struct gt_control *c, struct gt_member_op *op, gt_member_fn *asker,
			 void *arg, struct gt_err *err)
{
	if (!c->ports.store.member)
		return gt_err_set(err, ENOTSUP, "unavailable", "no machine may join");
	if (op->verb == GT_MEMBER_JOIN) {
		const struct gt_ctl_node *node = gt_ctl_node_find(c, op->member.node);

		if (c->joins >= JOINS_MAX)
			return gt_err_set(err, EAGAIN, "overloaded", "%d joins wait already",
					  JOINS_MAX);
		if (HASH_COUNT(c->nodes) + c->joins >= CTL_NODES_MAX)
			return gt_err_set(err, EAGAIN, "overloaded", "%d nodes are known already",
					  CTL_NODES_MAX);
		op->taken = (node && !node->member_ms) || gt_streq(op->member.node, c->local_node);
		c->joins++;
	}
	op->now_ms = gt_wall_ms(&c->ports.clock);
	op->done = op_done;
	op->arg = c;
	op->asker = asker;
	op->asker_arg = arg;
	c->ports.store.member(c->ports.store.ctx, op);
	return 0;
}
