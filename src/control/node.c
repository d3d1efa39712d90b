/* node.c - the machines that run replicas, and what they report. */
#include "gang.h"
#include "host.h"
#include "place.h"

#include <string.h>

struct gt_ctl_node *gt_ctl_node_find(struct gt_control *c, const char *name)
{
	struct gt_ctl_node *node;

	HASH_FIND_STR(c->nodes, name, node);
	return node;
}

/* In the order of time, so that the first one is the next to be lost. One that was lost while its
 * connection stood open has nothing more to lose. */
static void node_down(struct gt_control *c, struct gt_ctl_node *node)
{
	node->up = false;
	node->down_ns = gt_ctl_now(c);
	if (!node->lost)
		DL_APPEND(c->down, node);
}

struct gt_ctl_node *gt_ctl_node_get(struct gt_control *c, const char *name)
{
	struct gt_ctl_node *node = gt_ctl_node_find(c, name);

	if (node)
		return node;
	uint32_t index = 0;

	while (index < c->n_nodes && c->node_at[index])
		index++;
	if (index == CTL_NODES_MAX) {
		gt_ctl_event(c, "node.refused", NULL, NULL, name, "overloaded",
			     "%d nodes are known already", CTL_NODES_MAX);
		return NULL;
	}
	node = gt_alloc(sizeof(*node));
	gt_strcopy(node->name, sizeof(node->name), name);
	node->since_ms = gt_wall_ms(&c->ports.clock);
	node_down(c, node); /* not up before its watch is open */
	node->drain_until_ns = CTL_NEVER;
	node->index = index;
	c->n_nodes = GT_MAX(c->n_nodes, index + 1U);
	c->node_at = gt_grow(c->node_at, c->n_nodes, sizeof(*c->node_at));
	c->node_at[index] = node;
	HASH_ADD_STR(c->nodes, name, node);
	gt_ctl_node_tell(c, node);
	return node;
}

void gt_ctl_node_drop(struct gt_control *c, struct gt_ctl_node *node)
{
	gt_ctl_hosts_touch(c);
	gt_sched_node_remove(c->sched, node->index);
	c->node_at[node->index] = NULL;
	HASH_DEL(c->nodes, node);
	gt_ctl_node_free(node);
}

void gt_ctl_blocked_add(struct gt_control *c, struct gt_ctl_live *live)
{
	if (live->listed_blocked)
		return;
	live->listed_blocked = true;
	LL_PREPEND2(c->blocked, live, next_blocked);
}

/* Those that are blocked no more leave the list here. */
void gt_ctl_blocked_touch(struct gt_control *c)
{
	struct gt_ctl_live **at = &c->blocked, *live;

	while ((live = *at)) {
		live->listed_blocked = live->blocked_ns != 0 || gt_ctl_gangs_wait(live);
		if (live->listed_blocked) {
			gt_ctl_touch(c, live->f);
			at = &live->next_blocked;
		} else {
			*at = live->next_blocked;
		}
	}
}

/* Gateways are told: new calls go elsewhere, as nobody may be there to take them. */
static void set_silent(struct gt_control *c, struct gt_ctl_node *node, bool silent)
{
	struct gt_ctl_replica *r;

	if (node->silent == silent)
		return;
	node->silent = silent;
	DL_FOREACH2(node->list, r, node_next)
	gt_ctl_replica_reroute(c, r);
}

void gt_control_node_up(struct gt_control *c, const char *node)
{
	struct gt_ctl_node *n = gt_ctl_node_get(c, node);

	if (!n)
		return;
	gt_ctl_gpus_await(c, n);
	if (n->up)
		return;
	if (!n->lost)
		DL_DELETE(c->down, n);
	n->up = true;
	n->lost = false;
	set_silent(c, n, false);
	n->heard_ns = gt_ctl_now(c);
	n->since_ms = gt_wall_ms(&c->ports.clock);
	gt_ctl_node_tell(c, n);
	gt_ctl_event(c, "node.up", NULL, NULL, n->name, NULL, "the node is connected");
	gt_ctl_blocked_touch(c);
	gt_ctl_finish(c);
}

void gt_control_node_down(struct gt_control *c, const char *node)
{
	struct gt_ctl_node *n = gt_ctl_node_find(c, node);

	if (!n || !n->up)
		return;
	node_down(c, n);
	n->since_ms = gt_wall_ms(&c->ports.clock);
	gt_ctl_node_tell(c, n);
	gt_ctl_event(c, "node.down", NULL, NULL, n->name, NULL,
		     "the connection ended; its replicas are kept for %llu ms",
		     (unsigned long long)(c->node_lost_ns / GT_NS_PER_MS));
	gt_ctl_finish(c);
}

void gt_ctl_node_lose(struct gt_control *c, struct gt_ctl_node *node)
{
	if (node->lost)
		return;
	node->lost = true;
	if (!node->up)
		DL_DELETE(c->down, node);
	node->reported = false; /* what it brings along when it returns must be known first */
	uint32_t had = node->replicas;

	gt_ctl_node_give_up(c, node, false);
	gt_ctl_event(c, "node.lost", NULL, NULL, node->name, "node_lost",
		     "%u replicas are given up, %u later", had - node->replicas, node->replicas);
	gt_ctl_gangs_unhold(c, node->index);
	gt_ctl_hosts_touch(c);
}

/* A watch may stand open to a machine that is gone or stands still. */
static void silence_look(struct gt_control *c, uint64_t now)
{
	struct gt_ctl_node *node, *next;

	if (c->node_suspect_ns == 0 || now < c->beats_due_ns)
		return;
	/* Control itself stood still: what was sent to it meanwhile is not read yet. */
	bool slept = now - c->beats_due_ns > c->node_suspect_ns / 3;

	c->beats_due_ns = now + c->node_suspect_ns / 3;
	HASH_ITER (hh, c->nodes, node, next) {
		if (slept)
			node->heard_ns = node->heard_ns ? now : 0;
		if (!node->up || node->lost || now - node->heard_ns < c->node_suspect_ns)
			continue;
		if (now - node->heard_ns >= c->node_lost_ns) {
			gt_ctl_node_lose(c, node);
		} else if (!node->silent) {
			set_silent(c, node, true);
			gt_ctl_node_tell(c, node);
			gt_ctl_event(c, "node.suspect", NULL, NULL, node->name, NULL,
				     "it has not reported for %llu ms and gets no new replicas",
				     (unsigned long long)((now - node->heard_ns) / GT_NS_PER_MS));
		}
	}
}

/* It reports again. -ESTALE: as it was lost meanwhile, all that it has must be told. */
static int heard(struct gt_control *c, struct gt_ctl_node *node, bool full, struct gt_err *err)
{
	bool lost = node->lost && node->up, was = node->silent || lost;

	node->heard_ns = gt_ctl_now(c);
	if (lost && !full)
		return gt_err_set(err, ESTALE, "conflict",
				  "node %s was given up: tell everything anew", node->name);
	if (!was)
		return 0;
	set_silent(c, node, false);
	if (lost)
		node->lost = false;
	gt_ctl_node_tell(c, node);
	gt_ctl_event(c, "node.up", NULL, NULL, node->name, NULL, "the node reports again");
	gt_ctl_blocked_touch(c);
	return 0;
}

void gt_ctl_nodes_tick(struct gt_control *c)
{
	uint64_t now = gt_ctl_now(c);

	silence_look(c, now);
	while (c->down && now - c->down->down_ns >= c->node_lost_ns)
		gt_ctl_node_lose(c, c->down);
}

uint64_t gt_ctl_nodes_due(const struct gt_control *c)
{
	uint64_t due = c->down ? c->down->down_ns + c->node_lost_ns : CTL_NEVER;

	if (c->node_suspect_ns > 0 && c->nodes)
		due = GT_MIN(due, c->beats_due_ns);
	return due;
}

/* ---- reports ---- */
/* The end of a process that nobody asked to end is a failure, whatever its exit status. */
static void observe_end(struct gt_control *c, struct gt_ctl_replica *r, const struct gt_observed *o)
{
	struct gt_end end = o->end; /* its strings stay the report's */

	if (gt_ctl_leaving(r)) {
		gt_ctl_replica_ended(c, r, o->state, &o->end);
		return;
	}
	if (!end.cause[0])
		gt_strcopy(end.cause, sizeof(end.cause), r->ready_ns ? "exited" : "exited_early");
	if (!end.text[0])
		gt_strcopy(end.text, sizeof(end.text), "the process ended");
	gt_ctl_replica_ended(c, r, GT_REPLICA_FAILED, &end);
}

static void observe_move(struct gt_control *c, struct gt_ctl_replica *r, enum gt_replica_state to)
{
	gt_replica_state_move(&r->state, to);
	gt_ctl_event(c, to == GT_REPLICA_PULLING ? "replica.pulling" : "replica.starting",
		     r->function, r->id, r->node->name, NULL, "revision %u", r->revision);
}

/* On version 1 of control groups a replica may live on without one of its processes, and nothing
 * else would tell why calls fail. */
static void oom_event(struct gt_control *c, const struct gt_ctl_replica *r, uint64_t kills)
{
	gt_ctl_event(c, "replica.oom_kill", r->function, r->id, r->node->name, "out_of_memory",
		     "revision %u: %llu of its processes were killed at its memory limit",
		     r->revision, (unsigned long long)kills);
}

/* An agent that has just started has not looked at what its replicas use. */
static void observe_facts(struct gt_control *c, struct gt_ctl_replica *r,
			  const struct gt_observed *o)
{
	uint64_t kills = r->usage.oom_kills;

	r->seen = true;
	r->pid = o->pid;
	r->phases = o->phases;
	r->pull = o->pull;
	r->park = o->park;
	if (r->f)
		gt_ctl_live(c, r->f)->parking.able |= o->park.method != GT_PARK_STOP;
	gt_ctl_replica_weights(c, r, &o->weights);
	if (!o->usage.has)
		return;
	if (o->usage.oom_kills > kills && (r->usage.has || !r->adopted))
		oom_event(c, r, o->usage.oom_kills - kills);
	r->usage = o->usage;
}

/* Reports are coalesced and late: they may skip states, and one of the past changes nothing. */
static void observe(struct gt_control *c, struct gt_ctl_replica *r, const struct gt_observed *o)
{
	observe_facts(c, r, o);
	switch (o->state) {
	case GT_REPLICA_PULLING:
	case GT_REPLICA_STARTING:
		if (r->state < o->state)
			observe_move(c, r, o->state);
		break;
	case GT_REPLICA_READY:
		if (r->gang)
			gt_ctl_gang_answers(c, r);
		else if (r->state < GT_REPLICA_READY)
			gt_ctl_replica_ready(c, r);
		else
			gt_ctl_observe_back(c, r, o);
		break;
	case GT_REPLICA_PARKING:
	case GT_REPLICA_PARKED:
		gt_ctl_observe_parked(c, r, o);
		break;
	case GT_REPLICA_UNPARKING: /* to who has just started it is as one that starts */
		if (r->state < GT_REPLICA_STARTING)
			observe_move(c, r, GT_REPLICA_STARTING);
		break;
	case GT_REPLICA_DRAINING:
		if (r->state < GT_REPLICA_DRAINING && r->gang)
			gt_ctl_gang_break(c, r->gang, false, "a member is stopped by its node");
		else if (r->state < GT_REPLICA_DRAINING)
			gt_ctl_replica_leave(c, r, "stopped by its node", false);
		break;
	case GT_REPLICA_STOPPED:
	case GT_REPLICA_FAILED:
		observe_end(c, r, o);
		break;
	case GT_REPLICA_PENDING:
	case GT_REPLICA_N:
		break;
	}
}

/* A replica that was given up with its node may turn out to be alive. True: it was. */
static bool history_drop(struct gt_ctl_function *f, const char *id)
{
	struct gt_ctl_replica *r, *r_next;
	bool found = false;

	if (!f || !f->live)
		return false;
	DL_FOREACH_SAFE (f->live->ended, r, r_next) {
		if (strcmp(r->id, id) != 0)
			continue;
		DL_DELETE(f->live->ended, r);
		f->live->n_ended--;
		gt_ctl_replica_free(r);
		found = true;
	}
	return found;
}

/* After a start of control this is how it learns of the replicas there are. */
static void observe_unknown(struct gt_control *c, struct gt_ctl_node *node,
			    const struct gt_observed *o)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, o->function);
	bool returned = history_drop(f, o->replica);

	if (f && o->created_ms != 0 && o->created_ms < f->rev->row.created_ms)
		f = NULL; /* it belonged to an earlier function of this name */
	if (gt_replica_state_ended(o->state)) {
		c->ports.on_forget(c->ports.ctx, node->name, o->replica);
		return;
	}
	struct gt_ctl_replica *r = gt_ctl_replica_adopt(c, f, node, o);

	r->sweep = node->sweep;
	observe_facts(c, r, o);
	if (o->state == GT_REPLICA_DRAINING)
		gt_ctl_replica_stop_found(c, r);
	else if (o->gang.size > 0 && !r->gang)
		gt_ctl_replica_leave(c, r, "its gang goes on without it", true);
	else if (!f)
		gt_ctl_replica_leave(c, r, "its function does not exist", false);
	else if (r->gang && r->gang->leaving) /* the others were told when it was not here */
		gt_ctl_replica_leave(c, r, "its gang leaves", false);
	else if (!gt_ctl_current(r) && o->state != GT_REPLICA_READY)
		gt_ctl_replica_leave(c, r, "replaced", false);
	else
		gt_ctl_replica_order(c, r);
	if (!gt_ctl_leaving(r))
		observe(c, r, o);
	if (returned)
		gt_ctl_replica_returned(c, r);
	if (f)
		gt_ctl_touch(c, f);
}

/* A full report: what it does not list is not there. An order that the node has not answered yet
 * may still be on its way, and stays. */
static void sweep(struct gt_control *c, struct gt_ctl_node *node)
{
	struct gt_end end = { .cause = "exited",
			      .text = "it ended while its node was not connected",
			      .exit_code = -1 };
	struct gt_ctl_replica *r, *r_next;

	DL_FOREACH_SAFE2(node->list, r, r_next, node_next)
	{
		if (r->sweep == node->sweep || !r->seen)
			continue;
		if (gt_ctl_leaving(r))
			gt_ctl_replica_ended(c, r, GT_REPLICA_STOPPED, NULL);
		else
			gt_ctl_replica_ended(c, r, GT_REPLICA_FAILED, &end);
	}
}

static void node_resize(struct gt_control *c, struct gt_ctl_node *node,
			const struct gt_report *report)
{
	node->parking_bytes = report->parking_bytes;
	if (node->cpu_milli == report->cpu_milli && node->memory_bytes == report->memory_bytes)
		return;
	node->cpu_milli = report->cpu_milli;
	node->memory_bytes = report->memory_bytes;
	gt_ctl_node_tell(c, node);
}

int gt_control_report(struct gt_control *c, const struct gt_report *report, struct gt_err *err)
{
	if (report->epoch != c->epoch)
		return gt_err_set(
			err, ESTALE, "conflict",
			"report of node %s is of epoch %llu, this is %llu: open the watch "
			"again",
			report->node, (unsigned long long)report->epoch,
			(unsigned long long)c->epoch);
	struct gt_ctl_node *node = gt_ctl_node_get(c, report->node);

	if (!node)
		return gt_err_set(err, ENOSPC, "overloaded", "%d nodes are known already",
				  CTL_NODES_MAX);
	if (heard(c, node, report->full, err) < 0)
		return -ESTALE;
	node_resize(c, node, report);
	node->sweep += report->full;
	if (report->full)
		gt_ctl_node_facts(c, node, report);
	gt_ctl_node_told(c, node, report);
	if (report->weights.told)
		gt_ctl_node_weights(c, node, &report->weights);
	for (size_t i = 0; i < report->n_replicas; i++) {
		const struct gt_observed *o = &report->replicas[i];
		struct gt_ctl_replica *r;

		HASH_FIND_STR(c->replicas, o->replica, r);
		if (r && r->node == node) {
			r->sweep = node->sweep;
			observe(c, r, o);
		} else if (!r) {
			observe_unknown(c, node, o);
		}
	}
	if (report->full) {
		sweep(c, node);
		if (!node->reported) {
			node->reported = true;
			gt_ctl_node_tell(c, node);
			gt_ctl_blocked_touch(c);
			gt_ctl_hosts_touch(c);
		}
	}
	gt_ctl_finish(c);
	return 0;
}

void gt_control_orders(struct gt_control *c, const char *node,
		       void (*fn)(const struct gt_order *o, void *arg), void *arg)
{
	const struct gt_ctl_node *n = gt_ctl_node_find(c, node);
	const struct gt_ctl_replica *r;

	if (!n)
		return;
	DL_FOREACH2(n->list, r, node_next)
	{
		struct gt_order o;

		gt_ctl_replica_order_fill(r, &o);
		fn(&o, arg);
	}
}

/* Returns how many. */
static size_t node_gpus(const struct gt_control *c, const struct gt_ctl_node *node,
			struct gt_node_gpu ret[GT_NODE_GPUS_MAX])
{
	struct gt_sched_usage used = { 0 };
	size_t n = GT_MIN(node->n_gpus, (size_t)GT_NODE_GPUS_MAX);

	if (n == 0 || gt_sched_usage(c->sched, node->index, &used) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		ret[i] = (struct gt_node_gpu){ .is = node->gpus[i],
					       .taken_milli = used.gpu_milli[i],
					       .taken_bytes = used.gpu_bytes[i] };
	return n;
}

static uint64_t node_parked(const struct gt_ctl_node *node)
{
	const struct gt_ctl_replica *r;
	uint64_t bytes = 0;

	DL_FOREACH2(node->list, r, node_next)
	bytes += r->pool_bytes;
	return bytes;
}

void gt_control_nodes(struct gt_control *c, bool (*fn)(const struct gt_node_view *v, void *arg),
		      void *arg)
{
	struct gt_node_gpu gpus[GT_NODE_GPUS_MAX];
	const struct gt_ctl_node *node;

	for (node = c->nodes; node; node = node->hh.next) {
		const struct gt_node_view v = { .name = node->name,
						.state = gt_ctl_node_state(node),
						.duty = node->duty,
						.since_ms = node->since_ms,
						.member_ms = node->member_ms,
						.cpu_milli = node->cpu_milli,
						.memory_bytes = node->memory_bytes,
						.parking_bytes = node->parking_bytes,
						.parked_bytes = node_parked(node),
						.replicas = node->replicas,
						.gpus = gpus,
						.n_gpus = node_gpus(c, node, gpus),
						.labels = node->labels,
						.n_labels = node->n_labels,
						.driver = node->driver,
						.stats = node->stats,
						.n_stats = node->n_stats,

						.weights = &node->weights };

		if (!fn(&v, arg))
			break;
	}
}
