/* demand.c - tells control who waits and who is served: at once when somebody waits for a slot that
 * no replica asked for so far will have, otherwise collected for a moment. One post at a time; what
 * it misses comes next. */
#include "parts.h"
#include "routes.h"

#include <stdlib.h>
#include <utlist.h>

#define COLLECT_MS  100
#define REPEAT_MS   1000 /* while anything is going on: waits grow without an event */
#define FAILED_MS   200
#define POST_MAX_MS 5000
#define PART_MS     20 /* that of another shard was collected there */

static void post(void *arg);

static void schedule(struct gt_gateway *gw, uint64_t delay_ms)
{
	uint64_t due_ns = gt_gw_now(gw) + delay_ms * GT_NS_PER_MS;

	bool busy = gw->shard ? gw->demand.handed : !gw->http || gw->demand.post;

	if (busy || gw->freeing)
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
	if (gw->shard == 0)
		gt_parts_forget(gw, true);
	gt_demander_changed(gw, true);
}

void gt_demander_stop(struct gt_gateway *gw)
{
	gt_timer_clear(gw->loop, &gw->demand.timer);
	gt_http_cancel(gw->demand.post);
	gw->demand.post = NULL;
	if (gw->shard == 0)
		gt_parts_forget(gw, false);
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
		if (t->gone || !gt_target_drained(t))
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

/* After a post, or what was one to shard 0. */
static void go_on(struct gt_gateway *gw, bool ok)
{
	gw->demand.full |= !ok;
	gw->demand.dirty |= !ok;
	/* While the watch is down nobody listens; the next snapshot asks for everything. */
	if (!ok && gw->watch_up)
		schedule(gw, FAILED_MS);
	else if (ok && gw->demand.dirty)
		schedule(gw, gw->demand.urgent ? 0 : COLLECT_MS);
	else if (ok && going_on(gw))
		schedule(gw, REPEAT_MS);
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct gt_gateway *gw = arg;
	bool ok = status >= 200 && status < 300;

	(void)body;
	(void)len;
	gw->demand.post = NULL;
	if (!ok)
		gt_debug("gateway: demand was not taken (status %d): %s", status,
			 err ? err->text : "");
	gt_parts_done(gw, ok);
	go_on(gw, ok);
}

void gt_demander_told(struct gt_gateway *gw, enum gt_told how)
{
	gw->demand.handed = false;
	if (how == GT_TOLD_TOO_LATE)
		schedule(gw, gw->demand.urgent ? 0 : COLLECT_MS);
	else
		go_on(gw, how == GT_TOLD);
}

void gt_demander_has_part(struct gt_gateway *gw, bool urgent)
{
	gw->demand.dirty = true;
	gw->demand.urgent |= urgent;
	schedule(gw, urgent ? 0 : PART_MS);
}

/* What the message just built leaves to be said, and functions whose end it told. */
static void settle(struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;

	gw->demand.full = gw->demand.dirty = gw->demand.urgent = false;
	HASH_ITER (hh, gw->fns, rf, next) {
		gw->demand.dirty |= rf->fn.dirty;
		gt_routes_sweep(gw, &rf->fn);
	}
}

static void post_now(struct gt_gateway *gw)
{
	struct gt_demand d;
	struct gt_err err = { 0 };
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/demand",
					      gw->cfg.name);

	gt_demander_build(gw, gw->demand.full, &d);
	gt_parts_add(gw, &d);
	gt_demand_write(&d, &body);
	gt_demand_fini(&d);
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

static void post(void *arg)
{
	struct gt_gateway *gw = arg;

	if (!gw->synced || !gw->watch_up)
		return; /* the next snapshot starts it again */
	if (gw->shard) {
		gt_parts_send(gw);
		gw->demand.handed = true;
		settle(gw);
	} else if (!gw->demand.full || gt_parts_complete(gw)) { /* else the last part does */
		post_now(gw);
	}
}
