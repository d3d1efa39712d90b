/* head.c - heads rewritten on their way to the replica and back. */
#include "calls.h"
#include "cluster.h"
#include "tls.h"

#include <string.h>

#include <gantry/base/units.h>

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
	const struct gt_h1 *req = &call->conn->x->req;

	rw->framing = req->framing;
	rw->length = req->length;
	/* The whole body is here already? */
	if (call->req_done && (call->way == GT_WAY_OPENAI || call->upq.buf.len)) {
		rw->framing = GT_H1_LENGTH;
		rw->length = call->upq.buf.len;
	}
	if (call->way >= GT_WAY_CONTROL)
		rw->connection = GT_H1_CLOSE;
	else if (req->websocket && (call->way == GT_WAY_FUNCTION || call->way == GT_WAY_LEADER))
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

/* The target below the function: "/f/name/rest" is "/rest" to it. `room` has a place for it when it
 * does not stand in the head as it is. */
static void cut_target(const struct gt_call *call, struct gt_buf *room, struct gt_h1_rewrite *rw)
{
	const char *rest = gt_call_function(call) + call->name_len;
	size_t len = call->conn->x->req.target.len - GT_PATH_NAME - call->name_len;

	if (len == 0) {
		rest = "/";
		len = 1;
	} else if (rest[0] != '/') {
		gt_buf_addc(room, '/');
		gt_buf_add(room, rest, len);
		rest = room->data;
		len = room->len;
	}
	rw->target = rest;
	rw->target_len = len;
}

static int write_up(struct gt_call *call, const struct gt_h1_rewrite *rw)
{
	const struct gt_h1 *req = &call->conn->x->req;
	gt_auto(buf) struct gt_buf head = { 0 };
	int r;

	if (!call->upq.buf.len) {
		gt_outq_clear(&call->upq);
		call->upq.keep = true;
		r = gt_h1_write_request(req, rw, gt_outq_buf(&call->upq));
		call->up_head = call->upq.buf.len;
		return r;
	}
	r = gt_h1_write_request(req, rw, &head);
	call->up_head = head.len;
	if (r == 0)
		r = add_collected(call, &head);
	if (r < 0)
		return r;
	gt_outq_clear(&call->upq);
	call->upq.keep = true;
	struct iovec part = { head.data, head.len };

	return gt_outq_add(&call->upq, &part, 1);
}

struct gt_client gt_client_of(const struct gt_call *call)
{
	const struct gt_conn *c = call->conn;
	const struct gt_cluster_peer *by = call->forwarded ? gt_cluster_peer(c) : NULL;

	if (by)
		return (struct gt_client){ .address = by->client, .tls = by->client_tls };
	return (struct gt_client){ .address = c->peer, .tls = c->tls };
}

#define SUBJECT_SIZE 1024

static const char *subject_of(const struct gt_call *call, char out[SUBJECT_SIZE])
{
	if (call->forwarded)
		return value_text(&call->conn->x->req, GT_H1_GANTRY_CLIENT_SUBJECT, out,
				  SUBJECT_SIZE);
	return gt_tls_subject(&call->conn->sock);
}

#define PEER_SIZE (sizeof("gateway/") + GT_PKI_NAME_SIZE)

/* What control may believe of who asks: "node/NAME", "gateway/NAME"; NULL: nothing. */
static const char *peer_text(const struct gt_conn *c, char out[PEER_SIZE])
{
	const struct gt_cluster_peer *who = gt_cluster_peer(c);

	if (who->kind != GT_CLUSTER_NODE && who->kind != GT_CLUSTER_GATEWAY)
		return NULL;
	stpcpy(stpcpy(out, who->kind == GT_CLUSTER_NODE ? "node/" : "gateway/"), who->id.name);
	return out;
}

static void agent_target(const struct gt_call *call, struct gt_h1_rewrite *rw)
{
	const struct gt_h1 *req = &call->conn->x->req;
	size_t rest = gt_cluster_path(call).rest;

	rw->target = gt_h1_text(req, req->target) + rest;
	rw->target_len = req->target.len - rest;
}

int gt_head_up(struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;
	gt_auto(buf) struct gt_buf room = { 0 };
	bool cluster = call->conn->cluster && !call->forwarded;
	char prefix[GT_NAME_MAX + 8] = "/f/", host[512], peer[PEER_SIZE];
	char subject[SUBJECT_SIZE];
	struct gt_client client = gt_client_of(call);

	if (call->way == GT_WAY_FUNCTION) {
		size_t len = GT_MIN(call->name_len, (size_t)GT_NAME_MAX);

		memcpy(prefix + GT_PATH_NAME, gt_call_function(call), len);
		prefix[GT_PATH_NAME + len] = '\0';
	}
	struct gt_h1_header extra[] = {
		gt_h1_header("X-Forwarded-For", client.address[0] ? client.address : NULL),
		gt_h1_header("X-Forwarded-Proto", client.tls ? "https" : "http"),
		gt_h1_header("X-Forwarded-Host", value_text(req, GT_H1_HOST, host, sizeof(host))),
		gt_h1_header("X-Forwarded-Prefix", call->way == GT_WAY_FUNCTION ? prefix : NULL),
		gt_h1_header("X-Request-Id", call->request_id),
		gt_h1_header("traceparent", call->trace.parent),
		gt_h1_header("Gantry-Client-Subject", subject_of(call, subject)),
		/* The last one: no call of a client has it. */
		gt_h1_header("Gantry-Peer", cluster ? peer_text(call->conn, peer) : NULL),
	};
	struct gt_h1_rewrite rw = {
		.drop_authorization = call->way != GT_WAY_CONTROL && call->authed,
		.drop_tracestate = !call->trace.state,
		.extra = extra,
		.n_extra = GT_LEN(extra) - !cluster,
	};

	if (call->way == GT_WAY_FUNCTION)
		cut_target(call, &room, &rw);
	else if (call->way == GT_WAY_AGENT)
		agent_target(call, &rw);
	frame_up(call, &rw);
	call->chunk_up = rw.framing == GT_H1_CHUNKED;
	return write_up(call, &rw);
}

/* How the client is told where the body ends. */
static void frame_down(struct gt_call *call, struct gt_h1_rewrite *rw)
{
	const struct gt_h1 *resp = &call->resp;
	struct gt_conn *c = call->conn;

	rw->framing = resp->framing;
	rw->length = resp->length;
	if (resp->framing == GT_H1_CHUNKED && c->x->req.minor == 0)
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

#define TIMING_SIZE (3 * (sizeof("queue;dur=.000, ") + GT_U64_SIZE))

static char *put_part(char *p, const char *name, uint64_t ns)
{
	uint64_t us = ns / GT_NS_PER_US;

	p = stpcpy(p, name);
	p = gt_put_u64(stpcpy(p, ";dur="), us / 1000);
	*p++ = '.';
	*p++ = (char)('0' + us / 100 % 10);
	*p++ = (char)('0' + us / 10 % 10);
	*p++ = (char)('0' + us % 10);
	return p;
}

/* In milliseconds. */
static void timing_text(const struct gt_call *call, uint64_t run_ns, char out[TIMING_SIZE])
{
	char *p = put_part(out, "queue", call->wait_ns - GT_MIN(call->start_ns, call->wait_ns));

	p = put_part(stpcpy(p, ", "), "start", call->start_ns);
	put_part(stpcpy(p, ", "), "run", run_ns)[0] = '\0';
}

int gt_head_down(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	char revision[GT_U64_SIZE + 1], timing[TIMING_SIZE];
	bool served = call->fn != NULL;
	struct gt_h1_rewrite rw = { 0 };

	frame_down(call, &rw);
	call->chunk_down = rw.framing == GT_H1_CHUNKED;
	*gt_put_u64(revision, call->revision) = '\0';
	timing_text(call, gt_gw_now(call->gw) - call->slot_ns, timing);
	struct gt_h1_header extra[] = {
		gt_h1_header("Gantry-Replica", served ? call->replica : NULL),
		gt_h1_header("Gantry-Revision", served ? revision : NULL),
		gt_h1_header("X-Request-Id", call->request_id),
		gt_h1_header("Gantry-Trace-Id", call->trace.id),
		gt_h1_header("Server-Timing", served ? timing : NULL),
		gt_h1_header("Connection", c->keep && c->x->req.minor == 0 ? "keep-alive" : NULL),
	};

	rw.extra = extra;
	rw.n_extra = GT_LEN(extra);
	if (call->way == GT_WAY_LEADER) { /* it has said all of it */
		rw.keep_ours = true;
		rw.extra = &extra[GT_LEN(extra) - 1];
		rw.n_extra = 1;
	}
	return gt_h1_write_response(&call->resp, &rw, gt_outq_buf(&c->x->out));
}

int gt_head_interim(struct gt_call *call)
{
	struct gt_h1_rewrite rw = { .framing = GT_H1_NO_BODY };

	return gt_h1_write_response(&call->resp, &rw, &call->conn->x->out.buf);
}
