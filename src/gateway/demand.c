/* demand.c - tells control who waits and who is served: at once when somebody waits for a slot that
 * no replica asked for so far will have, otherwise collected for a moment. One post at a time; what
 * it misses comes next. */
#include "gw.h"

#include <stdlib.h>
#include <utlist.h>

#define COLLECT_MS  100
#define REPEAT_MS   1000 /* while anything is going on: waits grow without an event */
#define FAILED_MS   200
#define POST_MAX_MS 5000

static void post(void *arg);

static void schedule(struct gt_gateway *gw, uint64_t delay_ms)
{
	uint64_t due_ns = gt_gw_now(gw) + delay_ms * GT_NS_PER_MS;

	if (!gw->http || gw->demand.post || gw->freeing)
		return; /* when the post is answered, what is new goes out */
	if (!gt_timer_is_set(&gw->demand.timer) || due_ns < gw->demand.timer.due_ns)
		gt_timer_set_at(gw->loop, &gw->demand.timer, due_ns, post, gw);
}

void gt_demander_changed(struct gt_gateway *gw, bool urgent)
{
	gw->demand.dirty = true;
	gw->demand.urgent |= urgent;
	schedule(gw, urgent ? 0 : COLLECT_MS);
}

void gt_demander_counted(struct gt_gateway *gw)
{
	gw->demand.dirty = true;
	schedule(gw, REPEAT_MS);
}

void gt_demander_resync(struct gt_gateway *gw)
{
	gw->demand.full = true;
	gt_demander_changed(gw, true);
}

void gt_demander_stop(struct gt_gateway *gw)
{
	gt_timer_clear(gw->loop, &gw->demand.timer);
	gt_http_cancel(gw->demand.post);
	gw->demand.post = NULL;
}

/* ---- the message ---- */

static void add_function(const struct gt_gateway *gw, const struct gt_fn *fn, struct gt_demand *d)
{
	struct gt_demand_function *f = &d->functions[d->n_functions++];

	*f = fn->stats;
	f->queued = fn->n_waiting;
	f->in_flight = GT_MAX(fn->peak, fn->in_flight);
	if (fn->waiters)
		f->oldest_wait_ms = (gt_gw_now(gw) - fn->waiters->since_ns) / GT_NS_PER_MS;
}

static size_t count_drained(const struct gt_fn *fn, struct gt_demand *d)
{
	const struct gt_target *t;
	size_t n = 0;

	DL_FOREACH (fn->targets, t) {
		if (!t->draining || t->gone || t->in_flight)
			continue;
		if (d->drained)
			gt_strcopy(d->drained[d->n_drained++], GT_REPLICA_ID_SIZE, t->id);
		n++;
	}
	return n;
}

void gt_demander_build(struct gt_gateway *gw, bool full, struct gt_demand *d)
{
	struct gt_route_fn *rf, *next;
	size_t drained = 0;

	gw->stats.connections = gw->n_conns;
	gw->stats.buffered_bytes = gw->buffered;
	*d = (struct gt_demand){ .full = full, .epoch = gw->epoch, .stats = gw->stats };
	gt_strcopy(d->gateway, sizeof(d->gateway), gw->cfg.name);
	HASH_ITER (hh, gw->fns, rf, next)
		drained += count_drained(&rf->fn, d);
	d->functions = gt_alloc_array(HASH_COUNT(gw->fns) + 1, sizeof(*d->functions));
	d->drained = gt_alloc_array(drained + 1, sizeof(*d->drained));
	HASH_ITER (hh, gw->fns, rf, next) {
		struct gt_fn *fn = &rf->fn;

		count_drained(fn, d);
		if (fn->dirty || fn->n_waiting || fn->in_flight || (full && fn->stats.calls))
			add_function(gw, fn, d);
		/* Calls that came and went since the last time are told once, and taken back. */
		fn->dirty = fn->peak > fn->in_flight;
		fn->peak = fn->in_flight;
		fn->told_need = gt_fn_need(fn);
	}
}

/* ---- posting ---- */

static bool going_on(const struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;

	HASH_ITER (hh, gw->fns, rf, next) {
		struct gt_demand none = { 0 };

		if (rf->fn.n_waiting || rf->fn.in_flight || count_drained(&rf->fn, &none))
			return true;
	}
	return false;
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct gt_gateway *gw = arg;
	bool ok = status >= 200 && status < 300;

	(void)body;
	(void)len;
	gw->demand.post = NULL;
	if (!ok) {
		gt_debug("gateway: demand was not taken (status %d): %s", status,
			 err ? err->text : "");
		gw->demand.full = true;
		gw->demand.dirty = true;
	}
	/* While the watch is down nobody listens; the next snapshot asks for everything. */
	if (!ok && gw->watch_up)
		schedule(gw, FAILED_MS);
	else if (ok && gw->demand.dirty)
		schedule(gw, gw->demand.urgent ? 0 : COLLECT_MS);
	else if (ok && going_on(gw))
		schedule(gw, REPEAT_MS);
}

/* What the message just built leaves to be said, and functions whose end it told. */
static void settle(struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;

	HASH_ITER (hh, gw->fns, rf, next) {
		gw->demand.dirty |= rf->fn.dirty;
		gt_routes_sweep(gw, &rf->fn);
	}
}

static void post(void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_demand d;
	struct gt_err err = { 0 };
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/demand",
					      gw->cfg.name);

	if (!gw->synced || !gw->watch_up)
		return; /* the next snapshot starts it again */
	gt_demander_build(gw, gw->demand.full, &d);
	gt_demand_write(&d, &body);
	gt_demand_fini(&d);
	gw->demand.full = gw->demand.dirty = gw->demand.urgent = false;
	settle(gw);
	struct gt_http_out out = {
		.method = "POST",
		.unix_path = gw->cfg.link_path,
		.url = url,
		.content_type = "application/json",
		.body = gt_buf_str(&body),
		.body_len = body.len,
		.timeout_ms = POST_MAX_MS,
		.on_done = on_done,
		.arg = gw,
	};

	if (gt_http_start(gw->http, &out, &gw->demand.post, &err) < 0) {
		gw->demand.post = NULL;
		on_done(0, NULL, 0, &err, gw);
	}
}
