/* control.c - the life of control itself: start, ticks, and the end of every input. */
#include "gang.h"
#include "host.h"
#include "place.h"
#include "schedule.h"
#include "task.h"

#include <stdlib.h>

#define ROUNDS_MAX 16 /* of one input; what is left then is due at once */

struct gt_control *gt_control_new(const struct gt_control_ports *ports,
				  const struct gt_control_config *config)
{
	struct gt_control *c = gt_alloc(sizeof(*c));

	c->ports = *ports;
	c->epoch = config->epoch;
	c->news = 1;
	c->started_ns = gt_ctl_now(c);
	c->node_suspect_ns = config->node_suspect_ms * GT_NS_PER_MS;
	c->drains_due_ns = c->away_due_ns = CTL_NEVER;
	gt_strcopy(c->local_node, sizeof(c->local_node),
		   config->local_node ? config->local_node : "");
	c->node_lost_ns = (config->node_lost_ms ? config->node_lost_ms : 10000) * GT_NS_PER_MS;
	c->last_event = c->epoch << 32;
	c->events.max = GT_EVENTS_KEPT;
	c->last_decision = c->epoch << 32;
	c->decisions.max = GT_DECISIONS_KEPT;
	c->told_due_ns = CTL_NEVER;
	c->sched = gt_ctl_fleet_new();
	c->pool = gt_scale_pool_new();
	c->candidate = config->shadow;
	if (c->candidate.on)
		c->shadow_pool = gt_scale_pool_new();
	c->hosts = gt_ctl_hosts_new(c, config->providers, ports->hook ? config->n_providers : 0);
	if (ports->store.task)
		c->tasks = gt_ctl_tasks_new(c);
	return c;
}

void gt_control_free(struct gt_control *c)
{
	struct gt_ctl_replica *r, *r_next;
	struct gt_ctl_node *node, *node_next;
	struct gt_ctl_gateway *g, *g_next;

	if (!c)
		return;
	gt_ctl_lanes_free(c);
	gt_ctl_hosts_free(c);
	gt_ctl_started_free(c);
	gt_ctl_schedules_free(c);
	gt_ctl_tasks_free(c);
	gt_ctl_node_ops_free(c);
	gt_ctl_functions_free(c);
	HASH_CLEAR(hh, c->replicas);
	gt_ctl_gangs_free(c);
	DL_FOREACH_SAFE (c->strays, r, r_next)
		gt_ctl_replica_free(r);
	HASH_ITER (hh, c->nodes, node, node_next) {
		HASH_DEL(c->nodes, node);
		gt_ctl_node_free(node);
	}
	free(c->node_at);
	free(c->gpu_models);
	gt_ctl_weights_free(c);
	DL_FOREACH_SAFE (c->gateways, g, g_next)
		free(g);
	gt_ctl_ring_fini(&c->events);
	gt_sched_free(c->sched);
	gt_ctl_ring_fini(&c->decisions);
	gt_scale_pool_free(c->pool);
	gt_scale_pool_free(c->shadow_pool);
	free(c->heap);
	free(c);
}

uint64_t gt_control_epoch(const struct gt_control *c)
{
	return c->epoch;
}

uint64_t gt_control_news(const struct gt_control *c)
{
	return c->news;
}

void gt_ctl_tell_route(struct gt_control *c, const struct gt_ctl_function *f)
{
	c->news++;
	c->ports.on_route(c->ports.ctx, gt_ctl_name(f));
}

uint64_t gt_control_decided(const struct gt_control *c)
{
	return c->decided;
}

bool gt_control_settled(const struct gt_control *c)
{
	return c->settled;
}

void gt_control_load(struct gt_control *c, const struct gt_function_row *row, struct gt_spec *spec)
{
	struct gt_ctl_revision *rev = gt_ctl_revision_new(row, spec);

	rev->loaded = true;
	gt_ctl_function_set(c, rev);
}

/* Decisions wait until the nodes have said what runs: else every replica that outlived the last
 * control would be started a second time. */
static bool may_settle(const struct gt_control *c)
{
	uint64_t age = gt_ctl_now(c) - c->started_ns;
	const struct gt_ctl_node *node;
	bool any = false;

	if (age >= CTL_SETTLE_NS)
		return true;
	for (node = c->nodes; node; node = node->hh.next) {
		/* Known from before, and not heard of. A member may be on its way back. */
		if (!node->up && !node->told && node->member_ms && age < CTL_SETTLE_AWAY_NS)
			return false;
		if (!node->up && !node->told)
			continue;
		if (!node->reported)
			return false;
		any = any || node->up;
	}
	return any;
}

static void settle(struct gt_control *c)
{
	c->settled = true;
	gt_ctl_hosts_touch(c);
	for (size_t i = 0; i < c->n_functions; i++)
		if (c->functions[i]->live || c->functions[i]->rev->spec->scale.min > 0)
			gt_ctl_touch(c, c->functions[i]);
}

static void strays_drain(struct gt_control *c)
{
	struct gt_ctl_replica *r;

	DL_FOREACH (c->strays, r)
		gt_ctl_replica_drain_check(c, r);
}

static void touched_decide(struct gt_control *c)
{
	while (c->touched) {
		struct gt_ctl_live *live = c->touched;

		c->touched = live->next_touched;
		gt_ctl_decide(c, live->f);
	}
}

/* Ends every input: decides for what it touched, then tells when to come back. */
void gt_ctl_finish(struct gt_control *c)
{
	if (!c->settled && may_settle(c))
		settle(c);
	/* What hosts are asked for, or do not come, may be a matter of functions again. */
	for (int i = 0; i < ROUNDS_MAX && (i == 0 || c->touched || gt_ctl_hosts_due(c) == 0); i++) {
		touched_decide(c);
		strays_drain(c);
		gt_ctl_hosts_run(c);
	}
	uint64_t due_ns = gt_control_due_ns(c);

	if (due_ns == c->told_due_ns)
		return;
	c->told_due_ns = due_ns;
	c->ports.on_due(c->ports.ctx);
}

uint64_t gt_control_due_ns(const struct gt_control *c)
{
	const struct gt_ctl_replica *r;
	uint64_t due = gt_ctl_due_first(c);

	due = GT_MIN(due, gt_ctl_nodes_due(c));
	due = GT_MIN(due, GT_MIN(c->drains_due_ns, c->away_due_ns));
	due = GT_MIN(due, gt_ctl_gateways_due(c));
	due = GT_MIN(due, gt_ctl_gangs_missing_due(c));
	due = GT_MIN(due, gt_ctl_tasks_due(c));
	due = GT_MIN(due, gt_ctl_schedules_due(c));
	due = GT_MIN(due, gt_ctl_hosts_due(c));
	if (!c->settled)
		due = GT_MIN(due,
			     c->started_ns + (gt_ctl_now(c) < c->started_ns + CTL_SETTLE_AWAY_NS
						      ? CTL_SETTLE_AWAY_NS
						      : CTL_SETTLE_NS));
	DL_FOREACH (c->strays, r)
		if (!r->stop_ordered)
			due = GT_MIN(due, r->drain_until_ns);
	return due;
}

void gt_control_tick(struct gt_control *c)
{
	uint64_t now = gt_ctl_now(c);

	gt_ctl_nodes_tick(c);
	gt_ctl_away_tick(c);
	gt_ctl_duties_tick(c);
	gt_ctl_gateways_tick(c);
	gt_ctl_gangs_tick(c);
	gt_ctl_tasks_tick(c);
	gt_ctl_schedules_tick(c);
	while (gt_ctl_due_first(c) <= now) {
		struct gt_ctl_live *live = c->heap[0];

		gt_ctl_due_set(c, live, CTL_NEVER);
		gt_ctl_touch(c, live->f);
	}
	gt_ctl_finish(c);
}
