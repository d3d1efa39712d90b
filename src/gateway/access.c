/* access.c - what the access log says of a request. */
#include "calls.h"

#include <string.h>

#include "access_log.h"

#define FLUSH_MS 100

static void on_flush(void *arg)
{
	struct gt_gateway *gw = arg;

	gt_access_log_flush(gw->access, gw->shard);
	uint64_t dropped = gt_access_log_dropped(gw->access, gw->shard);

	if (gw->stats.log_dropped != dropped) {
		gw->stats.log_dropped = dropped;
		gt_demander_counted(gw);
	}
}

static void add(struct gt_gateway *gw, const struct gt_access_facts *facts,
		const struct gt_access_text texts[GT_ACCESS_TEXTS])
{
	gt_access_log_add(gw->access, gw->shard, facts, texts);
	if (!gt_timer_is_set(&gw->access_timer))
		gt_timer_set(gw->loop, &gw->access_timer, FLUSH_MS, on_flush, gw);
}

static struct gt_access_text text(const char *s)
{
	return (struct gt_access_text){ s, s ? (uint16_t)strlen(s) : 0 };
}

static struct gt_access_text span(const struct gt_h1 *h, struct gt_h1_span s)
{
	return (struct gt_access_text){ gt_h1_text(h, s), s.len };
}

static struct gt_access_text path(const struct gt_h1 *req)
{
	struct gt_access_text t = span(req, req->target);
	const char *query = memchr(t.at, '?', t.len);

	if (query)
		t.len = (uint16_t)(query - t.at);
	return t;
}

void gt_access_call(const struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	const struct gt_conn *c = call->conn;

	if (!gw->access)
		return;
	uint64_t total_ns = gt_gw_now(gw) - call->begun_ns;
	bool tunnel = call->status == 101;
	const struct gt_access_facts facts = {
		.time_ms = gt_wall_ms(gt_loop_clock(gw->loop)) - total_ns / GT_NS_PER_MS,
		.wait_us = call->wait_ns / GT_NS_PER_US,
		.total_us = total_ns / GT_NS_PER_US,
		.bytes_in = call->body_bytes,
		.bytes_out = call->down_bytes,
		.token = call->way == GT_WAY_CONTROL ? gt_routes_caller(gw, &c->x->req)
						     : call->waiter.caller,
		.revision = call->revision,
		.status = (uint16_t)call->status,
		.cut = !call->status || (c->closed && !tunnel),
	};
	const struct gt_access_text texts[GT_ACCESS_TEXTS] = {
		[GT_ACCESS_FUNCTION] = text(call->fn ? call->fn->stats.function : NULL),
		[GT_ACCESS_METHOD] = span(&c->x->req, c->x->req.method),
		[GT_ACCESS_PATH] = path(&c->x->req),
		[GT_ACCESS_REFUSED] = text(call->refusal),
		[GT_ACCESS_REPLICA] = text(call->replica),
		[GT_ACCESS_REQUEST_ID] = text(call->request_id),
		[GT_ACCESS_TRACE_ID] = text(call->trace.id),
		[GT_ACCESS_PEER] = text(gt_client_of(call).address),
	};

	add(gw, &facts, texts);
}

void gt_access_no_call(const struct gt_conn *c, const char *slug, const char *request_id)
{
	struct gt_gateway *gw = c->gw;

	if (!gw->access)
		return;
	const struct gt_access_facts facts = {
		.time_ms = gt_wall_ms(gt_loop_clock(gw->loop)),
		.status = (uint16_t)gt_problem_kind(slug)->status,
	};
	const struct gt_access_text texts[GT_ACCESS_TEXTS] = {
		[GT_ACCESS_REFUSED] = text(slug),
		[GT_ACCESS_REQUEST_ID] = text(request_id),
		[GT_ACCESS_PEER] = text(c->peer),
	};

	add(gw, &facts, texts);
}
