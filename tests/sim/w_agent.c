/* w_agent.c - nodes that start processes as slowly and unreliably as real ones. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

static struct w_proc *proc_find(struct w_agent *a, const char *id)
{
	for (size_t i = 0; i < a->n_procs; i++)
		if (strcmp(a->procs[i].id, id) == 0)
			return &a->procs[i];
	return NULL;
}

static void proc_remove(struct w_agent *a, struct w_proc *p)
{
	gt_end_fini(&p->end);
	*p = a->procs[--a->n_procs];
	a->procs[a->n_procs] = (struct w_proc){ 0 };
}

static struct w_proc *proc_add(struct world *w, struct w_agent *a, const struct gt_order *o)
{
	if (a->n_procs == W_PROCS)
		w_fail(w, "%s: replicas are never forgotten", a->name);
	struct w_proc *p = &a->procs[a->n_procs++];

	*p = (struct w_proc){ .revision = o->revision,
			      .serial = ++w->serial,
			      .created_ms = w_wall_ms(w) };
	gt_strcopy(p->id, sizeof(p->id), o->replica);
	gt_strcopy(p->function, sizeof(p->function), o->function);
	return p;
}

/* The node's own book: nothing that ever happens may give one GPU to two. False: the order is not
 * one of the revision that it names; a found replica of an older one, on a node that lost it. */
static bool gpu_take(struct world *w, const struct w_agent *a, struct w_proc *p,
		     const struct gt_order *o)
{
	uint32_t milli = 0;

	if (o->n_gpus != (p->kind.gpu_milli > 0))
		return false;
	if (o->n_gpus == 0)
		return true;
	p->gpu = o->gpus[0];
	for (size_t i = 0; i < a->n_procs; i++)
		if (!gt_replica_state_ended(a->procs[i].state) &&
		    strcmp(a->procs[i].gpu.uuid, p->gpu.uuid) == 0)
			milli += a->procs[i].gpu.milli;
	if (milli > GT_GPU_WHOLE)
		w_fail(w, "%s: %u thousandths of GPU %s are given", a->name, milli, p->gpu.uuid);
	return true;
}

bool w_agent_serves(struct world *w, const char *replica)
{
	for (size_t i = 0; i < w->n_agents; i++) {
		const struct w_proc *p = proc_find(&w->agents[i], replica);

		if (p)
			return p->state == GT_REPLICA_READY || p->state == GT_REPLICA_DRAINING;
	}
	return false;
}

/* ---- reports ---- */
static void report_fini(void *report)
{
	gt_report_fini(report);
}

static void report_arrive(struct world *w, struct w_event *e)
{
	const struct gt_report *r = e->data;
	struct gt_err err;

	if (!w->c || w->agents[e->a].conn != e->b)
		return; /* lost with the connection */
	w_mix(w, r->full ? "full report" : "report", r->node, r->n_replicas);
	if (gt_control_report(w->c, r, &err) < 0)
		w_fail(w, "%s", err.text);
}

static void observed_fill(struct gt_observed *o, const struct w_proc *p)
{
	*o = (struct gt_observed){ .revision = p->revision,
				   .state = p->state,
				   .created_ms = p->created_ms };
	gt_strcopy(o->replica, sizeof(o->replica), p->id);
	gt_strcopy(o->function, sizeof(o->function), p->function);
	gt_end_copy(&o->end, &p->end);
	if (p->gpu.milli == 0)
		return;
	o->gpus = gt_alloc(sizeof(*o->gpus));
	*o->gpus = p->gpu;
	o->n_gpus = 1;
}

static void gpus_fill(struct gt_report *r, const char *node)
{
	r->gpus = gt_alloc_array(W_GPUS, sizeof(*r->gpus));
	for (r->n_gpus = 0; r->n_gpus < W_GPUS; r->n_gpus++) {
		struct gt_gpu *gpu = &r->gpus[r->n_gpus];

		*gpu = (struct gt_gpu){ .memory_bytes = 80 * GT_GIB, .healthy = true };
		gt_strcopy(gpu->model, sizeof(gpu->model), r->n_gpus % 2 ? "H100" : "L4");
		snprintf(gpu->uuid, sizeof(gpu->uuid), "%s-%zu", node, r->n_gpus);
	}
}

static void report_send(struct world *w, size_t agent, const struct w_proc *only)
{
	struct w_agent *a = &w->agents[agent];
	struct gt_report *r;
	size_t n = only ? 1 : a->n_procs;

	if (!a->conn)
		return;
	r = gt_alloc(sizeof(*r));
	gt_strcopy(r->node, sizeof(r->node), a->name);
	r->full = !only;
	r->epoch = w->epoch;
	r->cpu_milli = 4000;
	r->memory_bytes = a->memory_bytes;
	if (r->full)
		gpus_fill(r, a->name);
	r->replicas = gt_alloc_array(n, sizeof(*r->replicas));
	r->n_replicas = n;
	for (size_t i = 0; i < n; i++)
		observed_fill(&r->replicas[i], only ? only : &a->procs[i]);
	w_delay(w, &a->up_at_ns);
	struct w_event *e = w_at(w, a->up_at_ns, report_arrive);

	e->a = agent;
	e->b = a->conn;
	e->data = r;
	e->data_fini = report_fini;
}

void w_agent_report_full(struct world *w, size_t agent)
{
	report_send(w, agent, NULL);
}

/* ---- processes ---- */
static void proc_set(struct world *w, size_t agent, struct w_proc *p, enum gt_replica_state state,
		     const char *cause)
{
	p->state = state;
	if (cause) {
		gt_strcopy(p->end.cause, sizeof(p->end.cause), cause);
		gt_strcopy(p->end.text, sizeof(p->end.text), "it ended");
		p->end.exit_code = 1;
	}
	report_send(w, agent, p);
}

static struct w_proc *proc_by_serial(struct world *w, const struct w_event *e)
{
	struct w_agent *a = &w->agents[e->a];

	for (size_t i = 0; i < a->n_procs; i++)
		if (a->procs[i].serial == e->b && !gt_replica_state_ended(a->procs[i].state))
			return &a->procs[i];
	return NULL;
}

static struct w_event *proc_later(struct world *w, size_t agent, const struct w_proc *p,
				  uint64_t ms, void (*fn)(struct world *w, struct w_event *e))
{
	struct w_event *e = w_at(w, w->now_ns + ms * W_MS, fn);

	e->a = agent;
	e->b = p->serial;
	return e;
}

static void proc_crash(struct world *w, struct w_event *e)
{
	struct w_proc *p = proc_by_serial(w, e);

	if (p)
		proc_set(w, e->a, p, GT_REPLICA_FAILED, "exited");
}

static void proc_exit(struct world *w, struct w_event *e)
{
	struct w_proc *p = proc_by_serial(w, e);

	if (p)
		proc_set(w, e->a, p, GT_REPLICA_STOPPED, NULL);
}

static void proc_ready(struct world *w, struct w_event *e)
{
	struct w_proc *p = proc_by_serial(w, e);

	if (!p || p->state != GT_REPLICA_STARTING)
		return;
	if (w_chance(w, p->kind.fail_permille)) {
		proc_set(w, e->a, p, GT_REPLICA_FAILED, "exited_early");
		return;
	}
	proc_set(w, e->a, p, GT_REPLICA_READY, NULL);
	if (w_chance(w, p->kind.crash_permille))
		proc_later(w, e->a, p, w_below(w, 90000), proc_crash);
}

static void proc_exec(struct world *w, struct w_event *e)
{
	struct w_proc *p = proc_by_serial(w, e);

	if (!p || p->state != GT_REPLICA_PULLING)
		return;
	proc_set(w, e->a, p, GT_REPLICA_STARTING, NULL);
	proc_later(w, e->a, p, 1 + w_below(w, p->kind.start_ms), proc_ready);
}

/* ---- orders ---- */
static void order_run(struct world *w, size_t agent, const struct gt_order *o)
{
	struct w_agent *a = &w->agents[agent];

	if (proc_find(a, o->replica))
		return; /* it knows */
	struct w_proc *p = proc_add(w, a, o);

	p->kind = w_kind_read(o->spec_json);
	p->state = GT_REPLICA_PULLING;
	if (!gpu_take(w, a, p, o)) {
		proc_set(w, agent, p, GT_REPLICA_FAILED, "gpu_conflict");
		return;
	}
	proc_later(w, agent, p, w_below(w, 20), proc_exec);
	if (w_chance(w, 500)) /* reports may skip states */
		report_send(w, agent, p);
}

static void order_stop(struct world *w, size_t agent, const struct gt_order *o)
{
	struct w_agent *a = &w->agents[agent];
	struct w_proc *p = proc_find(a, o->replica);

	if (!p) {
		p = proc_add(w, a, o);
		proc_set(w, agent, p, GT_REPLICA_STOPPED, NULL);
		return;
	}
	if (gt_replica_state_ended(p->state))
		return;
	if (p->state != GT_REPLICA_DRAINING)
		proc_set(w, agent, p, GT_REPLICA_DRAINING, NULL);
	uint64_t takes_ms = w_below(w, 1000);

	proc_later(w, agent, p, GT_MIN(o->grace_ms, takes_ms), proc_exit);
}

static void order_apply(struct world *w, size_t agent, const struct gt_order *o)
{
	if (o->want == GT_WANT_RUN)
		order_run(w, agent, o);
	else
		order_stop(w, agent, o);
}

struct orders {
	struct gt_order *all;
	size_t n;
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

	orders->all = gt_grow(orders->all, orders->n + 1, sizeof(*orders->all));
	orders->all[orders->n] = *o;
	orders->all[orders->n].gpus = NULL;
	if (o->n_gpus > 0) {
		orders->all[orders->n].gpus = gt_alloc_array(o->n_gpus, sizeof(*o->gpus));
		memcpy(orders->all[orders->n].gpus, o->gpus, o->n_gpus * sizeof(*o->gpus));
	}
	orders->all[orders->n++].spec_json = gt_strdup(o->spec_json);
}

/* c: 1 = the snapshot, which is answered by a full report. */
static void orders_arrive(struct world *w, struct w_event *e)
{
	const struct orders *orders = e->data;

	if (w->agents[e->a].conn != e->b)
		return;
	for (size_t i = 0; i < orders->n; i++)
		order_apply(w, e->a, &orders->all[i]);
	if (e->c)
		w_agent_report_full(w, e->a);
}

static struct orders *orders_send(struct world *w, size_t agent, bool snapshot)
{
	struct w_agent *a = &w->agents[agent];

	w_delay(w, &a->down_at_ns);
	struct w_event *e = w_at(w, a->down_at_ns, orders_arrive);

	e->a = agent;
	e->b = a->conn;
	e->c = snapshot;
	e->data = gt_alloc(sizeof(struct orders));
	e->data_fini = orders_fini;
	return e->data;
}

static bool agent_find(struct world *w, const char *node, size_t *ret)
{
	for (size_t i = 0; i < w->n_agents; i++) {
		if (strcmp(w->agents[i].name, node) != 0)
			continue;
		*ret = i;
		return w->agents[i].conn != 0;
	}
	w_fail(w, "an order for the unknown node %s", node);
}

void w_agent_order(struct world *w, const char *node, const struct gt_order *order)
{
	size_t agent;

	if (agent_find(w, node, &agent)) /* else the next snapshot says it */
		orders_add(order, orders_send(w, agent, false));
}

static void forget_arrive(struct world *w, struct w_event *e)
{
	struct w_agent *a = &w->agents[e->a];
	struct w_proc *p = a->conn == e->b ? proc_find(a, e->data) : NULL;

	if (p)
		proc_remove(a, p);
}

void w_agent_forget(struct world *w, const char *node, const char *replica)
{
	size_t agent;

	if (!agent_find(w, node, &agent))
		return;
	struct w_agent *a = &w->agents[agent];

	w_delay(w, &a->down_at_ns);
	struct w_event *e = w_at(w, a->down_at_ns, forget_arrive);

	e->a = agent;
	e->b = a->conn;
	e->data = gt_strdup(replica);
}

/* ---- connections ---- */
void w_agent_connect(struct world *w, size_t agent)
{
	struct w_agent *a = &w->agents[agent];

	a->conn = ++w->conn_last;
	w_mix(w, "agent connects", a->name, a->conn);
	gt_control_orders(w->c, a->name, orders_add, orders_send(w, agent, true));
	gt_control_node_up(w->c, a->name);
}

static void agent_back(struct world *w, struct w_event *e)
{
	if (w->agents[e->a].conn)
		return;
	if (!w->c) {
		w_at(w, w->now_ns + 100 * W_MS, agent_back)->a = e->a;
		return;
	}
	w_agent_connect(w, e->a);
}

void w_agent_disconnect(struct world *w, size_t agent, uint64_t back_ms)
{
	struct w_agent *a = &w->agents[agent];

	if (!a->conn)
		return;
	w_mix(w, "agent gone", a->name, back_ms);
	a->conn = 0;
	if (w->c)
		gt_control_node_down(w->c, a->name);
	w_at(w, w->now_ns + back_ms * W_MS, agent_back)->a = agent;
}

void w_agent_reboot(struct world *w, size_t agent)
{
	struct w_agent *a = &w->agents[agent];

	w_mix(w, "reboot", a->name, a->n_procs);
	while (a->n_procs > 0)
		proc_remove(a, &a->procs[0]);
	w_agent_disconnect(w, agent, 100 + w_below(w, 20000));
}

void w_agent_free(struct w_agent *a)
{
	while (a->n_procs > 0)
		proc_remove(a, &a->procs[0]);
}
