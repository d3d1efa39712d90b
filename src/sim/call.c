/* call.c - one call from its arrival to its end: it waits in its function's queue, holds a slot of
 * a replica, and ends exactly once. */
#include "world_priv.h"

#include <stdlib.h>
#include <string.h>

#define CHOICE_MAX 16 /* free replicas looked at for the one with the fewest calls */

/* ---- slots ---- */
void gt_w_slot_update(struct w_slot *s)
{
	bool free = !s->draining && !s->gone && !s->dead && s->in_flight < s->queue->concurrency;

	if (free == s->free)
		return;
	s->free = free;
	if (free)
		DL_PREPEND(s->queue->free, s); /* the one used last is taken first */
	else
		DL_DELETE(s->queue->free, s);
}

static struct w_slot *slot_choose(const struct w_queue *q)
{
	struct w_slot *s, *best = q->free;
	int seen = 0;

	DL_FOREACH (q->free, s) {
		if (s->in_flight < best->in_flight)
			best = s;
		if (best->in_flight == 0 || ++seen == CHOICE_MAX)
			break;
	}
	return best;
}

/* ---- the end ---- */
static void leave_slot(struct gt_world *w, struct w_call *call)
{
	struct w_slot *s = call->slot;
	struct w_queue *q = call->queue;

	DL_DELETE(q->running, call);
	q->n_running--;
	DL_DELETE2(call->proc->calls, call, pprev, pnext);
	if (!call->proc->calls) {
		gt_w_meter(w);
		w->stats.busy--;
	}
	s->in_flight--;
	if (s->gone && s->in_flight == 0) {
		HASH_DEL(q->slots, s);
		free(s);
		return;
	}
	gt_w_slot_update(s);
}

static void count(struct gt_world_counts *c, enum w_call_end how, bool waited)
{
	c->served += how == W_SERVED;
	c->refused += how == W_REFUSED;
	c->lost += how == W_LOST;
	*(waited ? &c->waiting : &c->running) -= 1;
}

void gt_w_call_end(struct gt_world *w, struct w_call *call, enum w_call_end how)
{
	struct w_queue *q = call->queue;
	bool waited = !call->slot;

	if (call->serial == 0) {
		gt_w_break(w, "calls", "a call of %s ends twice", w->fns[q->fn]->name);
		return;
	}
	if (waited) {
		DL_DELETE(q->waiting, call);
		q->n_waiting--;
	} else {
		leave_slot(w, call);
	}
	count(&w->fns[q->fn]->counts, how, waited);
	count(&w->stats.calls, how, waited);
	if (gt_w_sabotaged(w, "a call ends twice"))
		count(&w->stats.calls, how, waited);
	call->serial = 0;
	call->slot = NULL;
	LL_PREPEND(w->free_calls, call);
	if (call->lease)
		gt_w_lease_end(w, gt_steal(&call->lease), (int)how);
}

void gt_w_calls_refuse(struct gt_world *w, struct w_queue *q)
{
	while (q->waiting)
		gt_w_call_end(w, q->waiting, W_REFUSED);
}

/* a: serial of the call */
static void call_done(struct gt_world *w, struct w_event *e);

void gt_w_calls_resume(struct gt_world *w, struct w_proc *p)
{
	struct w_call *call;

	DL_FOREACH2(p->calls, call, pnext)
	{
		if (call->service_ns != 0)
			continue;
		struct w_event *e = gt_w_at(w, w->now_ns, call_done);

		e->who = call;
		e->a = call->serial;
	}
}

void gt_w_calls_lose(struct gt_world *w, struct w_proc *p)
{
	while (p->calls) {
		struct w_queue *q = p->calls->queue;

		gt_w_call_end(w, p->calls, W_LOST);
		gt_w_gateway_changed(w, q);
	}
}

/* ---- serving ---- */
static void call_done(struct gt_world *w, struct w_event *e)
{
	struct w_call *call = e->who;

	if (call->serial != e->a)
		return; /* it ended with its process, or its gateway */
	if (!gt_w_proc_serves(call->proc)) {
		call->service_ns =
			0; /* it stands still with its process, and ends when that goes on */
		return;
	}
	struct w_queue *q = call->queue;

	gt_w_call_end(w, call, W_SERVED);
	gt_w_calls_dispatch(w, q);
	gt_w_gateway_changed(w, q);
}

/* Places get wider with the wait: W_WAIT_SUB for each doubling. */
static void wait_add(struct gt_world *w, uint64_t ns)
{
	uint64_t us = ns / GT_NS_PER_US;
	unsigned top = us < W_WAIT_SUB ? 0 : 63 - (unsigned)__builtin_clzll(us) - 6 + 1;
	size_t at = top == 0 ? us
			     : (size_t)top * W_WAIT_SUB + (size_t)((us >> (top - 1)) - W_WAIT_SUB);

	w->waits[at]++;
	w->n_waits++;
	w->stats.wait_sum_s += (double)ns / GT_NS_PER_S;
	w->stats.wait_max_ns = GT_MAX(w->stats.wait_max_ns, ns);
}

uint64_t gt_world_wait_ns(const struct gt_world *w, double quantile)
{
	uint64_t upto = (uint64_t)(quantile * (double)w->n_waits), seen = 0;

	for (size_t i = 0; i < W_WAIT_LIST && w->n_waits; i++) {
		seen += w->waits[i];
		if (seen < upto || seen == 0)
			continue;
		size_t top = i / W_WAIT_SUB;
		uint64_t us = top == 0 ? i : (W_WAIT_SUB + i % W_WAIT_SUB + 1) << (top - 1);

		return GT_MIN(us * GT_NS_PER_US, w->stats.wait_max_ns);
	}
	return 0;
}

static void call_start(struct gt_world *w, struct w_call *call, struct w_slot *s, struct w_proc *p)
{
	struct w_queue *q = call->queue;
	struct w_fn *f = w->fns[q->fn];

	DL_DELETE(q->waiting, call);
	q->n_waiting--;
	DL_APPEND(q->running, call);
	q->n_running++;
	q->peak = GT_MAX(q->peak, q->n_running);
	if (!p->calls) {
		gt_w_meter(w);
		w->stats.busy++;
	}
	DL_APPEND2(p->calls, call, pprev, pnext);
	call->slot = s;
	call->proc = p;
	s->in_flight++;
	gt_w_slot_update(s);
	f->counts.waiting--;
	f->counts.running++;
	w->stats.calls.waiting--;
	w->stats.calls.running++;
	w->stats.cold += p->ready_ns > call->arrived_ns;
	wait_add(w, w->now_ns - call->arrived_ns);
	struct w_event *e = gt_w_at(w, w->now_ns + call->service_ns, call_done);

	e->who = call;
	e->a = call->serial;
}

/* A free slot takes the head of the queue. One whose process is gone is not tried again before the
 * next route. */
void gt_w_calls_dispatch(struct gt_world *w, struct w_queue *q)
{
	while (q->waiting && q->free && !gt_w_sabotaged(w, "free slots are not seen")) {
		struct w_slot *s = slot_choose(q);
		struct w_proc *p = gt_w_proc_find(w, s->id);

		if (gt_w_proc_serves(p)) {
			call_start(w, q->waiting, s, p);
		} else {
			s->dead = true;
			gt_w_slot_update(s);
		}
	}
}

/* ---- arrival ---- */
static void expire(struct gt_world *w, struct w_event *e)
{
	struct w_queue *q = e->who;

	q->expiring = false;
	while (q->waiting && w->now_ns - q->waiting->arrived_ns >= q->wait_ns)
		gt_w_call_end(w, q->waiting, W_REFUSED);
	gt_w_gateway_changed(w, q);
	if (!q->waiting)
		return;
	q->expiring = true;
	gt_w_at(w, q->waiting->arrived_ns + q->wait_ns, expire)->who = q;
}

static struct w_call *call_new(struct gt_world *w, struct w_queue *q, uint64_t service_ns)
{
	struct w_call *call = w->free_calls;

	if (call)
		LL_DELETE(w->free_calls, call);
	else
		call = gt_alloc(sizeof(*call));
	*call = (struct w_call){
		.serial = ++w->serial, .arrived_ns = w->now_ns, .service_ns = service_ns, .queue = q
	};
	return call;
}

static bool may_enter(const struct gt_world *w, const struct w_queue *q)
{
	return q->routed && w->now_ns >= q->refuse_until_ns && q->n_waiting < q->most &&
	       w->now_ns >= q->gateway->peer.back_ns;
}

static void enter(struct gt_world *w, struct w_queue *q, uint64_t service_ns, struct w_lease *lease)
{
	struct w_fn *f = w->fns[q->fn];
	struct w_call *call = call_new(w, q, service_ns);

	call->lease = lease;
	DL_APPEND(q->waiting, call);
	q->n_waiting++;
	f->counts.accepted++;
	f->counts.waiting++;
	w->stats.calls.accepted += !gt_w_sabotaged(w, "a call is never counted");
	w->stats.calls.waiting++;
	gt_w_calls_dispatch(w, q);
	gt_w_gateway_changed(w, q);
	if (!q->waiting || q->expiring)
		return;
	q->expiring = true;
	gt_w_at(w, q->waiting->arrived_ns + q->wait_ns, expire)->who = q;
}

void gt_w_call_lease(struct gt_world *w, struct w_lease *l, uint64_t service_ns)
{
	struct w_queue *q = gt_w_queue(w, l->gateway, l->fn);

	if (may_enter(w, q))
		enter(w, q, service_ns, l);
	else
		gt_w_lease_end(w, l, W_REFUSED);
}

void gt_world_call(struct gt_world *w, size_t fn, uint64_t service_ns)
{
	struct w_gateway *g = &w->gateways[gt_w_below(w, w->config.gateways)];
	struct w_queue *q = gt_w_queue(w, g, fn);
	struct w_fn *f = w->fns[fn];

	if (may_enter(w, q)) {
		enter(w, q, service_ns, NULL);
		return;
	}
	f->counts.refused++;
	f->counts.turned_away++;
	w->stats.calls.refused++;
	w->stats.calls.turned_away++;
}

/* a: function, b: serial of the load */
static void arrival(struct gt_world *w, struct w_event *e)
{
	struct w_fn *f = w->fns[e->a];

	if (e->b != f->load_serial || f->every_ms == 0)
		return;
	uint64_t service_ms = f->steady ? f->service_ms : 1 + gt_w_below(w, 2ULL * f->service_ms);

	gt_world_call(w, f->index, service_ms * W_MS);
	uint64_t next_us = f->steady ? f->every_ms * 1000ULL
				     : 1 + gt_w_below(w, 2000ULL * f->every_ms);
	struct w_event *next = gt_w_at(w, w->now_ns + next_us * GT_NS_PER_US, arrival);

	next->a = f->index;
	next->b = f->load_serial;
}

void gt_world_callers(struct gt_world *w, size_t fn, uint32_t every_ms, uint32_t service_ms,
		      bool steady)
{
	struct w_fn *f = w->fns[fn];

	f->every_ms = every_ms;
	f->service_ms = service_ms;
	f->steady = steady;
	f->load_serial = ++w->serial;
	if (every_ms == 0)
		return;
	struct w_event *e = gt_w_at(w, w->now_ns, arrival);

	e->a = fn;
	e->b = f->load_serial;
}
