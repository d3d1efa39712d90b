/* gateway.c - routes come down, demand goes up, as src/gateway does: at once when somebody waits
 * for a slot that was not asked for yet, otherwise collected for a moment; one post at a time. */
#include "world_priv.h"

#include <stdlib.h>
#include <string.h>

#define COLLECT_NS (100 * W_MS)
#define REPEAT_NS  (1000 * W_MS) /* while a replica drains */

struct w_queue *gt_w_queue(struct gt_world *w, struct w_gateway *g, size_t fn)
{
	if (fn >= g->cap_queues) {
		size_t cap = GT_MAX(w->n_fns, 2 * g->cap_queues);

		g->queues = gt_grow(g->queues, cap, sizeof(struct w_queue *));
		memset(g->queues + g->cap_queues, 0,
		       (cap - g->cap_queues) * sizeof(struct w_queue *));
		g->cap_queues = cap;
	}
	if (!g->queues[fn]) {
		g->queues[fn] = gt_alloc(sizeof(struct w_queue));
		g->queues[fn]->gateway = g;
		g->queues[fn]->fn = fn;
	}
	return g->queues[fn];
}

/* ---- demand ---- */
static void demand_fini(void *demand)
{
	gt_demand_fini(demand);
}

static int demand_take(struct gt_control *c, const void *msg, struct gt_err *err)
{
	return gt_control_demand(c, msg, err);
}

static uint32_t need_of(const struct w_queue *q)
{
	uint32_t target = GT_MAX(q->target, 1U);

	return (q->n_waiting + q->n_running + target - 1) / target;
}

static void say(struct gt_world *w, struct w_queue *q, struct gt_demand *d)
{
	struct gt_demand_function *said = &d->functions[d->n_functions++];

	gt_strcopy(said->function, sizeof(said->function), w->fns[q->fn]->name);
	said->queued = q->n_waiting;
	/* Calls that came and went since the last time are told once, and taken back. */
	said->in_flight = GT_MAX(q->peak, q->n_running);
	q->dirty = q->peak > q->n_running;
	q->peak = q->n_running;
	q->told_need = need_of(q);
}

static void dirty_add(struct w_gateway *g, struct w_queue *q)
{
	q->dirty = true;
	if (g->n_dirty == g->cap_dirty) {
		g->cap_dirty = g->cap_dirty ? 2 * g->cap_dirty : 16;
		g->dirty = gt_grow(g->dirty, g->cap_dirty, sizeof(*g->dirty));
	}
	g->dirty[g->n_dirty++] = q->fn;
}

static void functions_fill(struct gt_world *w, struct w_gateway *g, struct gt_demand *d)
{
	size_t *list = g->dirty, n = g->n_dirty;

	d->functions = gt_alloc_array((d->full ? g->cap_queues : n) + 1, sizeof(*d->functions));
	g->dirty = NULL;
	g->n_dirty = g->cap_dirty = 0;
	if (d->full) {
		for (size_t i = 0; i < g->cap_queues; i++) {
			struct w_queue *q = g->queues[i];

			if (q && (q->dirty || q->n_waiting + q->n_running > 0))
				say(w, q, d);
		}
	} else {
		for (size_t i = 0; i < n; i++)
			say(w, g->queues[list[i]], d);
	}
	for (size_t i = 0; i < d->n_functions; i++) {
		struct w_queue *q = g->queues[gt_w_fn(w, d->functions[i].function)->index];

		if (q->dirty)
			dirty_add(g, q);
	}
	free(list);
}

static void drained_fill(struct w_gateway *g, struct gt_demand *d)
{
	struct w_slot *s;
	size_t cap = 0;

	DL_FOREACH2(g->draining, s, dnext)
	{
		if (s->in_flight > 0)
			continue;
		if (d->n_drained == cap) {
			cap = cap ? 2 * cap : 4;
			d->drained = gt_grow(d->drained, cap, sizeof(d->drained[0]));
		}
		gt_strcopy(d->drained[d->n_drained++], GT_REPLICA_ID_SIZE, s->id);
	}
}

static void post(struct gt_world *w, struct w_gateway *g)
{
	struct gt_demand *d = gt_alloc(sizeof(*d));

	gt_strcopy(d->gateway, sizeof(d->gateway), g->peer.name);
	d->full = g->peer.full;
	d->epoch = g->peer.epoch;
	g->peer.full = g->urgent = false;
	functions_fill(w, g, d);
	drained_fill(g, d);
	gt_w_peer_post(w, &g->peer, demand_take, d, demand_fini);
}

/* a: serial of the timer */
static void on_timer(struct gt_world *w, struct w_event *e)
{
	struct w_gateway *g = e->who;

	if (g->timer != e->a)
		return;
	g->timer = 0;
	if (g->peer.conn && g->peer.epoch && !g->peer.posting)
		post(w, g);
}

static void schedule(struct gt_world *w, struct w_gateway *g)
{
	uint64_t in_ns = g->urgent || g->peer.full ? 0 : g->n_dirty > 0 ? COLLECT_NS : REPEAT_NS;
	uint64_t due_ns = w->now_ns + in_ns;

	if (!g->peer.conn || !g->peer.epoch || g->peer.posting)
		return; /* when the post is answered, or the snapshot is here */
	if (g->timer && g->post_due_ns <= due_ns)
		return;
	struct w_event *e = gt_w_at(w, due_ns, on_timer);

	g->timer = e->a = ++w->serial;
	g->post_due_ns = due_ns;
	e->who = g;
}

void gt_w_gateway_post(struct gt_world *w, struct w_gateway *g)
{
	if (g->peer.full || g->n_dirty > 0 || g->draining)
		schedule(w, g);
}

void gt_w_gateway_changed(struct gt_world *w, struct w_queue *q)
{
	struct w_gateway *g = q->gateway;

	if (!q->dirty)
		dirty_add(g, q);
	g->urgent |= q->n_waiting > 0 && need_of(q) > q->told_need;
	schedule(w, g);
}

/* ---- routes ---- */
struct told {
	size_t fn;
	bool there;
	struct gt_route route;
};

static void told_fini(void *arg)
{
	gt_route_fini(&((struct told *)arg)->route);
}

static void slot_drain(struct w_gateway *g, struct w_slot *s, bool draining)
{
	if (s->draining == draining)
		return;
	s->draining = draining;
	if (draining)
		DL_APPEND2(g->draining, s, dprev, dnext);
	else
		DL_DELETE2(g->draining, s, dprev, dnext);
}

/* Not in the route any more. Its calls go on. */
static void slot_leave(struct w_queue *q, struct w_slot *s)
{
	slot_drain(q->gateway, s, false);
	s->gone = true;
	gt_w_slot_update(s);
	if (s->in_flight > 0)
		return;
	HASH_DEL(q->slots, s);
	free(s);
}

static void slots_take(struct gt_world *w, struct w_queue *q, const struct gt_route *route)
{
	uint64_t stamp = ++w->serial;
	struct w_slot *s, *s_next;

	for (size_t i = 0; i < route->n_replicas; i++) {
		const struct gt_route_replica *r = &route->replicas[i];

		HASH_FIND_STR(q->slots, r->id, s);
		if (!s) {
			s = gt_alloc(sizeof(*s));
			gt_strcopy(s->id, sizeof(s->id), r->id);
			s->queue = q;
			HASH_ADD_STR(q->slots, id, s);
		}
		s->listed = stamp;
		s->gone = s->dead = false;
		slot_drain(q->gateway, s, r->draining);
		gt_w_slot_update(s);
	}
	HASH_ITER (hh, q->slots, s, s_next)
		if (s->listed != stamp && !s->gone)
			slot_leave(q, s);
}

static void queue_fail(struct gt_world *w, struct w_queue *q, const struct gt_route *route)
{
	if (route->fail_seq == 0) {
		q->refuse_until_ns = 0;
		return;
	}
	q->refuse_until_ns = w->now_ns + route->retry_ms * W_MS;
	if (route->fail_seq > q->fail_seq && !q->slots)
		gt_w_calls_refuse(w, q);
	q->fail_seq = GT_MAX(q->fail_seq, route->fail_seq);
}

static void route_take(struct gt_world *w, struct w_gateway *g, const struct told *told)
{
	struct w_queue *q = gt_w_queue(w, g, told->fn);
	const struct gt_route *route = &told->route;

	q->routed = told->there;
	q->concurrency = route->concurrency;
	q->target = route->target;
	q->most = route->queue;
	q->wait_ns = route->wait_ms * W_MS;
	slots_take(w, q, route);
	if (!q->routed)
		gt_w_calls_refuse(w, q);
	queue_fail(w, q, route);
	gt_w_calls_dispatch(w, q);
	if (q->n_waiting + q->n_running > 0 || q->dirty || g->draining)
		gt_w_gateway_changed(w, q);
}

static void route_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_gateway *g = e->who;

	if (gt_w_peer_hears(&g->peer, e))
		route_take(w, g, e->data);
}

static void told_fill(struct gt_world *w, size_t fn, struct told *told)
{
	told->fn = fn;
	told->there = gt_control_route(w->c, w->fns[fn]->name, &told->route, NULL) == 0;
}

void gt_w_gateway_route(struct gt_world *w, const char *function)
{
	const struct w_fn *f = gt_w_fn(w, function);

	for (size_t i = 0; i < w->config.gateways; i++) {
		struct w_gateway *g = &w->gateways[i];

		if (!g->peer.heard)
			continue;
		struct w_event *e = gt_w_peer_tell(w, &g->peer, route_arrive);

		e->data = gt_alloc(sizeof(struct told));
		e->data_fini = told_fini;
		told_fill(w, f->index, e->data);
	}
}

/* ---- the snapshot ---- */
struct snapshot {
	uint64_t epoch;
	struct told *all;
	size_t n;
};

static void snapshot_fini(void *arg)
{
	struct snapshot *s = arg;

	for (size_t i = 0; i < s->n; i++)
		told_fini(&s->all[i]);
	free(s->all);
}

static void snapshot_arrive(struct gt_world *w, struct w_event *e)
{
	struct w_gateway *g = e->who;
	const struct snapshot *s = e->data;

	if (!gt_w_peer_hears(&g->peer, e))
		return;
	gt_w_rule_epoch(w, &g->peer, s->epoch);
	g->peer.epoch = s->epoch;
	g->peer.full = true;
	for (size_t i = 0; i < s->n; i++)
		route_take(w, g, &s->all[i]);
	gt_w_tasks_resync(w, g);
	schedule(w, g);
}

void gt_w_gateway_snapshot(struct gt_world *w, struct w_gateway *g)
{
	struct w_event *e = gt_w_peer_tell(w, &g->peer, snapshot_arrive);
	struct snapshot *s = gt_alloc(sizeof(*s));

	s->epoch = w->epoch;
	s->n = w->n_fns;
	s->all = gt_alloc_array(w->n_fns + 1, sizeof(*s->all));
	for (size_t i = 0; i < w->n_fns; i++)
		told_fill(w, i, &s->all[i]);
	e->data = s;
	e->data_fini = snapshot_fini;
	gt_w_tasks_snapshot(w, g);
}

/* ---- its end ---- */
static void queue_clear(struct gt_world *w, struct w_queue *q)
{
	struct w_slot *s, *s_next;

	while (q->waiting)
		gt_w_call_end(w, q->waiting, W_LOST);
	while (q->running)
		gt_w_call_end(w, q->running, W_LOST);
	HASH_ITER (hh, q->slots, s, s_next)
		slot_leave(q, s);
	q->routed = q->dirty = false;
	q->peak = q->told_need = 0;
	q->fail_seq = q->refuse_until_ns = 0;
}

static void gateway_clear(struct gt_world *w, struct w_gateway *g)
{
	for (size_t i = 0; i < g->cap_queues; i++)
		if (g->queues[i])
			queue_clear(w, g->queues[i]);
	gt_w_tasks_clear(w, g);
	g->n_dirty = 0;
	g->timer = 0;
	g->urgent = false;
}

/* Its callers are cut off, and it knows no routes until it is connected again. */
void gt_world_gateway_crash(struct gt_world *w, size_t gateway, uint64_t back_ms)
{
	gateway_clear(w, &w->gateways[gateway]);
	gt_w_peer_crash(w, &w->gateways[gateway].peer, back_ms, true);
}

void gt_w_gateway_fini(struct gt_world *w, struct w_gateway *g)
{
	gateway_clear(w, g);
	for (size_t i = 0; i < g->cap_queues; i++)
		free(g->queues[i]);
	free(g->queues);
	free(g->dirty);
	free(g->desk.told);
	free(g->desk.answered);
}
