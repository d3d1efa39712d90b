/* duty.c - what users say of nodes: no new replicas there (cordon), none at all (drain), forget it
 * (delete). What was said is durable first. */
#include "host.h"
#include "place.h"

#include <stdlib.h>
#include <string.h>

struct gt_ctl_node_op {
	struct gt_control *c;
	struct gt_node_row row;
	bool drops;
	gt_node_done_fn *done;
	void *arg;
	struct gt_ctl_node_op *prev, *next;
};

const char *gt_node_state_name(enum gt_node_state s)
{
	static const char *const names[] = {
		[GT_NODE_JOINING] = "joining",   [GT_NODE_READY] = "ready",
		[GT_NODE_CORDONED] = "cordoned", [GT_NODE_DRAINING] = "draining",
		[GT_NODE_DRAINED] = "drained",   [GT_NODE_SUSPECT] = "suspect",
		[GT_NODE_LOST] = "lost",
	};

	_Static_assert(GT_LEN(names) == GT_NODE_STATES, "every state has a name");
	return (unsigned)s < GT_NODE_STATES ? names[s] : "unknown";
}

enum gt_node_state gt_ctl_node_state(const struct gt_ctl_node *node)
{
	if (node->lost)
		return GT_NODE_LOST;
	if (!node->up || node->silent)
		return node->heard_ns ? GT_NODE_SUSPECT : GT_NODE_JOINING;
	if (!node->reported)
		return GT_NODE_JOINING;
	switch (node->duty) {
	case GT_DUTY_CORDONED:
		return GT_NODE_CORDONED;
	case GT_DUTY_DRAINING:
		return node->replicas > 0 ? GT_NODE_DRAINING : GT_NODE_DRAINED;
	case GT_DUTY_ALL:
		break;
	}
	return GT_NODE_READY;
}

/* ---- what it means ---- */
static void functions_touch(struct gt_control *c, const struct gt_ctl_node *node)
{
	struct gt_ctl_replica *r;

	DL_FOREACH2(node->list, r, node_next)
	if (r->f)
		gt_ctl_touch(c, r->f);
}

/* How long until a wall clock's time is a monotonic one. */
static uint64_t drain_until_ns(const struct gt_control *c, uint64_t until_ms)
{
	uint64_t now_ms = gt_wall_ms(&c->ports.clock);
	uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;

	return gt_ctl_now(c) + GT_MIN(left_ms, UINT64_MAX / 4 / GT_NS_PER_MS) * GT_NS_PER_MS;
}

static void duty_apply(struct gt_control *c, struct gt_ctl_node *node,
		       const struct gt_node_row *row)
{
	node->duty = row->duty;
	node->drain_until_ns = row->duty == GT_DUTY_DRAINING
				       ? drain_until_ns(c, row->drain_until_ms)
				       : CTL_NEVER;
	c->drains_due_ns = GT_MIN(c->drains_due_ns, node->drain_until_ns);
	gt_ctl_node_tell(c, node);
	functions_touch(c, node);
	gt_ctl_blocked_touch(c);
}

void gt_control_load_node(struct gt_control *c, const struct gt_node_row *row)
{
	struct gt_ctl_node *node = gt_ctl_node_get(c, row->name);

	if (node)
		duty_apply(c, node, row);
}

bool gt_ctl_node_moves(const struct gt_control *c, const struct gt_ctl_node *node, bool *late)
{
	*late = node->drain_until_ns <= gt_ctl_now(c);
	return node->duty == GT_DUTY_DRAINING;
}

/* Those whose time for moving is over are decided about once more. */
void gt_ctl_duties_tick(struct gt_control *c)
{
	struct gt_ctl_node *node, *next;

	if (c->drains_due_ns > gt_ctl_now(c))
		return;
	c->drains_due_ns = CTL_NEVER;
	HASH_ITER (hh, c->nodes, node, next) {
		if (node->duty != GT_DUTY_DRAINING || node->drain_until_ns == 0)
			continue;
		if (node->drain_until_ns > gt_ctl_now(c)) {
			c->drains_due_ns = GT_MIN(c->drains_due_ns, node->drain_until_ns);
			continue;
		}
		node->drain_until_ns = 0; /* it was told */
		functions_touch(c, node);
	}
}

/* ---- the order ---- */
static void op_answer(struct gt_ctl_node_op *op, const struct gt_err *err)
{
	DL_DELETE(op->c->node_ops, op);
	op->done(err, op->arg);
	free(op);
}

static void row_gone(struct gt_host_op *drop GT_TAKES, const struct gt_err *why, void *arg)
{
	struct gt_ctl_node_op *op = arg;
	struct gt_control *c = op->c;

	free(drop);
	if (!why)
		gt_ctl_host_forgotten(c, op->row.name);
	op_answer(op, why);
	gt_ctl_finish(c);
}

/* A host that its provider can not be asked for any more goes with its node. */
static void gone(struct gt_ctl_node_op *op, const struct gt_err *why)
{
	if (why || !gt_ctl_host_forget(op->c, op->row.name, row_gone, op))
		op_answer(op, why);
}

static int unknown(const char *name, struct gt_err *err)
{
	return gt_err_set(err, ENOENT, "not_found", "there is no node %.80s", name);
}

static void set_done(const struct gt_err *err, void *arg)
{
	struct gt_ctl_node_op *op = arg;
	struct gt_control *c = op->c;
	struct gt_ctl_node *node = gt_ctl_node_find(c, op->row.name);
	static const char *const texts[] = {
		[GT_DUTY_ALL] = "it takes replicas",
		[GT_DUTY_CORDONED] = "it takes no new replicas",
		[GT_DUTY_DRAINING] = "its replicas move to other nodes",
	};

	if (!err && node) {
		duty_apply(c, node, &op->row);
		gt_ctl_event(c, "node.duty", NULL, NULL, node->name, NULL, "%s",
			     texts[op->row.duty]);
	}
	op_answer(op, err);
	gt_ctl_finish(c);
}

static void history_forget(struct gt_control *c, const struct gt_ctl_node *node)
{
	struct gt_ctl_live *live;
	struct gt_ctl_replica *r, *next;

	DL_FOREACH (c->lives, live) {
		DL_FOREACH_SAFE (live->ended, r, next) {
			if (r->node != node)
				continue;
			DL_DELETE(live->ended, r);
			live->n_ended--;
			gt_ctl_replica_free(r);
		}
	}
}

static int connected(const struct gt_ctl_node *node, struct gt_err *err)
{
	return gt_err_set(
		err, EBUSY, "conflict", "node %s is connected: drain it and %s", node->name,
		node->member_ms ? "stop its agent first, or force it" : "stop its agent first");
}

static void forget(struct gt_control *c, struct gt_ctl_node *node)
{
	gt_ctl_node_give_up(c, node, true);
	gt_ctl_node_lose(c, node);
	history_forget(c, node);
	gt_ctl_event(c, "node.gone", NULL, NULL, node->name, NULL, "it was deleted");
	gt_ctl_node_drop(c, node);
}

static void drop_done(const struct gt_err *why, void *arg)
{
	struct gt_ctl_node_op *op = arg;
	struct gt_control *c = op->c;
	struct gt_ctl_node *node = gt_ctl_node_find(c, op->row.name);
	struct gt_err err = { 0 };

	if (!why && node && node->up) {
		duty_apply(c, node, &(struct gt_node_row){ 0 });
		(void)connected(node, &err);
		why = &err;
	} else if (!why && node) {
		forget(c, node);
	}
	gone(op, why);
	gt_ctl_finish(c);
}

/* Its right is gone, whether it is connected or not. */
static void left(struct gt_member_op *leave, const struct gt_err *why, void *arg)
{
	struct gt_ctl_node_op *op = arg;
	struct gt_control *c = op->c;
	struct gt_ctl_node *node = gt_ctl_node_find(c, op->row.name);

	if (!why && node) {
		forget(c, node);
		gt_ctl_members_tell(c);
	}
	gt_member_op_free(leave);
	gone(op, why);
	gt_ctl_finish(c);
}

static void member_leave(struct gt_ctl_node_op *op)
{
	struct gt_member_op *leave = gt_member_op_new(GT_MEMBER_LEAVE);
	struct gt_control *c = op->c;

	gt_strcopy(leave->member.node, sizeof(leave->member.node), op->row.name);
	leave->now_ms = gt_wall_ms(&c->ports.clock);
	leave->done = left;
	leave->arg = op;
	c->ports.store.member(c->ports.store.ctx, leave);
}

static struct gt_ctl_node_op *op_new(struct gt_control *c, const char *name, gt_node_done_fn *done,
				     void *arg)
{
	struct gt_ctl_node_op *op = gt_alloc(sizeof(*op));

	op->c = c;
	op->done = done;
	op->arg = arg;
	gt_strcopy(op->row.name, sizeof(op->row.name), name);
	DL_APPEND(c->node_ops, op);
	return op;
}

/* What is said of it then would outlive it, and hold for whoever has its name next. */
static bool dropping(const struct gt_control *c, const char *name)
{
	const struct gt_ctl_node_op *op;

	DL_FOREACH (c->node_ops, op)
		if (op->drops && gt_streq(op->row.name, name))
			return true;
	return false;
}

void gt_control_node_set(struct gt_control *c, const char *name, enum gt_node_duty duty,
			 uint64_t deadline_ms, gt_node_done_fn *done, void *arg)
{
	struct gt_err err = { 0 };
	struct gt_ctl_node_op *op;

	if (!gt_ctl_node_find(c, name) || dropping(c, name)) {
		(void)unknown(name, &err);
		done(&err, arg);
		return;
	}
	op = op_new(c, name, done, arg);
	op->row.duty = duty;
	if (duty == GT_DUTY_DRAINING)
		op->row.drain_until_ms = gt_wall_ms(&c->ports.clock) + deadline_ms;
	c->ports.store.put_node(c->ports.store.ctx, &op->row, set_done, op);
}

void gt_control_node_delete(struct gt_control *c, const char *name, bool force,
			    gt_node_done_fn *done, void *arg)
{
	struct gt_ctl_node *node = gt_ctl_node_find(c, name);
	struct gt_ctl_node_op *op;
	struct gt_err err = { 0 };

	if (node && node->up && !(force && node->member_ms)) {
		(void)!connected(node, &err);
		done(&err, arg);
		return;
	}
	op = op_new(c, name, done, arg);
	op->drops = true;
	if (!node) {
		if (gt_ctl_host_forget(c, name, row_gone, op))
			return;
		(void)!unknown(name, &err);
		op_answer(op, &err);
	} else if (node->member_ms) {
		member_leave(op);
	} else {
		c->ports.store.put_node(c->ports.store.ctx, &op->row, drop_done, op);
	}
}

/* Nobody is answered any more: the store must be closed before control. */
void gt_ctl_node_ops_free(struct gt_control *c)
{
	struct gt_ctl_node_op *op, *next;

	DL_FOREACH_SAFE (c->node_ops, op, next)
		free(op);
}
