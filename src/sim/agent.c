/* agent.c - nodes that start processes as slowly and unreliably as real ones, and report as
 * src/agent does: once at a time, what changed; everything after a snapshot or a failure. */
#include "rules_gang.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct w_proc *gt_w_proc_find(struct gt_world *w, const char *id)
{
	struct w_proc *p;

	HASH_FIND_STR(w->procs, id, p);
	return p;
}

bool gt_w_proc_serves(const struct w_proc *p)
{
	return p &&
	       (p->state == GT_REPLICA_READY || (p->state == GT_REPLICA_DRAINING && p->ready_ns));
}

/* ---- what a process holds ---- */
static uint64_t bytes_of(const struct w_proc *p)
{
	return p->kind.memory_mib * GT_MIB;
}

uint32_t gt_w_gpus_count(struct gt_world *w, struct w_proc *p, bool take)
{
	struct w_agent *a = p->agent;
	uint32_t milli = 0;

	if (p->on_gpu == take)
		return 0;
	p->on_gpu = take;

	for (size_t i = 0; i < p->n_gpus; i++) {
		const struct gt_gpu_grant *grant = &p->gpus[i];
		size_t at = strtoul(strrchr(grant->uuid, '-') + 1, NULL, 10) % GT_SCHED_GPUS_MAX;

		milli += grant->milli;
		a->gpu_milli[at] += take ? grant->milli : -grant->milli;
		if (a->gpu_milli[at] > GT_GPU_WHOLE)
			gt_w_break(w, "capacity", "%u thousandths of GPU %s are given",
				   a->gpu_milli[at], grant->uuid);
	}
	return milli;
}

static void hold(struct gt_world *w, struct w_proc *p)
{
	gt_w_meter(w);
	p->holds = true;
	w->stats.gpus_milli += gt_w_gpus_count(w, p, true);
	p->agent->held_bytes += bytes_of(p);
	w->stats.held++;
	w->stats.peak_held = GT_MAX(w->stats.peak_held, w->stats.held);
}

static void release(struct gt_world *w, struct w_proc *p)
{
	if (!p->holds)
		return;
	gt_w_meter(w);
	p->holds = false;
	p->agent->held_bytes -= bytes_of(p);
	w->stats.gpus_milli -= gt_w_gpus_count(w, p, false);
	w->stats.held--;
	w->stats.ready -= p->ready_ns != 0;
	p->park.bytes = 0;
	gt_w_calls_lose(w, p);
}

static void proc_free(struct gt_world *w, struct w_proc *p)
{
	struct w_agent *a = p->agent;

	release(w, p);
	HASH_DEL(w->procs, p);
	DL_DELETE(a->procs, p);
	a->n_procs--;
	a->n_dirty -= p->dirty;
	gt_end_fini(&p->end);
	free(p->gpus);
	free(p);
}

static struct w_proc *proc_new(struct gt_world *w, struct w_agent *a, const struct gt_order *o)
{
	struct w_proc *p = gt_alloc(sizeof(*p));
	const struct w_fn *f = gt_w_fn(w, o->function);

	if (!f)
		gt_w_break(w, "owner", "an order for the unknown function %s", o->function);
	gt_strcopy(p->id, sizeof(p->id), o->replica);
	p->agent = a;
	p->fn = f ? f->index : 0;
	p->revision = o->revision;
	p->member = o->gang;
	p->serial = ++w->serial;
	p->created_ms = gt_w_wall_ms(w);
	HASH_ADD_STR(w->procs, id, p);
	DL_APPEND(a->procs, p);
	a->n_procs++;
	return p;
}

/* ---- reports ---- */
static void report_fini(void *report)
{
	gt_report_fini(report);
}

static int report_take(struct gt_control *c, const void *msg, struct gt_err *err)
{
	return gt_control_report(c, msg, err);
}

static struct gt_gpu_grant *grants_copy(const struct gt_gpu_grant *list, size_t n)
{
	struct gt_gpu_grant *copy = n > 0 ? gt_alloc_array(n, sizeof(*list)) : NULL;

	if (n > 0)
		memcpy(copy, list, n * sizeof(*list));
	return copy;
}

static void gpus_fill(struct gt_world *w, struct gt_report *r)
{
	uint64_t bytes = w->config.gpu_bytes ? w->config.gpu_bytes : 80 * GT_GIB;

	r->gpus = gt_alloc_array(w->config.node_gpus + 1, sizeof(*r->gpus));
	for (; r->n_gpus < w->config.node_gpus; r->n_gpus++) {
		struct gt_gpu *gpu = &r->gpus[r->n_gpus];

		*gpu = (struct gt_gpu){ .memory_bytes = bytes, .minor = -1, .gi = -1, .ci = -1 };
		gt_strcopy(gpu->model, sizeof(gpu->model), "sim");
		snprintf(gpu->uuid, sizeof(gpu->uuid), "%s-%zu", r->node, r->n_gpus);
	}
}

static void observed_fill(struct gt_world *w, struct gt_observed *o, const struct w_proc *p)
{
	*o = (struct gt_observed){ .revision = p->revision,
				   .state = p->state,
				   .created_ms = p->created_ms,
				   .memory_bytes = bytes_of(p),
				   .turn = p->turn,
				   .park = p->park };
	gt_strcopy(o->replica, sizeof(o->replica), p->id);
	gt_strcopy(o->function, sizeof(o->function), w->fns[p->fn]->name);
	gt_end_copy(&o->end, &p->end);
	o->gpus = grants_copy(p->gpus, p->n_gpus);
	o->n_gpus = p->n_gpus;
	o->gang = p->member;
	if (gt_w_sabotaged(w, "members answer too early") && p->member.size > 0 &&
	    p->state == GT_REPLICA_STARTING)
		o->state = GT_REPLICA_READY;
}

void gt_w_agent_report(struct gt_world *w, struct w_agent *a)
{
	struct w_proc *p;

	if (!a->peer.conn || !a->peer.epoch || a->peer.posting || a->batch ||
	    (!a->peer.full && !a->beats && a->n_dirty == 0))
		return;
	a->beats = false;
	struct gt_report *r = gt_alloc(sizeof(*r));
	size_t n = a->peer.full ? a->n_procs : a->n_dirty;

	gt_strcopy(r->node, sizeof(r->node), a->peer.name);
	r->full = a->peer.full;
	r->epoch = a->peer.epoch;
	r->cpu_milli = w->config.node_cpu_milli;
	r->memory_bytes = a->memory_bytes;
	r->parking_bytes = gt_w_sabotaged(w, "parking memory is not counted")
				   ? UINT64_MAX
				   : w->config.parking_bytes;
	if (r->full)
		snprintf(r->address, sizeof(r->address), "10.0.0.%zu", a->peer.index % 250 + 1);
	gpus_fill(w, r);
	r->replicas = gt_alloc_array(n + 1, sizeof(*r->replicas));
	DL_FOREACH (a->procs, p) {
		if (r->full || p->dirty)
			observed_fill(w, &r->replicas[r->n_replicas++], p);
		p->dirty = false;
	}
	a->n_dirty = 0;
	a->peer.full = false;
	gt_w_peer_post(w, &a->peer, report_take, r, report_fini);
}

void gt_w_agent_changed(struct gt_world *w, struct w_proc *p)
{
	p->agent->n_dirty += !p->dirty;
	p->dirty = true;
	gt_w_agent_report(w, p->agent);
}

/* ---- processes ---- */
void gt_w_proc_end(struct gt_world *w, struct w_proc *p, enum gt_replica_state state,
		   const char *cause)
{
	if (gt_w_sabotaged(w, "memory is not given back"))
		p->agent->held_bytes += bytes_of(p);
	if (p->state != GT_REPLICA_DRAINING)
		gt_w_rule_gang_dead(w, p);
	release(w, p);
	p->state = state;
	if (p->forgotten) {
		proc_free(w, p);
		return;
	}
	if (cause) {
		gt_strcopy(p->end.cause, sizeof(p->end.cause), cause);
		gt_strcopy(p->end.text, sizeof(p->end.text), "it ended");
		p->end.exit_code = 1;
	}
	gt_w_agent_changed(w, p);
}

/* a: serial of the process. Its replica may be forgotten already. */
void gt_w_proc_later(struct gt_world *w, struct w_proc *p, uint64_t ms,
		     void (*fn)(struct gt_world *w, struct w_event *e))
{
	struct w_event *e = gt_w_at(w, w->now_ns + ms * W_MS, fn);

	e->a = p->serial;
	e->data = gt_strdup(p->id);
}

struct w_proc *gt_w_proc_of(struct gt_world *w, const struct w_event *e)
{
	struct w_proc *p = gt_w_proc_find(w, e->data);

	return p && p->serial == e->a && !gt_replica_state_ended(p->state) ? p : NULL;
}

static void proc_crash(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (!p)
		return;
	w->stats.crashes++;
	gt_w_proc_end(w, p, GT_REPLICA_FAILED, "exited");
}

static void proc_exit(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (p)
		gt_w_proc_end(w, p, GT_REPLICA_STOPPED, NULL);
}

static void proc_ready(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (!p || p->state != GT_REPLICA_STARTING)
		return;
	if (gt_w_chance(w, p->kind.fail_permille)) {
		w->stats.failed_starts++;
		gt_w_proc_end(w, p, GT_REPLICA_FAILED, "exited_early");
		return;
	}
	gt_w_meter(w);
	w->stats.ready++;
	p->ready_ns = w->now_ns;
	p->state = GT_REPLICA_READY;
	gt_w_rule_gang_ready(w, p);
	p->park.method = p->kind.park_after_ms ? GT_PARK_FREEZE : GT_PARK_STOP;
	gt_w_agent_changed(w, p);
	gt_w_park_pursue(w, p);
	if (gt_w_chance(w, p->kind.crash_permille))
		gt_w_proc_later(w, p, gt_w_below(w, 90000), proc_crash);
	if (p->kind.crash_mean_s)
		gt_w_proc_later(w, p, 1 + gt_w_below(w, 2000ULL * p->kind.crash_mean_s),
				proc_crash);
}

static void proc_exec(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (!p || p->state != GT_REPLICA_PULLING)
		return;
	uint32_t least = p->kind.start_least_ms, most = p->kind.start_most_ms;

	p->state = GT_REPLICA_STARTING;
	gt_w_agent_changed(w, p);
	gt_w_proc_later(w, p, least + gt_w_below(w, most - least + 1), proc_ready);
}

static void proc_stop(struct gt_world *w, struct w_proc *p, uint64_t grace_ms)
{
	uint64_t takes_ms = gt_w_below(w, 1000);

	if (gt_replica_state_ended(p->state))
		return;
	if (p->state != GT_REPLICA_DRAINING) {
		p->park_busy = false;
		p->state = GT_REPLICA_DRAINING;
		gt_w_agent_changed(w, p);
	}
	gt_w_proc_later(w, p, GT_MIN(grace_ms, takes_ms), proc_exit);
}

static void proc_forget(struct gt_world *w, struct w_proc *p)
{
	p->forgotten = true;
	if (gt_replica_state_ended(p->state))
		proc_free(w, p);
	else
		proc_stop(w, p, p->kind.drain_ms);
}

/* ---- without control ---- */
#define BEAT_NS  (GT_NODE_BEAT_MS * GT_NS_PER_MS)
#define LEASE_NS (100 * W_MS)

void gt_w_agent_heard(struct w_agent *a, uint64_t sent_ns)
{
	a->heard_ns = sent_ns;
}

/* What may not run without control for so long is stopped, as src/agent/lease.c does. */
static void lease_check(struct gt_world *w, struct w_agent *a)
{
	struct w_proc *p, *next;

	DL_FOREACH_SAFE (a->procs, p, next)
		if (p->kind.stop_after_ms && p->holds && p->state != GT_REPLICA_DRAINING &&
		    w->now_ns - a->heard_ns >= p->kind.stop_after_ms * W_MS &&
		    !gt_w_sabotaged(w, "nodes go on without control")) {
			gt_strcopy(p->end.cause, sizeof(p->end.cause), "node_lost");
			proc_stop(w, p, p->kind.drain_ms);
		}
}

void gt_w_agent_beat(struct gt_world *w, struct w_event *e)
{
	struct w_agent *a = &w->agents[e->a];

	if (a->peer.back_ns <= w->now_ns) {
		lease_check(w, a);
		if (w->now_ns >= e->b) {
			a->beats = true;
			gt_w_agent_report(w, a);
		}
	}
	struct w_event *next = gt_w_at(w, w->now_ns + LEASE_NS, gt_w_agent_beat);

	next->a = e->a;
	next->b = w->now_ns >= e->b ? w->now_ns + BEAT_NS : e->b;
}

/* ---- orders ---- */
static void order_run(struct gt_world *w, struct w_agent *a, const struct gt_order *o)
{
	struct w_proc *p = gt_w_proc_find(w, o->replica);

	if (p && p->agent == a)
		gt_w_park_order(w, p, o);
	if ((p && p->agent == a) || o->known)
		return; /* it knows, or it ended with the machine */
	if (p) {
		gt_w_break(w, "start", "replica %s runs on %s and is ordered to %s", o->replica,
			   p->agent->peer.name, a->peer.name);
		return;
	}
	p = proc_new(w, a, o);
	p->kind = gt_w_kind_read(o->spec_json);
	p->gpus = grants_copy(o->gpus, o->n_gpus);
	p->n_gpus = o->n_gpus;
	/* Without its text it can not be started, nor with the GPUs of another. */
	if (o->spec_json[0] == '{' || p->n_gpus != p->kind.gpus) {
		free(gt_steal(&p->gpus));
		p->n_gpus = 0;
		gt_w_proc_end(w, p, GT_REPLICA_FAILED, "invalid_spec");
		return;
	}
	p->state = GT_REPLICA_PULLING;
	hold(w, p);
	gt_w_rule_gang_start(w, p);
	gt_w_proc_later(w, p, gt_w_below(w, 20), proc_exec);
	if (gt_w_chance(w, 500)) /* reports may skip states */
		gt_w_agent_changed(w, p);
}

static void order_apply(struct gt_world *w, struct w_agent *a, const struct gt_order *o)
{
	struct w_proc *p = gt_w_proc_find(w, o->replica);

	if (o->want != GT_WANT_STOP) {
		order_run(w, a, o);
	} else if (p && gt_w_sabotaged(w, "members are not killed") && p->member.size > 0 &&
		   o->grace_ms == 0) {
		return;
	} else if (p) {
		p->forgotten = false;
		proc_stop(w, p, o->grace_ms);
	} else { /* what never started is answered too */
		p = proc_new(w, a, o);
		p->state = GT_REPLICA_STOPPED;
		gt_w_agent_changed(w, p);
	}
}

struct orders {
	struct gt_order *all;
	size_t n, cap;
	uint64_t epoch;
};

static void orders_fini(void *arg)
{
	struct orders *orders = arg;

	for (size_t i = 0; i < orders->n; i++)
		gt_order_fini(&orders->all[i]);
	free(orders->all);
}

static void orders_add(const struct gt_order *o, void *arg)
{
	struct orders *orders = arg;

	if (orders->n == orders->cap) {
		orders->cap = orders->cap ? 2 * orders->cap : 1;
		orders->all = gt_grow(orders->all, orders->cap, sizeof(*orders->all));
	}
	orders->all[orders->n] = *o;
	orders->all[orders->n].gpus = grants_copy(o->gpus, o->n_gpus);
	orders->all[orders->n].addresses = NULL; /* nobody reads them here */
	orders->all[orders->n].n_addresses = 0;
	orders->all[orders->n++].spec_json = gt_strdup(o->spec_json);
}

static void order_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_agent *a = e->who;
	const struct orders *orders = e->data;

	if (gt_w_peer_hears(&a->peer, e))
		order_apply(w, a, &orders->all[0]);
}

/* What a snapshot does not list, the control that wrote it does not want. But one that has just
 * started does not know yet: it learns from the full report and decides then. */
static void unlisted_forget(struct gt_world *w, struct w_agent *a, const struct orders *orders)
{
	uint64_t stamp = ++w->serial;
	struct w_proc *p, *p_next;

	for (size_t i = 0; i < orders->n; i++) {
		p = gt_w_proc_find(w, orders->all[i].replica);
		if (p)
			p->listed = stamp;
	}
	DL_FOREACH_SAFE (a->procs, p, p_next)
		if (p->listed != stamp)
			proc_forget(w, p);
}

static void snapshot_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_agent *a = e->who;
	const struct orders *orders = e->data;

	if (!gt_w_peer_hears(&a->peer, e))
		return;
	bool same = a->peer.epoch == orders->epoch;

	gt_w_rule_epoch(w, &a->peer, orders->epoch);
	a->peer.epoch = orders->epoch;
	a->batch++;
	if (same)
		unlisted_forget(w, a, orders);
	for (size_t i = 0; i < orders->n; i++)
		order_apply(w, a, &orders->all[i]);
	a->batch--;
	a->peer.full = true;
	gt_w_agent_report(w, a);
}

static struct orders *orders_tell(struct gt_world *w, struct w_agent *a,
				  void (*fn)(struct gt_world *w, struct w_event *e))
{
	struct w_event *e = gt_w_peer_tell(w, &a->peer, fn);
	struct orders *orders = gt_alloc(sizeof(*orders));

	orders->epoch = w->epoch;
	e->data = orders;
	e->data_fini = orders_fini;
	return orders;
}

void gt_w_agent_snapshot(struct gt_world *w, struct w_agent *a)
{
	gt_control_orders(w->c, a->peer.name, orders_add, orders_tell(w, a, snapshot_arrive));
}

/* NULL: it is not connected; the next snapshot says it. */
static struct w_agent *agent_find(struct gt_world *w, const char *node)
{
	size_t i = strtoul(node + strlen("node"), NULL, 10);

	if (i >= w->config.nodes || strcmp(w->agents[i].peer.name, node) != 0) {
		gt_w_break(w, "start", "an order for the unknown node %s", node);
		return NULL;
	}
	return w->agents[i].peer.heard ? &w->agents[i] : NULL;
}

void gt_w_agent_order(struct gt_world *w, const char *node, const struct gt_order *order)
{
	struct w_agent *a = agent_find(w, node);

	if (a)
		orders_add(order, orders_tell(w, a, order_arrive));
}

static void forget_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_agent *a = e->who;
	struct w_proc *p = gt_w_peer_hears(&a->peer, e) ? gt_w_proc_find(w, e->data) : NULL;

	if (p)
		proc_forget(w, p);
}

void gt_w_agent_forget(struct gt_world *w, const char *node, const char *replica)
{
	struct w_agent *a = agent_find(w, node);

	if (a)
		gt_w_peer_tell(w, &a->peer, forget_arrive)->data = gt_strdup(replica);
}

/* ---- faults ---- */
void gt_world_agent_crash(struct gt_world *w, size_t node, uint64_t back_ms)
{
	gt_w_peer_crash(w, &w->agents[node].peer, back_ms, true);
}

void gt_world_node_reboot(struct gt_world *w, size_t node, uint64_t back_ms)
{
	struct w_agent *a = &w->agents[node];

	gt_w_peer_crash(w, &a->peer, back_ms, gt_w_chance(w, 500));
	while (a->procs) {
		gt_w_rule_gang_dead(w, a->procs);
		proc_free(w, a->procs);
	}
	a->heard_ns = w->now_ns;
	w->stats.nodes_lost++;
}

void gt_w_agent_fini(struct gt_world *w, struct w_agent *a)
{
	while (a->procs)
		proc_free(w, a->procs);
}
