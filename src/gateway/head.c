/* head.c - heads rewritten on their way to the replica and back. */
#include "calls.h"

#include <stdio.h>
#include <string.h>

/* A value of the request's head as a string. */
static const char *value_text(const struct gt_h1 *h, enum gt_h1_name name, char *out, size_t size)
{
	const struct gt_h1_field *f = gt_h1_find(h, name);

	if (!f || f->value.len >= size)
		return NULL;
	memcpy(out, gt_h1_text(h, f->value), f->value.len);
	out[f->value.len] = '\0';
	return out;
}

static void frame_up(const struct gt_call *call, struct gt_h1_rewrite *rw)
{
	const struct gt_h1 *req = &call->conn->req;

	rw->framing = req->framing;
	rw->length = req->length;
	if (call->way == GT_WAY_OPENAI && call->req_done) { /* the whole body is here already */
		rw->framing = GT_H1_LENGTH;
		rw->length = call->upq.buf.len;
	}
	if (call->way == GT_WAY_CONTROL)
		rw->connection = GT_H1_CLOSE;
	else if (req->websocket && call->way == GT_WAY_FUNCTION)
		rw->connection = GT_H1_SWITCH;
}

/* What came of the body before it was known where it goes. */
static int add_collected(const struct gt_call *call, struct gt_buf *head)
{
	const struct gt_buf *body = &call->upq.buf;
	char size[GT_H1_CHUNK_HEAD];

	if (!body->len)
		return 0;
	if (call->chunk_up)
		gt_buf_add(head, size, gt_h1_chunk_head(body->len, size));
	gt_buf_add(head, body->data, body->len);
	if (call->chunk_up)
		gt_buf_adds(head, "\r\n");
	return head->failed ? -ENOBUFS : 0;
}

int gt_head_up(struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->req;
	struct gt_path p = gt_path_read(req);
	const char *target = gt_h1_text(req, req->target);
	gt_auto(buf) struct gt_buf head = { 0 };
	gt_auto(buf) struct gt_buf cut = { 0 };
	char prefix[GT_NAME_MAX + 8] = "", host[512];
	struct gt_h1_header extra[] = {
		{ "X-Forwarded-For", call->conn->peer[0] ? call->conn->peer : NULL },
		{ "X-Forwarded-Proto", "http" },
		{ "X-Forwarded-Host", value_text(req, GT_H1_HOST, host, sizeof(host)) },
		{ "X-Forwarded-Prefix", call->way == GT_WAY_FUNCTION ? prefix : NULL },
		{ "X-Request-Id", call->request_id },
		{ "traceparent", call->trace.parent },
	};
	struct gt_h1_rewrite rw = {
		.drop_authorization = call->way != GT_WAY_CONTROL && call->authed,
		.drop_tracestate = !call->trace.state,
		.extra = extra,
		.n_extra = GT_LEN(extra),
	};

	if (call->way == GT_WAY_FUNCTION) {
		snprintf(prefix, sizeof(prefix), "/f/%.*s", (int)p.function_len, p.function);
		if (p.rest == req->target.len || target[p.rest] != '/')
			gt_buf_addc(&cut, '/');
		gt_buf_add(&cut, target + p.rest, req->target.len - p.rest);
		rw.target = cut.data;
		rw.target_len = cut.len;
	}
	frame_up(call, &rw);
	call->chunk_up = rw.framing == GT_H1_CHUNKED;
	int r = gt_h1_write_request(req, &rw, &head);

	if (r == 0)
		r = add_collected(call, &head);
	if (r < 0)
		return r;
	gt_outq_fini(&call->upq);
	call->upq.keep = true;
	struct iovec part = { head.data, head.len };

	return gt_outq_add(&call->upq, &part, 1);
}

/* How the client is told where the body ends. */
static void frame_down(struct gt_call *call, struct gt_h1_rewrite *rw)
{
	const struct gt_h1 *resp = &call->resp;
	struct gt_conn *c = call->conn;

	rw->framing = resp->framing;
	rw->length = resp->length;
	if (resp->framing == GT_H1_CHUNKED && c->req.minor == 0)
		rw->framing = GT_H1_UNTIL_CLOSE;
	/* To HEAD and 304 the length is told, though nothing follows. */
	if (resp->framing == GT_H1_NO_BODY && resp->has_length && resp->status >= 200 &&
	    resp->status != 204)
		rw->framing = GT_H1_LENGTH;
	/* A request that is still coming may never come to its end. */
	if (rw->framing == GT_H1_UNTIL_CLOSE || !call->req_done)
		c->keep = false;
	rw->connection = c->keep ? GT_H1_KEEP : GT_H1_CLOSE;
	if (resp->status == 101)
		rw->connection = GT_H1_SWITCH;
}

int gt_head_down(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	uint64_t run_ns = gt_gw_now(call->gw) - call->slot_ns;
	char revision[16], timing[128];
	bool served = call->fn != NULL;
	struct gt_h1_rewrite rw = { 0 };

	frame_down(call, &rw);
	call->chunk_down = rw.framing == GT_H1_CHUNKED;
	snprintf(revision, sizeof(revision), "%u", call->revision);
	snprintf(timing, sizeof(timing), "queue;dur=%.3f, start;dur=%.3f, run;dur=%.3f",
		 (double)(call->wait_ns - GT_MIN(call->start_ns, call->wait_ns)) / 1e6,
		 (double)call->start_ns / 1e6, (double)run_ns / 1e6);
	struct gt_h1_header extra[] = {
		{ "Gantry-Replica", served ? call->replica : NULL },
		{ "Gantry-Revision", served ? revision : NULL },
		{ "X-Request-Id", call->request_id },
		{ "Gantry-Trace-Id", call->trace.id },
		{ "Server-Timing", served ? timing : NULL },
		{ "Connection", c->keep && c->req.minor == 0 ? "keep-alive" : NULL },
	};

	rw.extra = extra;
	rw.n_extra = GT_LEN(extra);
	return gt_h1_write_response(&call->resp, &rw, &c->out.buf);
}

int gt_head_interim(struct gt_call *call)
{
	struct gt_h1_rewrite rw = { .framing = GT_H1_NO_BODY };

	return gt_h1_write_response(&call->resp, &rw, &call->conn->out.buf);
}
