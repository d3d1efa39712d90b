/* call.c - one request: who may make it, which function it is for, its place in the queue, its end.
 */
#include "calls.h"
#include "cluster.h"
#include "handover.h"
#include "leader.h"
#include "nodes.h"
#include "splice.h"
#include "tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/units.h>

#define UPQ_MAX      (GT_CALL_COLLECT_MAX + 256 * GT_KIB)
#define DEADLINE_MAX (24 * 3600)

/* ---- the end ---- */

void gt_call_free_slot(struct gt_call *call)
{
	struct gt_target *t = call->target;
	struct gt_fn *fn = call->fn;

	if (!t)
		return;
	call->target = NULL;
	uint64_t now_ns = gt_gw_now(call->gw);
	unsigned found = gt_fn_release(fn, t, now_ns - call->slot_ns, now_ns);

	gt_demander_changed(call->gw, (found & GT_FN_DRAINED) != 0);
	if (found & GT_FN_FREED)
		gt_routes_pump(call->gw, fn);
	else
		gt_handover_settle(call->gw, fn);
}

/* ---- second tries ---- */

bool gt_call_idempotent(const struct gt_call *call)
{
	return gt_h1_idempotent(&call->conn->x->req) || (call->fn && call->fn->route.idempotent);
}

bool gt_call_may_retry(struct gt_call *call)
{
	if (call->retries == GT_GW_RETRIES)
		return false;
	if (!call->retrying && !gt_fn_retry_take(call->fn))
		return false;
	call->retrying = true;
	call->retries++;
	return true;
}

static void retry_over(struct gt_call *call)
{
	if (call->retrying)
		gt_fn_retry_give(call->fn);
	call->retrying = false;
}

void gt_call_answered(struct gt_call *call)
{
	if (call->target)
		gt_target_answered(call->target);
	retry_over(call);
}

/* ---- the end of one ---- */

static void count(struct gt_call *call)
{
	if (!call->counted)
		return;
	struct gt_demand_function *s = &call->fn->stats;

	s->responses[call->status / 100 % 6]++;
	s->bytes_in += call->body_bytes;
	s->bytes_out += call->down_bytes;
	gt_hist_add(&s->total, gt_gw_now(call->gw) - call->begun_ns);
	call->fn->dirty = true;
}

void gt_call_init(struct gt_call *call, struct gt_gateway *gw)
{
	call->grave.spare = true;
	call->gw = gw;
	gt_h1_init(&call->resp, GT_H1_RESPONSE);
	gt_outq_init(&call->upq, UPQ_MAX, &gw->queues);
}

void gt_call_clear(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_h1 resp = call->resp;

	memset(call, 0, sizeof(*call));
	gt_call_init(call, gw);
	gt_h1_reset(&resp);
	call->resp = resp;
}

void gt_call_fini(struct gt_call *call)
{
	gt_h1_fini(&call->resp);
}

/* It is over, but may still be looked at. */
static void give_back(struct gt_call *call)
{
	gt_splice_end(call);
	gt_fence_free(call);
	gt_openai_scan_free(call->scan);
	call->scan = NULL;
	gt_sse_free(call);
	gt_h1_reset(&call->resp);
	gt_outq_clear(&call->upq);
}

static void leave_control(struct gt_call *call)
{
	call->gw->n_control -= call->in_control;
	call->gw->n_strangers -= call->stranger;
	call->in_control = call->stranger = false;
}

/* Nobody waits for the answer any more. An orderly end may be that of a body: on another host the
 * replica's connection would stay until it answers. Of a websocket words may be on their way. */
static void give_up(struct gt_up *up, bool tunnel)
{
	if (up->sock.layer && !tunnel)
		up->sock.ops->reset(&up->sock);
	gt_up_close(up);
}

void gt_call_finish(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	struct gt_fn *fn = call->fn;
	bool waited = call->waiter.queued, tunnel = call->state == GT_CALL_TUNNEL;

	if (c->call != call)
		return;
	c->call = NULL;
	c->x->bound = 0;
	c->whole = call->req_done;
	if (call->state == GT_CALL_HELD)
		DL_DELETE(call->gw->held, call);
	leave_control(call);
	call->state = GT_CALL_DONE;
	gt_timer_clear(call->gw->loop, &call->timer);
	gt_timer_clear(call->gw->loop, &call->beat);
	if (call->dial)
		gt_dialer_cancel(call->dial);
	if (call->node)
		gt_node_cancel(call);
	else if (call->asked)
		gt_forward_cancel(call);
	if (call->up)
		give_up(call->up, tunnel);
	count(call);
	if (c->task)
		gt_task_run_over(c->task, call);
	gt_access_call(call);
	if (fn)
		gt_fn_leave(fn, &call->waiter, gt_gw_now(call->gw));
	retry_over(call);
	gt_call_free_slot(call);
	if (waited)
		gt_demander_changed(call->gw, true); /* a start may not be wanted any more */
	if (fn)
		gt_routes_sweep(call->gw, fn);
	give_back(call);
	gt_gw_bury(call->gw, &call->grave);
	if (!c->closed)
		gt_conn_next(c);
}

void gt_call_refuse(struct gt_call *call, const struct gt_refusal *why)
{
	struct gt_conn *c = call->conn;

	if (c->task)
		gt_task_run_refused(c->task, why);
	if (call->sse) {
		gt_sse_refuse(call, why);
		return;
	}
	if (call->state == GT_CALL_STREAM || call->state == GT_CALL_TUNNEL) {
		gt_relay_cut(call);
		return;
	}
	c->keep = c->keep && call->req_done;
	call->status = gt_problem_kind(why->slug) ? gt_problem_kind(why->slug)->status : 500;
	call->refusal = why->slug;
	gt_gw_count_refusal(call->gw, call->counted ? call->fn : NULL, why->slug);
	if (gt_answer_problem(c, why, call->request_id, gt_path_read(&c->x->req).openai) < 0) {
		gt_conn_close(c);
		return;
	}
	gt_call_finish(call);
	gt_conn_kick(c);
}

static void refuse(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	gt_call_refuse(call, &why);
}

int64_t gt_call_retry_after_s(const struct gt_call *call)
{
	return call->fn ? gt_fn_retry_after_s(call->fn, &call->waiter, gt_gw_now(call->gw)) : 1;
}

void gt_call_refuse_for_now(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	why.retry_after_s = gt_call_retry_after_s(call);
	gt_call_refuse(call, &why);
}

void gt_call_refuse_start(struct gt_call *call)
{
	const struct gt_end *end = &call->fn->route.fail;
	char detail[sizeof(end->text) + GT_NAME_MAX + 64];

	snprintf(detail, sizeof(detail), "function \"%s\" could not be started: %s",
		 call->fn->route.function, end->text[0] ? end->text : end->cause);
	struct gt_refusal why = GT_REFUSAL("start_failed", detail);

	why.retry_after_s = gt_call_retry_after_s(call);
	why.end = end;
	gt_call_refuse(call, &why);
}

static void refuse_size(struct gt_call *call)
{
	char detail[96];

	snprintf(detail, sizeof(detail), "the body is larger than %llu bytes",
		 (unsigned long long)call->body_max);
	struct gt_refusal why = GT_REFUSAL("body_too_large", detail);

	why.limit = call->body_max;
	gt_call_refuse(call, &why);
}

/* ---- admission ---- */

/* Gantry-Deadline: whole seconds that the caller is ready to wait. */
static int read_deadline(struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;
	const struct gt_h1_field *f = gt_h1_find(req, GT_H1_GANTRY_DEADLINE);
	char text[16];
	uint64_t s;

	if (!f)
		return 0;
	if (!f->value.len || f->value.len >= sizeof(text))
		return -EINVAL;
	memcpy(text, gt_h1_text(req, f->value), f->value.len);
	text[f->value.len] = '\0';
	if (gt_parse_u64(text, DEADLINE_MAX, &s) < 0 || s == 0)
		return -EINVAL;
	call->deadline_ms = s * 1000;
	return 0;
}

/* Gantry-Priority: high, normal or low; high is for holders of a token. */
static int read_class(struct gt_call *call)
{
	static const char *const names[GT_CLASS_N] = { "high", "normal", "low" };
	const struct gt_h1 *req = &call->conn->x->req;
	const struct gt_h1_field *f = gt_h1_find(req, GT_H1_GANTRY_PRIORITY);

	call->waiter.class = GT_CLASS_NORMAL;
	if (!f)
		return 0;
	for (int i = 0; i < GT_CLASS_N; i++)
		if (gt_h1_is(req, f->value, names[i])) {
			call->waiter.class = (enum gt_class)i;
			return i == GT_CLASS_HIGH && !call->authed ? -EPERM : 0;
		}
	return -EINVAL;
}

static void read_affinity(struct gt_call *call)
{
	const char *name = call->fn->route.affinity;
	const struct gt_h1 *req = &call->conn->x->req;
	const struct gt_h1_field *f = *name ? gt_h1_find_text(req, name) : NULL;

	if (f && f->value.len)
		call->waiter.affinity = gt_affinity_hash(gt_h1_text(req, f->value), f->value.len);
}

/* What it may hold while it waits: its head, and its body as far as it is read before a slot. */
static size_t bytes_held(const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;
	uint64_t most = call->collected + (call->req_done ? 0 : GT_GW_BUFFER), body = 0;

	if (req->framing == GT_H1_LENGTH)
		body = GT_MIN(req->length, most);
	else if (req->framing == GT_H1_CHUNKED)
		body = most;
	return req->head_len + (size_t)body;
}

void gt_call_want_body(struct gt_call *call)
{
	struct gt_conn *c = call->conn;

	if (call->req_done || call->continued || !c->x->req.expect_continue)
		return;
	call->continued = true;
	gt_buf_adds(&c->x->out.buf, "HTTP/1.1 100 Continue\r\n\r\n");
}

static void join(struct gt_call *call)
{
	struct gt_fn *fn = call->fn;
	uint64_t now_ns = gt_gw_now(call->gw);

	call->state = GT_CALL_QUEUED;
	call->wait_ms = fn->route.wait_ms;
	call->waiter.able = call->req_done || gt_outq_unsent(&call->upq) >= GT_GW_BUFFER;
	gt_fn_join(fn, &call->waiter, now_ns);
	gt_call_arm(call);
	gt_call_want_body(call);
	gt_routes_pump(call->gw, fn);
	gt_demander_changed(call->gw, gt_fn_kicks(fn));
}

static void refuse_full(struct gt_call *call, enum gt_admit verdict)
{
	const struct gt_fn *fn = call->fn;
	const char *name = fn->route.function;
	char detail[200];

	if (verdict == GT_ADMIT_BYTES)
		snprintf(
			detail, sizeof(detail),
			"the %u calls that wait for \"%s\" hold all the memory they may: %zu bytes",
			fn->n_waiting, name, fn->held_max);
	else
		snprintf(detail, sizeof(detail),
			 "%u calls wait for \"%s\" already, %u of them of this caller: its "
			 "limits.queue is %u",
			 fn->n_waiting, name, gt_queue_of(&fn->queue, call->waiter.caller),
			 fn->route.queue);
	gt_call_refuse_for_now(call, verdict == GT_ADMIT_OWN ? "queue_full" : "overloaded", detail);
}

/* What the request's head says about waiting; refuses the call when it is nonsense. */
static bool read_wishes(struct gt_call *call)
{
	int class = read_class(call);

	if (read_deadline(call) < 0)
		refuse(call, "bad_parameter", "Gantry-Deadline must be whole seconds, 1 to 86400");
	else if (class == -EPERM)
		refuse(call, "forbidden",
		       "Gantry-Priority: high needs a token; without one write normal or low");
	else if (class < 0)
		refuse(call, "bad_parameter", "Gantry-Priority must be high, normal or low");
	else
		return true;
	return false;
}

void gt_call_admit(struct gt_call *call)
{
	struct gt_fn *fn = call->fn;
	const struct gt_h1 *req = &call->conn->x->req;

	fn->stats.calls++;
	call->counted = true;
	call->body_max = fn->route.body_bytes;
	if (!read_wishes(call))
		return;
	call->waiter.bytes = bytes_held(call);
	read_affinity(call);
	enum gt_admit verdict = gt_fn_admit(fn, &call->waiter, gt_gw_now(call->gw));

	if (req->length > call->body_max || call->body_bytes > call->body_max) {
		refuse_size(call);
	} else if (verdict == GT_ADMIT_FAILING) {
		gt_call_refuse_start(call);
	} else if (verdict != GT_ADMIT) {
		refuse_full(call, verdict);
	} else if (gt_head_up(call) < 0) {
		refuse(call, "internal", "the head could not be passed on");
	} else {
		join(call);
	}
}

void gt_call_refuse_token(struct gt_call *call)
{
	refuse(call, "unauthorized",
	       "send the header \"Authorization: Bearer TOKEN\" with a token of this gantry");
}

void gt_call_refuse_unknown(struct gt_call *call, const struct gt_refusal *why)
{
	if (call->gw->watch_up)
		gt_call_refuse(call, why);
	else
		gt_call_refuse_for_now(
			call, "unavailable",
			"control does not answer, and had not told of this name before");
}

static void route_function(struct gt_call *call)
{
	const char *name = gt_call_function(call);
	struct gt_fn *fn = gt_routes_function(call->gw, name, call->name_len);
	char detail[GT_NAME_MAX + 64];

	if (!call->authed && (!fn || fn->route.access != GT_ACCESS_PUBLIC)) {
		gt_call_refuse_token(call);
		return;
	}
	if (!fn) {
		struct gt_refusal why = GT_REFUSAL("function_not_found", detail);

		snprintf(detail, sizeof(detail), "there is no function \"%.*s\"",
			 (int)GT_MIN(call->name_len, GT_NAME_MAX), name);
		gt_call_refuse_unknown(call, &why);
		return;
	}
	call->fn = fn;
	gt_call_admit(call);
}

/* Its function is another shard's. */
static bool elsewhere(struct gt_call *call)
{
	if (!call->gw->shards || call->way != GT_WAY_FUNCTION)
		return false;
	return gt_conn_bind(call->conn, gt_call_function(call), call->name_len);
}

void gt_call_route(struct gt_call *call)
{
	if (elsewhere(call))
		return;
	call->waiter.caller = call->conn->task ? GT_TASK_CALLER
					       : gt_routes_caller(call->gw, &call->conn->x->req);
	call->authed = call->waiter.caller != 0;
	if (call->way == GT_WAY_FUNCTION)
		route_function(call);
	else
		gt_openai_begin(call);
}

/* ---- what the gateway answers itself ---- */

static void answer_ready(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	uint64_t down_ms = gw->watch_up ? 0 : (gt_gw_now(gw) - gw->down_since_ns) / GT_NS_PER_MS;
	bool ready = (gt_follows(gw) || (gw->synced && down_ms < GT_GW_STALE_MS)) && !gw->quiescing;
	gt_auto(buf) struct gt_buf body = { 0 };

	gt_buf_addf(&body,
		    "{\"status\":\"%s\",\"ready\":%s,\"routes\":%s,\"control\":%s,\"follows\":%s,"
		    "\"draining\":%s}\n",
		    ready ? "ok" : "unavailable", ready ? "true" : "false",
		    gw->synced ? "true" : "false", gw->watch_up ? "true" : "false",
		    gt_follows(gw) ? "true" : "false", gw->quiescing ? "true" : "false");
	call->status = ready ? 200 : 503;
	gt_answer_json(call->conn, call->status, gt_buf_str(&body), body.len, call->request_id);
}

/* Short and from memory. The request's body, if any, is not read. */
static void answer_here(struct gt_call *call)
{
	static const char alive[] = "{\"status\":\"ok\"}\n";
	struct gt_conn *c = call->conn;

	c->keep = c->keep && call->req_done;
	if (call->way == GT_WAY_READYZ)
		answer_ready(call);
	else if (call->way == GT_WAY_LIVEZ)
		gt_answer_json(c, 200, alive, sizeof(alive) - 1, call->request_id);
	else
		gt_answer_json(c, 204, "", 0, call->request_id);
	gt_call_finish(call);
}

static void hold(struct gt_call *call)
{
	call->state = GT_CALL_HELD;
	DL_APPEND(call->gw->held, call);
	gt_call_arm(call);
}

/* Each is a connection, and control takes so many; one more would wait unseen behind all of them.
 */
static bool control_has_room(const struct gt_gateway *gw, bool stranger)
{
	uint32_t n = gw->shards ? gw->shards->n : 1;

	return gw->n_control < GT_CALL_CONTROL_MAX / n &&
	       (!stranger || gw->n_strangers < GT_CALL_STRANGERS_MAX / n);
}

static void pass_to_control(struct gt_call *call)
{
	bool stranger = !gt_routes_caller(call->gw, &call->conn->x->req);

	if (!control_has_room(call->gw, stranger)) {
		gt_call_refuse_for_now(call, "overloaded",
				       "control has as many requests as it takes at once");
		return;
	}
	call->in_control = true;
	call->gw->n_control++;
	call->stranger = stranger;
	call->gw->n_strangers += stranger;
	gt_call_want_body(call);
	gt_relay_connect(call);
}

/* Its way is known: the head of a client's request, or all that is here of one. */
static void start(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;

	if (gt_follows(gw) && call->forwarded)
		gt_cluster_send_away(call); /* one hop, and no second one */
	else if (gt_follows(gw))
		gt_forward_begin(call);
	else if (call->way == GT_WAY_CONTROL && gt_head_up(call) < 0)
		refuse(call, "internal", "the head could not be passed on");
	else if (call->way == GT_WAY_CONTROL)
		pass_to_control(call);
	else if (!gw->synced)
		hold(call);
	else
		gt_call_route(call);
}

void gt_call_resume(struct gt_call *call)
{
	if (call->way == GT_WAY_OPENAI)
		gt_openai_route(call);
	else if (call->way == GT_WAY_LINK)
		gt_cluster_resume(call);
	else
		start(call);
}

static uint64_t most_of_body(const struct gt_call *call)
{
	return call->way == GT_WAY_OPENAI ? GT_CALL_COLLECT_MAX : UINT64_MAX;
}

/* Chunks that this gateway made, to what is in them. */
static void dechunk(struct gt_buf *body)
{
	char *to = body->data;
	const char *from = body->data, *end = from + body->len;

	while (from < end) {
		size_t n = strtoul(from, NULL, 16);

		from += strcspn(from, "\n") + 1;
		memmove(to, from, n);
		to += n;
		from += n + 2; /* with the line's end; of the last one, the end of all */
	}
	body->len = (size_t)(to - body->data);
}

void gt_call_reroute(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	struct gt_path path = gt_path_read(&c->x->req);
	gt_auto(buf) struct gt_buf body = { 0 };
	bool done = call->req_done;

	gt_buf_add(&body, call->upq.buf.data + call->up_head, call->upq.buf.len - call->up_head);
	if (call->chunk_up && body.len)
		dechunk(&body);
	gt_outq_clear(&call->upq);
	call->upq.keep = true;
	gt_openai_scan_free(call->scan);
	call->scan = NULL;
	leave_control(call);
	call->fn = NULL;
	call->way = path.way;
	call->name_len = path.name_len;
	call->body_max = most_of_body(call);
	call->chunk_up = call->counted = call->authed = false;
	call->waiter = (struct gt_waiter){ 0 };
	call->body_bytes = call->collected = call->retry_until_ns = 0;
	call->state = GT_CALL_SENT;
	call->req_done = done && !body.len;
	start(call);
	if (c->call == call && body.len)
		gt_call_body(call, body.data, body.len);
	if (c->call == call && done && !call->req_done)
		gt_call_body_end(call);
	if (!c->closed)
		gt_conn_kick(c);
}

void gt_call_give_away(struct gt_call *call)
{
	gt_fn_leave(call->fn, &call->waiter, gt_gw_now(call->gw));
	gt_call_free_slot(call);
	if (call->sse || call->conn->task || !call->upq.keep || call->upq.sent) {
		gt_call_refuse_for_now(call, "unavailable",
				       "another gateway has this function from now on: ask again");
		return;
	}
	retry_over(call);
	gt_timer_clear(call->gw->loop, &call->beat);
	gt_call_reroute(call);
}

void gt_call_begin(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_call *call = gt_gw_new_call(gw);
	struct gt_path path = gt_path_read(&c->x->req);

	c->call = call;
	call->conn = c;
	call->begun_ns = gt_gw_now(gw);
	call->way = path.way;
	call->name_len = path.name_len;
	call->state = GT_CALL_SENT;
	call->req_done = c->x->req.framing == GT_H1_NO_BODY ||
			 (c->x->req.framing == GT_H1_LENGTH && !c->x->req.length);
	call->body_max = most_of_body(call);
	gt_request_id_make(gw, &c->x->req, call->request_id);
	gt_trace_begin(&c->x->req, &gw->rnd, &call->trace);
	call->resp.to_head = gt_h1_is(&c->x->req, c->x->req.method, "HEAD");
	call->upq.keep = true;
	if (c->cluster && !gt_cluster_forwards(call))
		gt_cluster_begin(call);
	else if (call->way == GT_WAY_LINK)
		refuse(call, "not_found", "there is no such path");
	else if (call->way >= GT_WAY_LIVEZ)
		answer_here(call);
	else if (!gt_conn_make_room(gw, gw->cfg.memory_bytes / 10 * 9))
		gt_call_refuse_for_now(call, "overloaded", "the gateway's buffers are full");
	else
		start(call);
}

/* ---- the body ---- */

size_t gt_call_body_room(const struct gt_call *call)
{
	size_t unsent = gt_outq_unsent(&call->upq), limit = GT_GW_BUFFER;

	if (call->state == GT_CALL_TUNNEL)
		return !call->tunnel_up_eof && unsent < GT_GW_BUFFER ? GT_GW_BUFFER - unsent : 0;
	if (call->state == GT_CALL_HELD || call->state == GT_CALL_DONE || call->req_done)
		return 0;
	if (call->state == GT_CALL_COLLECT || call->refused)
		return GT_GW_BUFFER;
	if (call->state == GT_CALL_QUEUED) /* `stream` follows `model` at no great distance */
		limit += call->collected;
	return unsent < limit ? limit - unsent : 0;
}

/* Enough of the body is here to be worth a slot. */
static void now_able(struct gt_call *call)
{
	if (!call->waiter.queued || call->waiter.able)
		return;
	gt_fn_able(call->fn, &call->waiter);
	gt_routes_pump(call->gw, call->fn);
	gt_demander_changed(call->gw, false);
}

bool gt_call_body_whole(const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;

	return call->req_done || (req->framing == GT_H1_LENGTH && call->body_bytes == req->length);
}

void gt_call_body(struct gt_call *call, const char *data, size_t len)
{
	char size[GT_H1_CHUNK_HEAD];
	struct iovec parts[3] = { { 0 }, { (char *)data, len }, { 0 } };

	call->body_bytes += len;
	if (call->body_bytes > call->body_max) {
		refuse_size(call);
		return;
	}
	if (call->scan && !gt_openai_read(call, data, len))
		return;
	if (call->refused)
		return;
	if (call->chunk_up) {
		parts[0] = (struct iovec){ size, gt_h1_chunk_head(len, size) };
		parts[2] = (struct iovec){ (char *)"\r\n", 2 };
	}
	if (gt_outq_add(&call->upq, parts, 3) < 0) {
		gt_call_refuse_for_now(call, "overloaded", "the body does not fit into the buffer");
		return;
	}
	if (call->state == GT_CALL_COLLECT && !gt_call_body_whole(call))
		gt_openai_route(call);
	else if (gt_outq_unsent(&call->upq) >= GT_GW_BUFFER)
		now_able(call);
}

void gt_call_body_end(struct gt_call *call)
{
	struct iovec last = { (char *)"0\r\n\r\n", 5 };

	call->req_done = true;
	if (call->scan && !gt_openai_read_end(call))
		return;
	if (call->state == GT_CALL_COLLECT) {
		gt_openai_route(call);
		return;
	}
	if (call->chunk_up && !call->refused && gt_outq_add(&call->upq, &last, 1) < 0) {
		gt_relay_cut(call);
		return;
	}
	now_able(call);
}

/* ---- slots ---- */

void gt_call_got_slot(struct gt_call *call, struct gt_target *t)
{
	uint64_t now_ns = gt_gw_now(call->gw), wait_ns = now_ns - call->waiter.since_ns;
	struct gt_demand_function *s = &call->fn->stats;

	call->target = t;
	call->slot_ns = now_ns;
	if (!call->retries && !call->retry_until_ns) { /* the first slot of this call */
		call->start_ns = gt_fn_cold_ns(call->fn, now_ns) - call->waiter.cold_at_ns;
		s->cold += call->start_ns > 0;
		gt_hist_add(&s->wait, wait_ns);
	}
	call->wait_ns = wait_ns;
	call->revision = t->revision;
	gt_strcopy(call->replica, sizeof(call->replica), t->id);
	if (call->conn->task)
		gt_task_run_slot(call->conn->task, call);
	gt_relay_connect(call);
}
