/* w_gateway.c - callers, a bounded queue for each function, and slots on the replicas of the route.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 100 /* a backlog that max replicas can work off */

static void post_soon(struct world *w, size_t gateway);
static void dispatch(struct world *w, size_t gateway, size_t fn);

static void call_remove(struct w_queue *q, size_t i)
{
	memmove(&q->calls[i], &q->calls[i + 1], (q->n_calls - i - 1) * sizeof(q->calls[0]));
	q->n_calls--;
}

static uint32_t count(const struct w_queue *q, const char *replica)
{
	uint32_t n = 0;

	for (size_t i = 0; i < q->n_calls; i++)
		n += strcmp(q->calls[i].replica, replica) == 0;
	return n;
}

/* ---- serving ---- */
static void call_end(struct world *w, struct w_event *e)
{
	struct w_queue *q = &w->gateways[e->a].queues[e->b];

	for (size_t i = 0; i < q->n_calls; i++) {
		if (q->calls[i].serial != e->c)
			continue;
		if (w_agent_serves(w, q->calls[i].replica))
			w->fns[e->b].served++;
		else
			w->fns[e->b].lost++;
		call_remove(q, i);
		break;
	}
	dispatch(w, e->a, e->b);
	post_soon(w, e->a);
}

static const char *free_slot(const struct w_queue *q)
{
	for (size_t i = 0; i < q->route.n_replicas; i++) {
		const struct gt_route_replica *r = &q->route.replicas[i];

		if (!r->draining && count(q, r->id) < q->route.concurrency)
			return r->id;
	}
	return NULL;
}

/* A free slot takes the head of the queue. One whose process is gone fails the call at once. */
static void dispatch(struct world *w, size_t gateway, size_t fn)
{
	struct w_queue *q = &w->gateways[gateway].queues[fn];
	struct w_fn *f = &w->fns[fn];

	for (size_t i = 0; i < q->n_calls; i++) {
		const char *replica;

		if (q->calls[i].replica[0])
			continue;
		replica = free_slot(q);
		if (!replica)
			return;
		if (!w_agent_serves(w, replica)) {
			f->lost++;
			call_remove(q, i--);
			continue;
		}
		gt_strcopy(q->calls[i].replica, sizeof(q->calls[i].replica), replica);
		uint64_t ms = f->steady ? f->service_ms : 1 + w_below(w, 2 * f->service_ms);
		struct w_event *e = w_at(w, w->now_ns + ms * W_MS, call_end);

		e->a = gateway;
		e->b = fn;
		e->c = q->calls[i].serial;
	}
}

static void refuse_waiting(struct world *w, struct w_queue *q, struct w_fn *f)
{
	(void)w;
	for (size_t i = q->n_calls; i-- > 0;) {
		if (q->calls[i].replica[0])
			continue;
		f->refused++;
		call_remove(q, i);
	}
}

static void call_arrive(struct world *w, size_t gateway, size_t fn)
{
	struct w_queue *q = &w->gateways[gateway].queues[fn];
	struct w_fn *f = &w->fns[fn];

	if (!q->routed || w->now_ns < q->refuse_until_ns || q->n_calls >= QUEUE_MAX) {
		f->refused++;
		return;
	}
	q->calls[q->n_calls++] = (struct w_call){ .arrived_ns = w->now_ns, .serial = ++w->serial };
	dispatch(w, gateway, fn);
	post_soon(w, gateway);
}

/* ---- load ---- */
static void arrival(struct world *w, struct w_event *e)
{
	struct w_fn *f = &w->fns[e->a];

	if (e->b != f->load_serial || f->every_ms == 0)
		return;
	call_arrive(w, w_below(w, w->n_gateways), e->a);
	uint64_t next_us = f->steady ? f->every_ms * 1000ULL
				     : 1 + w_below(w, 2000ULL * f->every_ms);
	struct w_event *next = w_at(w, w->now_ns + next_us * GT_NS_PER_US, arrival);

	next->a = e->a;
	next->b = e->b;
}

void w_gateway_load(struct world *w, size_t fn, unsigned every_ms)
{
	struct w_fn *f = &w->fns[fn];

	f->every_ms = every_ms;
	f->load_serial = ++w->serial;
	struct w_event *e = w_at(w, w->now_ns, arrival);

	e->a = fn;
	e->b = f->load_serial;
}

void w_gateway_check(struct world *w)
{
	if (w->wait_limit_ns == UINT64_MAX)
		return;
	for (size_t g = 0; g < w->n_gateways; g++)
		for (size_t i = 0; i < w->n_fns; i++) {
			const struct w_queue *q = &w->gateways[g].queues[i];
			const struct w_call *call = q->calls;

			for (size_t n = 0; n < q->n_calls; n++, call++)
				if (!call->replica[0] &&
				    w->now_ns - GT_MAX(call->arrived_ns, w->heal_ns) >
					    w->wait_limit_ns)
					w_fail(w, "a call of %s starves at %s", w->fns[i].name,
					       w->gateways[g].name);
		}
}

/* ---- demand ---- */
static void demand_fini(void *demand)
{
	gt_demand_fini(demand);
}

static void post_arrive(struct world *w, struct w_event *e)
{
	const struct gt_demand *d = e->data;
	struct gt_err err;

	if (!w->c || w->gateways[e->a].conn != e->b)
		return;
	w_mix(w, d->full ? "full demand" : "demand", d->gateway, d->n_functions);
	if (gt_control_demand(w->c, d, &err) < 0)
		w_fail(w, "%s", err.text);
}

static void drained_fill(const struct w_gateway *g, size_t n_fns, struct gt_demand *d)
{
	for (size_t i = 0; i < n_fns; i++) {
		const struct w_queue *q = &g->queues[i];

		for (size_t n = 0; n < q->route.n_replicas; n++) {
			const struct gt_route_replica *r = &q->route.replicas[n];

			if (!r->draining || count(q, r->id) > 0)
				continue;
			d->drained = gt_grow(d->drained, d->n_drained + 1, sizeof(d->drained[0]));
			gt_strcopy(d->drained[d->n_drained++], GT_REPLICA_ID_SIZE, r->id);
		}
	}
}

static void post(struct world *w, struct w_event *due)
{
	struct w_gateway *g = &w->gateways[due->a];
	struct gt_demand *d;

	g->post_due = false;
	if (!g->conn)
		return;
	d = gt_alloc(sizeof(*d));
	gt_strcopy(d->gateway, sizeof(d->gateway), g->name);
	d->full = g->full_due;
	d->epoch = w->epoch;
	g->full_due = false;
	d->functions = gt_alloc_array(w->n_fns, sizeof(*d->functions));
	for (size_t i = 0; i < w->n_fns; i++) {
		struct gt_demand_function *said = &d->functions[d->n_functions];
		struct w_queue *q = &g->queues[i];
		uint32_t queued = count(q, ""), in_flight = (uint32_t)q->n_calls - queued;
		bool changed = queued != q->said_queued || in_flight != q->said_in_flight;

		if (d->full)
			q->said_queued = q->said_in_flight = 0;
		if (d->full ? q->n_calls == 0 : !changed)
			continue;
		gt_strcopy(said->function, sizeof(said->function), w->fns[i].name);
		said->queued = q->said_queued = queued;
		said->in_flight = q->said_in_flight = in_flight;
		d->n_functions++;
	}
	drained_fill(g, w->n_fns, d);
	w_delay(w, &g->up_at_ns);
	struct w_event *e = w_at(w, g->up_at_ns, post_arrive);

	e->a = due->a;
	e->b = g->conn;
	e->data = d;
	e->data_fini = demand_fini;
}

static void post_soon(struct world *w, size_t gateway)
{
	struct w_gateway *g = &w->gateways[gateway];

	if (g->post_due || !g->conn)
		return;
	g->post_due = true;
	w_at(w, w->now_ns + w_below(w, 20) * W_MS, post)->a = gateway;
}

/* ---- routes ---- */
struct told {
	bool there;
	struct gt_route route;
};

static void told_fini(void *arg)
{
	gt_route_fini(&((struct told *)arg)->route);
}

static void queue_fail(struct world *w, struct w_queue *q, struct w_fn *f)
{
	if (q->route.fail_seq == 0)
		return;
	q->refuse_until_ns = w->now_ns + q->route.retry_ms * W_MS;
	if (q->route.fail_seq > q->fail_seq)
		refuse_waiting(w, q, f);
	q->fail_seq = GT_MAX(q->fail_seq, q->route.fail_seq);
}

/* a: gateway, b: connection, c: function */
static void route_arrive(struct world *w, struct w_event *e)
{
	struct told *told = e->data;
	struct w_gateway *g = &w->gateways[e->a];
	struct w_queue *q = &g->queues[e->c];

	if (g->conn != e->b)
		return;
	gt_route_fini(&q->route);
	q->route = told->route;
	q->routed = told->there;
	told->route = (struct gt_route){ 0 };
	if (!q->routed)
		refuse_waiting(w, q, &w->fns[e->c]);
	if (q->route.fail_seq == 0)
		q->refuse_until_ns = 0;
	queue_fail(w, q, &w->fns[e->c]);
	dispatch(w, e->a, e->c);
	post_soon(w, e->a);
}

static void route_send(struct world *w, size_t gateway, size_t fn)
{
	struct w_gateway *g = &w->gateways[gateway];
	struct told *told = gt_alloc(sizeof(*told));

	told->there = gt_control_route(w->c, w->fns[fn].name, &told->route, NULL) == 0;
	w_delay(w, &g->down_at_ns);
	struct w_event *e = w_at(w, g->down_at_ns, route_arrive);

	e->a = gateway;
	e->b = g->conn;
	e->c = fn;
	e->data = told;
	e->data_fini = told_fini;
}

void w_gateway_route(struct world *w, const char *function)
{
	size_t fn = (size_t)(w_fn_find(w, function) - w->fns);

	for (size_t i = 0; i < w->n_gateways; i++)
		if (w->gateways[i].conn)
			route_send(w, i, fn);
}

/* ---- connections ---- */
void w_gateway_connect(struct world *w, size_t gateway)
{
	struct w_gateway *g = &w->gateways[gateway];

	g->conn = ++w->conn_last;
	g->full_due = true;
	w_mix(w, "gateway connects", g->name, g->conn);
	for (size_t i = 0; i < w->n_fns; i++)
		route_send(w, gateway, i);
	gt_control_gateway_up(w->c, g->name);
	g->post_due = false;
	post_soon(w, gateway);
}

static void gateway_back(struct world *w, struct w_event *e)
{
	if (w->gateways[e->a].conn)
		return;
	if (!w->c) {
		w_at(w, w->now_ns + 100 * W_MS, gateway_back)->a = e->a;
		return;
	}
	w_gateway_connect(w, e->a);
}

void w_gateway_disconnect(struct world *w, size_t gateway, uint64_t back_ms)
{
	struct w_gateway *g = &w->gateways[gateway];

	if (!g->conn)
		return;
	w_mix(w, "gateway gone", g->name, back_ms);
	g->conn = 0;
	if (w->c)
		gt_control_gateway_down(w->c, g->name);
	w_at(w, w->now_ns + back_ms * W_MS, gateway_back)->a = gateway;
}

/* Its callers are cut off, and it knows no routes until it is connected again. */
void w_gateway_restart(struct world *w, size_t gateway)
{
	struct w_gateway *g = &w->gateways[gateway];

	w_gateway_disconnect(w, gateway, 50 + w_below(w, 2000));
	for (size_t i = 0; i < w->n_fns; i++) {
		struct w_queue *q = &g->queues[i];

		w->fns[i].lost += q->n_calls;
		gt_route_fini(&q->route);
		q->route = (struct gt_route){ 0 };
		q->routed = false;
		q->n_calls = 0;
		q->said_queued = q->said_in_flight = 0;
		q->fail_seq = 0;
		q->refuse_until_ns = 0;
	}
}

void w_gateway_free(struct w_gateway *g)
{
	for (size_t i = 0; i < W_FNS; i++)
		gt_route_fini(&g->queues[i].route);
}
