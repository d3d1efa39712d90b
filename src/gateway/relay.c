/* relay.c - a call and its upstream connection: getting one, the two directions, what happens when
 * it breaks. */
#include "calls.h"
#include "leader.h"
#include "nodes.h"
#include "splice.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SENT_AT_ONCE ((uint64_t)16 * GT_KIB) /* fits the window of a connection that is new */
#define PAUSE_MS     20                      /* between tries to reach a replica or control */
#define REPLAY_MAX   (128 * GT_KIB)
#define INTERIMS_MAX 16

static void refuse(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	if (!strcmp(slug, "unavailable") || !strcmp(slug, "node_unreachable"))
		why.retry_after_s = 1;
	gt_call_refuse(call, &why);
}

/* `what` happened to control, the node that was asked for, or the one of the replica. */
static void refuse_away(struct gt_call *call, const char *what)
{
	char detail[160 + GT_PKI_NAME_SIZE];

	if (call->way == GT_WAY_AGENT) {
		struct gt_cluster_path path = gt_cluster_path(call);

		snprintf(detail, sizeof(detail), "node %.*s %s", (int)path.node_len, path.node,
			 what);
		refuse(call, "node_unreachable", detail);
		return;
	}
	if (call->way == GT_WAY_LEADER)
		snprintf(detail, sizeof(detail), "the gateway of node %s, which leads, %s",
			 call->gw->leader.node, what);
	else if (!call->fn)
		snprintf(detail, sizeof(detail), "control %s", what);
	else if (call->target && call->target->node[0])
		snprintf(detail, sizeof(detail), "the agent of node %s %s", call->target->node,
			 what);
	else
		snprintf(detail, sizeof(detail), "the node's agent %s", what);
	refuse(call, "unavailable", detail);
}

void gt_relay_cut(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	struct gt_sock *sock = &c->sock;

	/* What came before the break and waits for the end of the round, as far as the client takes
	 * it. */
	if (gt_outq_unsent(&c->x->out))
		(void)!gt_sock_send(sock, &c->x->out, NULL, 0);
	/* Where only the end of the connection ends the body, a plain close would look complete. */
	if (!call->chunk_down && call->resp.framing != GT_H1_LENGTH)
		sock->ops->reset(sock);
	call->status = 0;
	gt_conn_close(c);
}

/* ---- getting a connection ---- */

/* Not reachable right now: again a little later, for a while. */
static void pause_call(struct gt_call *call, int error)
{
	uint64_t now_ns = gt_gw_now(call->gw);
	char what[100];

	if (!call->retry_until_ns)
		call->retry_until_ns = now_ns + (call->way == GT_WAY_LEADER ? GT_GW_LEADER_MS
									    : GT_GW_REACH_MS) *
							GT_NS_PER_MS;
	if (now_ns >= call->retry_until_ns) {
		snprintf(what, sizeof(what), "could not be reached: %s", strerror(error));
		refuse_away(call, what);
		return;
	}
	call->state = GT_CALL_PAUSED;
	call->retry_at_ns = now_ns + PAUSE_MS * GT_NS_PER_MS;
	gt_call_arm(call);
}

/* Back to the head of the queue: the same or another replica takes it. */
static void requeue(struct gt_call *call)
{
	if (call->fn->gone) {
		refuse(call, "function_not_found",
		       "the function was deleted while the call waited");
		return;
	}
	gt_strcopy(call->waiter.avoid, sizeof(call->waiter.avoid), call->replica);
	call->state = GT_CALL_QUEUED;
	call->upq.sent = 0;
	gt_h1_reset(&call->resp);
	if (gt_follows(call->gw)) {
		gt_call_give_away(call);
		return;
	}
	gt_fn_rejoin(call->fn, &call->waiter, gt_gw_now(call->gw));
	gt_call_arm(call);
	gt_call_free_slot(call); /* pumps the queue */
	gt_routes_pump(call->gw, call->fn);
}

void gt_relay_retry(struct gt_call *call)
{
	bool ours = call->way == GT_WAY_CONTROL, theirs = call->way == GT_WAY_LEADER;

	if (call->fn)
		requeue(call);
	else if (gt_follows(call->gw) ? ours : theirs) /* no more: who leads has changed */
		gt_call_reroute(call);
	else
		gt_relay_connect(call);
}

static void connect_control(struct gt_call *call)
{
	const struct gt_gateway_config *cfg = &call->gw->cfg;
	bool link = call->way == GT_WAY_LINK;
	int fd = call->gw->port->connect(link ? cfg->link_path : cfg->api_path, SOCK_STREAM);
	struct gt_up *up = fd < 0 ? NULL : gt_up_open(call->gw, fd, NULL);

	call->slot_ns = gt_gw_now(call->gw);
	if (up)
		gt_relay_attach(call, up);
	else
		pause_call(call, fd < 0 ? -fd : ENOMEM);
}

static void ask_agent(struct gt_call *call)
{
	struct gt_cluster_path path = gt_cluster_path(call);

	call->slot_ns = gt_gw_now(call->gw);
	call->state = GT_CALL_DIALING;
	gt_node_ask(call, path.node, path.node_len);
}

void gt_relay_connect(struct gt_call *call)
{
	struct gt_target *t = call->target;
	struct gt_up *up;

	if (!call->fn) {
		if (call->way == GT_WAY_AGENT)
			ask_agent(call);
		else if (call->way == GT_WAY_LEADER)
			gt_forward_connect(call);
		else
			connect_control(call);
		return;
	}
	up = gt_pool_take(&t->idle, gt_call_idempotent(call), gt_gw_now(call->gw));
	if (up) {
		gt_relay_attach(call, up);
		return;
	}
	call->state = GT_CALL_DIALING;
	gt_call_arm(call);
	if (t->node[0] && strcmp(t->node, call->gw->cfg.node) != 0)
		gt_node_ask(call, t->node, strlen(t->node));
	else
		gt_dialer_ask(call, call->replica);
}

/* Its program may read at its leisure, or speak and listen for long. */
static bool may_stall(const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;

	return req->framing == GT_H1_CHUNKED || req->websocket ||
	       (req->framing == GT_H1_LENGTH && req->length > SENT_AT_ONCE);
}

void gt_relay_attach(struct gt_call *call, struct gt_up *up)
{
	if (up->sock.layer) /* to another host */
		call->gw->port->patience(up->sock.fd, may_stall(call));
	call->up = up;
	up->call = call;
	call->state = GT_CALL_SENT;
	gt_call_arm(call);
	gt_conn_kick(call->conn);
}

void gt_relay_no_broker(struct gt_call *call, int error)
{
	pause_call(call, error);
}

/* Nothing was sent: another replica may have it at once, or this one when it has rested. */
void gt_relay_dial_failed(struct gt_call *call, int error)
{
	char detail[160];

	if (!call->fn) {
		snprintf(detail, sizeof(detail), "has no agent: %s", strerror(error));
		refuse_away(call, detail);
		return;
	}
	gt_routes_failed(call->gw, call->target);
	if (gt_call_may_retry(call)) {
		requeue(call);
		return;
	}
	snprintf(detail, sizeof(detail), "replica %s could not be reached: %s", call->replica,
		 strerror(error));
	refuse(call, "replica_lost", detail);
}

/* Nothing was sent. Where another replica serves it may be on a node that is there. */
void gt_relay_unreached(struct gt_call *call, int error)
{
	char what[100];

	if (call->fn) {
		gt_routes_failed(call->gw, call->target);
		if (call->fn->n_ready > 1 && gt_call_may_retry(call)) {
			requeue(call);
			return;
		}
	}
	snprintf(what, sizeof(what), "could not be reached within %d s: %s", GT_GW_REACH_MS / 1000,
		 strerror(error));
	refuse_away(call, what);
}

/* ---- when it breaks ---- */

static bool nothing_sent(const struct gt_call *call)
{
	return call->upq.keep && call->upq.sent == 0;
}

/* A server that closes an idle connection may cross with our next request. Then it never took the
 * bytes (not acknowledged), or threw them away unread (reset). An orderly end after it took all of
 * them means that the replica died of or during the call: sending it again could kill the next.
 * Between hosts it is the acknowledgement that may be lost, and not the bytes. */
static bool crossed(const struct gt_call *call, int error)
{
	struct gt_sock *sock = &call->up->sock;

	if (!call->up->pipe && !sock->ops->delivered(sock))
		return true;
	return error && gt_call_idempotent(call);
}

static void lost(struct gt_call *call, int error)
{
	struct gt_up *up = call->up;
	bool reused = up->reused, unsent = nothing_sent(call);
	bool silent = !gt_h1_started(&call->resp) && !call->interims;
	/* A replica that ends of a call may end of it again, unless the function says otherwise. */
	bool declared = call->fn ? call->fn->route.idempotent
				 : gt_h1_idempotent(&call->conn->x->req);
	bool dropped = !unsent && !(reused && crossed(call, error));
	bool again = silent && call->upq.keep && (!dropped || declared);
	char detail[160];

	call->up = NULL;
	up->call = NULL;
	gt_up_close(up);
	if (call->target && dropped)
		gt_routes_failed(call->gw, call->target);
	if (call->state >= GT_CALL_STREAM) {
		refuse(call, "replica_lost", "the replica closed the connection inside its answer");
	} else if (!call->fn) {
		call->upq.sent = again ? 0 : call->upq.sent;
		if (again)
			pause_call(call, error ? error : ECONNRESET);
		else
			refuse_away(call, "went away while it served the request");
	} else if (again && unsent && !reused) {
		gt_relay_dial_failed(call, error ? error : ECONNRESET);
	} else if (again && gt_call_may_retry(call)) {
		requeue(call);
	} else {
		snprintf(detail, sizeof(detail), "replica %s closed the connection %s (%s)",
			 call->replica, silent ? "without an answer" : "inside the answer's head",
			 error ? strerror(error) : "end of stream");
		refuse(call, "replica_lost", detail);
	}
}

void gt_relay_broken(struct gt_call *call, int error)
{
	lost(call, error);
}

/* ---- to the replica ---- */

static void tunnel_ends(struct gt_call *call)
{
	struct gt_sock *up = &call->up->sock, *client = &call->conn->sock;

	if (call->tunnel_up_eof && !gt_outq_unsent(&call->upq) && !call->tunnel_up_shut) {
		call->tunnel_up_shut = true;
		up->ops->shut(up);
	}
	if (call->tunnel_down_eof && !gt_outq_unsent(&call->conn->x->out) &&
	    !call->tunnel_down_shut) {
		call->tunnel_down_shut = true;
		client->ops->shut(client);
	}
	/* What a failed replica said before is passed on first. */
	if (call->tunnel_down_shut && (call->tunnel_up_shut || up->failed))
		gt_conn_close(call->conn);
}

bool gt_relay_flush(struct gt_call *call)
{
	struct gt_up *up = call->up;
	size_t before = gt_outq_unsent(&call->upq);

	if (!up)
		return false;
	if (call->upq.keep && call->upq.buf.len > REPLAY_MAX + call->collected)
		gt_outq_forget(&call->upq); /* too much to keep for a second try */
	int r = before ? gt_sock_send(&up->sock, &call->upq, NULL, 0) : 0;
	bool moved = r == 0 && gt_outq_unsent(&call->upq) < before;

	if (r < 0 && nothing_sent(call)) {
		lost(call, -r);
		return false;
	}
	if (r < 0 && call->state == GT_CALL_TUNNEL) {
		gt_outq_clear(&call->upq);
		up->sock.failed = up->sock.can_read = true;
		moved = !call->tunnel_down_eof;
	} else if (r < 0) {
		/* It may have answered before it closed: the body is dropped, the answer read. */
		call->refused = true;
		gt_outq_clear(&call->upq);
		up->sock.can_read = moved = true;
	}
	if (moved)
		call->moved_ns = gt_gw_now(call->gw);
	if (call->state == GT_CALL_TUNNEL)
		tunnel_ends(call);
	return moved;
}

/* ---- from the replica ---- */

static void bad_answer(struct gt_call *call, const char *why)
{
	char detail[200];

	snprintf(detail, sizeof(detail), "%s %s sent no valid HTTP: %s",
		 call->fn                     ? "replica"
		 : call->way == GT_WAY_AGENT  ? "the agent"
		 : call->way == GT_WAY_LEADER ? "the gateway that leads"
					      : "control",
		 call->replica, why);
	refuse(call, "bad_gateway", detail);
}

/* The answer is complete; `clean` = the connection may serve another call. */
static void complete(struct gt_call *call, bool clean)
{
	struct gt_conn *c = call->conn;
	struct gt_up *up = call->up;
	struct iovec last = { (char *)"0\r\n\r\n", 5 };

	if ((call->sse && gt_sse_end(call) < 0) ||
	    (call->chunk_down && gt_outq_add(&c->x->out, &last, 1) < 0)) {
		gt_relay_cut(call);
		return;
	}
	call->up = NULL;
	up->call = NULL;
	clean = clean && call->resp.keep_alive && call->req_done && !call->refused &&
		!gt_outq_unsent(&call->upq) && !up->sock.hup;
	c->keep = c->keep && call->req_done;
	if (clean && call->target && !call->target->gone && !call->target->draining)
		gt_up_park(up);
	else if (clean && up->forward && gt_follows(call->gw))
		gt_forward_park(up);
	else
		gt_up_close(up);
	gt_call_finish(call);
}

/* It may stay for hours: nothing is kept that only heads need. */
static void settle(struct gt_call *call)
{
	gt_h1_forget_head(&call->resp);
	if (call->fn)
		gt_h1_keep_line(&call->conn->x->req);
}

/* What follows a 101 is not HTTP. */
static int start_tunnel(struct gt_call *call)
{
	call->state = GT_CALL_TUNNEL;
	call->conn->keep = false;
	gt_outq_forget(&call->upq);
	gt_call_arm(call);
	int r = gt_head_down(call);

	settle(call);
	return r;
}

/* To the client. 0 or -errno. */
static int pass_head(struct gt_call *call)
{
	const struct gt_h1 *resp = &call->resp;
	int r;

	call->status = resp->status;
	call->state = GT_CALL_STREAM;
	gt_call_answered(call);
	gt_call_arm(call);
	r = gt_sse_head(call) ? 0 : gt_head_down(call);
	if (resp->framing != GT_H1_LENGTH && resp->framing != GT_H1_NO_BODY)
		settle(call);
	return r;
}

/* 0; 1 = the message was refused and the call is over, or it waits; -errno. */
static int on_head(struct gt_call *call)
{
	const struct gt_h1 *resp = &call->resp;
	const struct gt_h1 *req = &call->conn->x->req;
	bool wanted = resp->status != 100 || (req->expect_continue && !call->continued);

	if (resp->status == 101) {
		if (resp->websocket && req->websocket &&
		    (call->way == GT_WAY_FUNCTION || call->way == GT_WAY_LEADER)) {
			call->status = 101;
			gt_call_answered(call);
			return start_tunnel(call);
		}
		bad_answer(call, "it switches protocols without being asked");
		return 1;
	}
	if (resp->status < 200) {
		if (++call->interims > INTERIMS_MAX) {
			bad_answer(call, "too many interim answers");
			return 1;
		}
		return wanted && req->minor == 1 && !call->sse ? gt_head_interim(call) : 0;
	}
	if (gt_forward_in_vain(call) || gt_fence_holds(call))
		return 1;
	return pass_head(call);
}

int gt_relay_down(struct gt_call *call, const char *data, size_t len)
{
	struct gt_conn *c = call->conn;
	char size[GT_H1_CHUNK_HEAD];
	struct iovec parts[3] = { { 0 }, { (char *)data, len }, { 0 } };

	if (call->chunk_down) {
		parts[0] = (struct iovec){ size, gt_h1_chunk_head(len, size) };
		parts[2] = (struct iovec){ (char *)"\r\n", 2 };
	}
	call->down_bytes += len;
	c->x->progress_ns = gt_outq_unsent(&c->x->out) ? c->x->progress_ns : gt_gw_now(call->gw);
	if (len + gt_outq_unsent(&c->x->out) <= GT_GW_LATER)
		return gt_outq_add(&c->x->out, parts, 3);
	return gt_sock_send(&c->sock, &c->x->out, parts, 3);
}

/* One event of the reader. 0 = go on; 1 = the call is over or changed hands; -errno. */
static int on_event(struct gt_call *call, enum gt_h1_event ev, const struct gt_h1_body *body,
		    size_t left)
{
	switch (ev) {
	case GT_H1_HEAD:
		return on_head(call);
	case GT_H1_DATA:
		return call->sse ? gt_sse_down(call, body->data, body->len)
				 : gt_relay_down(call, body->data, body->len);
	case GT_H1_BAD:
		bad_answer(call, call->resp.why);
		return 1;
	default: /* GT_H1_END */
		if (call->resp.status < 200) {
			gt_h1_reset(&call->resp);
			return 0;
		}
		complete(call, left == 0);
		return 1;
	}
}

/* r: of what came before. */
static void pass(struct gt_call *call, const char *data, size_t len, int r)
{
	struct gt_conn *c = call->conn;
	size_t at = 0;

	while (r == 0 && call->state != GT_CALL_TUNNEL) {
		struct gt_h1_body body;
		size_t used;
		enum gt_h1_event ev = gt_h1_feed(&call->resp, data + at, len - at, &used, &body);

		at += used;
		if (ev == GT_H1_MORE)
			return;
		r = on_event(call, ev, &body, len - at);
	}
	if (r == 0 && at < len) {
		struct iovec part = { (char *)data + at, len - at };

		call->down_bytes += len - at;
		r = gt_sock_send(&c->sock, &c->x->out, &part, 1);
	}
	if (call->fenced)
		r = gt_buf_add(&call->fenced->rest, data + at, len - at);
	if (r < 0)
		gt_relay_cut(call);
}

static void take(struct gt_call *call, const char *data, size_t len)
{
	/* It answers: no second try any more, but where the leader is another one by now. */
	if (call->upq.keep && call->way != GT_WAY_LEADER)
		gt_outq_forget(&call->upq);
	pass(call, data, len, 0);
}

/* The answer has waited for long enough. */
static void go_on(struct gt_call *call)
{
	gt_auto(buf) struct gt_buf rest = call->fenced->rest;

	call->fenced->rest = (struct gt_buf){ 0 };
	gt_fence_free(call);
	pass(call, gt_buf_str(&rest), rest.len, pass_head(call));
}

static void upstream_ended(struct gt_call *call, int error)
{
	if (call->state == GT_CALL_TUNNEL && !error) {
		call->tunnel_down_eof = true;
		return;
	}
	if (!error && call->state == GT_CALL_STREAM && gt_h1_eof(&call->resp) == GT_H1_END)
		complete(call, false);
	else
		lost(call, error);
}

static bool spliced(struct gt_call *call)
{
	bool tunnel = call->state == GT_CALL_TUNNEL;
	int error = 0;
	enum gt_spliced r = gt_splice_down(call, &error);

	if (r == GT_SPLICED_LEFT) {
		gt_conn_close(call->conn);
		return false;
	}
	/* A quiet tunnel keeps no pipe. */
	if (r == GT_SPLICED_ALL || r == GT_SPLICED_END ||
	    (tunnel && r == GT_SPLICED_NOTHING && !gt_splice_unsent(call))) {
		gt_splice_end(call);
		call->bulk = false;
	}
	if (r == GT_SPLICED_ALL) /* what came behind the body was not seen */
		complete(call,
			 !call->up->sock.can_read || call->up->sock.ops->silent(&call->up->sock));
	else if (r == GT_SPLICED_END)
		upstream_ended(call, error);
	return r != GT_SPLICED_NOTHING;
}

bool gt_relay_read(struct gt_call *call)
{
	if (call->fenced) {
		bool over = call->fenced->over;

		if (over)
			go_on(call);
		return over;
	}
	if (!call->pipe && !call->up->sock.can_read)
		return false;
	size_t unsent = gt_outq_unsent(&call->conn->x->out);
	size_t room = unsent < GT_GW_BUFFER ? GT_GW_BUFFER - unsent : 0;

	if (!room || call->tunnel_down_eof)
		return false;
	if (call->pipe || gt_splice_begin(call))
		return spliced(call);
	ssize_t n = gt_sock_read(&call->up->sock, call->gw->scratch,
				 GT_MIN(room, sizeof(call->gw->scratch)));

	if (n == -EAGAIN)
		return false;
	call->moved_ns = gt_gw_now(call->gw);
	if (n <= 0)
		upstream_ended(call, (int)-n);
	else
		take(call, call->gw->scratch, (size_t)n);
	call->bulk = n == (ssize_t)sizeof(call->gw->scratch);
	return true;
}
