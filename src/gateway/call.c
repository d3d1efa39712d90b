/* call.c - one request: who may make it, which function it is for, its place in the queue, its end.
 */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/units.h>

#define UPQ_MAX      (GT_GW_OPENAI_MAX + 256 * GT_KIB)
#define DEADLINE_MAX (24 * 3600)

static void on_timer(void *arg);

/* ---- the end ---- */

void gt_call_free_slot(struct gt_call *call)
{
	struct gt_target *t = call->target;
	struct gt_fn *fn = call->fn;

	if (!t)
		return;
	call->target = NULL;
	unsigned found = gt_fn_release(fn, t, gt_gw_now(call->gw) - call->slot_ns);

	gt_demander_changed(call->gw, (found & GT_FN_DRAINED) != 0);
	if (found & GT_FN_FREED)
		gt_routes_pump(call->gw, fn);
}

static void count(struct gt_call *call)
{
	if (!call->counted)
		return;
	struct gt_demand_function *s = &call->fn->stats;

	s->responses[call->status / 100 % 6]++;
	s->bytes_in += call->body_bytes;
	s->bytes_out += call->down_bytes;
	call->fn->dirty = true;
}

void gt_call_free(struct gt_call *call)
{
	gt_h1_fini(&call->resp);
	gt_outq_fini(&call->upq);
}

void gt_call_finish(struct gt_call *call)
{
	struct gt_conn *c = call->conn;
	struct gt_fn *fn = call->fn;
	bool waited = call->waiter.queued;

	if (c->call != call)
		return;
	c->call = NULL;
	c->whole = call->req_done;
	if (call->state == GT_CALL_HELD)
		DL_DELETE(call->gw->held, call);
	call->state = GT_CALL_DONE;
	gt_timer_clear(call->gw->loop, &call->timer);
	if (call->dial)
		gt_dialer_cancel(call->dial);
	if (call->up)
		gt_up_close(call->up);
	count(call);
	if (fn)
		gt_fn_leave(fn, &call->waiter);
	gt_call_free_slot(call);
	if (waited)
		gt_demander_changed(call->gw, true); /* a start may not be wanted any more */
	if (fn)
		gt_routes_sweep(call->gw, fn);
	gt_call_free(call);
	gt_gw_bury(call->gw, &call->grave);
	if (!c->closed)
		gt_conn_next(c);
}

void gt_call_refuse(struct gt_call *call, const struct gt_refusal *why)
{
	struct gt_conn *c = call->conn;

	if (call->state == GT_CALL_STREAM || call->state == GT_CALL_TUNNEL) {
		gt_relay_cut(call);
		return;
	}
	c->keep = c->keep && call->req_done;
	call->status = gt_problem_kind(why->slug) ? gt_problem_kind(why->slug)->status : 500;
	if (call->fn && (call->status == 429 || call->status == 503 || call->status == 504))
		call->fn->stats.refused++;
	if (gt_answer_problem(c, why, call->request_id, call->way == GT_WAY_OPENAI) < 0) {
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

static void refuse_for_now(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	why.retry_after_s = call->fn ? gt_fn_retry_after_s(call->fn, gt_gw_now(call->gw)) : 1;
	gt_call_refuse(call, &why);
}

void gt_call_refuse_start(struct gt_call *call)
{
	const struct gt_end *end = &call->fn->route.fail;
	char detail[sizeof(end->text) + GT_NAME_MAX + 64];

	snprintf(detail, sizeof(detail), "function \"%s\" could not be started: %s",
		 call->fn->route.function, end->text[0] ? end->text : end->cause);
	struct gt_refusal why = GT_REFUSAL("start_failed", detail);

	why.retry_after_s = gt_fn_retry_after_s(call->fn, gt_gw_now(call->gw));
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
	const struct gt_h1 *req = &call->conn->req;
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
	call->deadline_ns = call->begun_ns + s * GT_NS_PER_S;
	return 0;
}

static void want_body(struct gt_call *call)
{
	struct gt_conn *c = call->conn;

	if (call->req_done || call->continued || !c->req.expect_continue)
		return;
	call->continued = true;
	gt_buf_adds(&c->out.buf, "HTTP/1.1 100 Continue\r\n\r\n");
}

static void join(struct gt_call *call)
{
	struct gt_fn *fn = call->fn;
	uint64_t now_ns = gt_gw_now(call->gw);

	call->state = GT_CALL_QUEUED;
	call->wait_until_ns = now_ns + fn->route.wait_ms * GT_NS_PER_MS;
	if (call->deadline_ns && call->deadline_ns < call->wait_until_ns)
		call->wait_until_ns = call->deadline_ns;
	call->waiter.able = call->req_done;
	gt_fn_join(fn, &call->waiter, now_ns);
	gt_call_arm(call);
	want_body(call);
	gt_routes_pump(call->gw, fn);
	gt_demander_changed(call->gw, fn->n_waiting > gt_fn_free_slots(fn));
}

static void admit(struct gt_call *call)
{
	struct gt_fn *fn = call->fn;
	const struct gt_h1 *req = &call->conn->req;
	enum gt_admit verdict = gt_fn_admit(fn, gt_gw_now(call->gw));

	fn->stats.calls++;
	call->counted = true;
	call->body_max = fn->route.body_bytes;
	if (read_deadline(call) < 0) {
		refuse(call, "bad_parameter", "Gantry-Deadline must be whole seconds, 1 to 86400");
	} else if (req->length > call->body_max || call->body_bytes > call->body_max) {
		refuse_size(call);
	} else if (verdict == GT_ADMIT_FAILING) {
		gt_call_refuse_start(call);
	} else if (verdict == GT_ADMIT_FULL) {
		char detail[160];

		snprintf(detail, sizeof(detail),
			 "%u calls wait for \"%s\" already: its limits.queue is %u", fn->n_waiting,
			 fn->route.function, fn->route.queue);
		refuse_for_now(call, "queue_full", detail);
	} else if (gt_head_up(call) < 0) {
		refuse(call, "internal", "the head could not be passed on");
	} else {
		join(call);
	}
}

static void refuse_token(struct gt_call *call)
{
	refuse(call, "unauthorized",
	       "send the header \"Authorization: Bearer TOKEN\" with a token of this gantry");
}

static void route_function(struct gt_call *call)
{
	struct gt_path p = gt_path_read(&call->conn->req);
	struct gt_fn *fn = gt_routes_function(call->gw, p.function, p.function_len);
	char detail[GT_NAME_MAX + 64];

	if (!call->authed && (!fn || fn->route.access != GT_ACCESS_PUBLIC)) {
		refuse_token(call);
		return;
	}
	if (!fn) {
		snprintf(detail, sizeof(detail), "there is no function \"%.*s\"",
			 (int)GT_MIN(p.function_len, GT_NAME_MAX), p.function);
		refuse(call, "function_not_found", detail);
		return;
	}
	call->fn = fn;
	admit(call);
}

/* The body is in call->upq: find its model's function, put the head before it. */
static void route_model(struct gt_call *call)
{
	char model[GT_MODEL_NAME_MAX + 1], detail[GT_MODEL_NAME_MAX + 64];
	struct gt_err err = { 0 };

	if (gt_openai_model_read(gt_buf_str(&call->upq.buf), call->upq.buf.len, model, &err) < 0) {
		struct gt_refusal why = GT_REFUSAL(err.slug, err.text);

		why.path = err.path[0] ? err.path : NULL;
		gt_call_refuse(call, &why);
		return;
	}
	struct gt_fn *fn = gt_routes_model(call->gw, model);

	if (!call->authed && (!fn || fn->route.access != GT_ACCESS_PUBLIC)) {
		refuse_token(call);
		return;
	}
	if (!fn) {
		snprintf(detail, sizeof(detail), "no function serves the model \"%s\"", model);
		refuse(call, "model_not_found", detail);
		return;
	}
	call->fn = fn;
	admit(call);
}

void gt_call_route(struct gt_call *call)
{
	call->authed = gt_routes_token(call->gw, &call->conn->req);
	if (call->way == GT_WAY_FUNCTION) {
		route_function(call);
	} else if (!call->authed && !gt_routes_any_public_model(call->gw)) {
		refuse_token(call);
	} else if (call->conn->req.length > GT_GW_OPENAI_MAX) {
		refuse_size(call);
	} else {
		call->state = GT_CALL_COLLECT;
		want_body(call);
		gt_conn_kick(call->conn);
		if (call->req_done)
			route_model(call);
	}
}

/* ---- what the gateway answers itself ---- */

static void answer_ready(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	uint64_t down_ms = gw->watch_up ? 0 : (gt_gw_now(gw) - gw->down_since_ns) / GT_NS_PER_MS;
	bool ready = gw->synced && down_ms < GT_GW_STALE_MS && !gw->quiescing;
	gt_auto(buf) struct gt_buf body = { 0 };

	gt_buf_addf(
		&body,
		"{\"status\":\"%s\",\"ready\":%s,\"routes\":%s,\"control\":%s,\"draining\":%s}\n",
		ready ? "ok" : "unavailable", ready ? "true" : "false",
		gw->synced ? "true" : "false", gw->watch_up ? "true" : "false",
		gw->quiescing ? "true" : "false");
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

static void pass_to_control(struct gt_call *call)
{
	want_body(call);
	gt_relay_connect(call);
}

void gt_call_begin(struct gt_conn *c)
{
	struct gt_call *call = gt_alloc(sizeof(*call));
	struct gt_gateway *gw = c->gw;

	c->call = call;
	call->gw = gw;
	call->conn = c;
	call->begun_ns = gt_gw_now(gw);
	call->way = gt_path_read(&c->req).way;
	call->state = GT_CALL_SENT;
	call->req_done = c->req.framing == GT_H1_NO_BODY ||
			 (c->req.framing == GT_H1_LENGTH && !c->req.length);
	call->body_max = call->way == GT_WAY_OPENAI ? GT_GW_OPENAI_MAX : UINT64_MAX;
	gt_request_id_make(gw, &c->req, call->request_id);
	gt_h1_init(&call->resp, GT_H1_RESPONSE);
	call->resp.to_head = gt_h1_is(&c->req, c->req.method, "HEAD");
	gt_outq_init(&call->upq, UPQ_MAX);
	call->upq.keep = true;
	if (call->way == GT_WAY_LINK)
		refuse(call, "not_found", "there is no such path");
	else if (call->way >= GT_WAY_LIVEZ)
		answer_here(call);
	else if (gw->buffered > gw->cfg.memory_bytes / 10 * 9)
		refuse_for_now(call, "overloaded", "the gateway's buffers are full");
	else if (call->way == GT_WAY_CONTROL && gt_head_up(call) < 0)
		refuse(call, "internal", "the head could not be passed on");
	else if (call->way == GT_WAY_CONTROL)
		pass_to_control(call);
	else if (!gw->synced)
		hold(call);
	else
		gt_call_route(call);
}

/* ---- the body ---- */

size_t gt_call_body_room(const struct gt_call *call)
{
	size_t unsent = gt_outq_unsent(&call->upq);

	if (call->state == GT_CALL_TUNNEL)
		return !call->tunnel_up_eof && unsent < GT_GW_BUFFER ? GT_GW_BUFFER - unsent : 0;
	if (call->state == GT_CALL_HELD || call->state == GT_CALL_DONE || call->req_done)
		return 0;
	if (call->state == GT_CALL_COLLECT || call->refused)
		return GT_GW_BUFFER;
	return unsent < GT_GW_BUFFER ? GT_GW_BUFFER - unsent : 0;
}

/* Enough of the body is here to be worth a slot. */
static void now_able(struct gt_call *call)
{
	if (!call->waiter.queued || call->waiter.able)
		return;
	call->waiter.able = true;
	gt_routes_pump(call->gw, call->fn);
	gt_demander_changed(call->gw, call->waiter.queued);
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
	if (call->refused)
		return;
	if (call->chunk_up) {
		parts[0] = (struct iovec){ size, gt_h1_chunk_head(len, size) };
		parts[2] = (struct iovec){ (char *)"\r\n", 2 };
	}
	if (gt_outq_add(&call->upq, parts, 3) < 0) {
		refuse_for_now(call, "overloaded", "the body does not fit into the buffer");
		return;
	}
	if (gt_outq_unsent(&call->upq) >= GT_GW_BUFFER)
		now_able(call);
}

void gt_call_body_end(struct gt_call *call)
{
	struct iovec last = { (char *)"0\r\n\r\n", 5 };

	call->req_done = true;
	if (call->state == GT_CALL_COLLECT) {
		route_model(call);
		return;
	}
	if (call->chunk_up && !call->refused && gt_outq_add(&call->upq, &last, 1) < 0) {
		gt_relay_cut(call);
		return;
	}
	now_able(call);
}

/* ---- slots and time ---- */

void gt_call_got_slot(struct gt_call *call, struct gt_target *t)
{
	uint64_t now_ns = gt_gw_now(call->gw), wait_ns = now_ns - call->waiter.since_ns;
	struct gt_demand_function *s = &call->fn->stats;

	call->target = t;
	call->slot_ns = now_ns;
	if (!call->tries && !call->retry_until_ns) { /* the first slot of this call */
		call->start_ns = gt_fn_cold_ns(call->fn, now_ns) - call->waiter.cold_at_ns;
		s->cold += call->start_ns > 0;
		s->wait_us += wait_ns / GT_NS_PER_US;
	}
	call->wait_ns = wait_ns;
	call->revision = t->revision;
	gt_strcopy(call->replica, sizeof(call->replica), t->id);
	gt_relay_connect(call);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return !a_ns ? b_ns : !b_ns ? a_ns : GT_MIN(a_ns, b_ns);
}

/* When the state's time is over; 0 = never. */
static uint64_t due_ns(const struct gt_call *call)
{
	const struct gt_route *r = call->fn ? &call->fn->route : NULL;
	uint64_t run_ns = r && r->run_ms ? call->slot_ns + r->run_ms * GT_NS_PER_MS : 0;

	switch (call->state) {
	case GT_CALL_HELD:
		return call->begun_ns + GT_GW_FIRST_MS * GT_NS_PER_MS;
	case GT_CALL_QUEUED:
		return call->wait_until_ns;
	case GT_CALL_PAUSED:
		return call->retry_at_ns;
	case GT_CALL_DIALING:
	case GT_CALL_SENT:
		if (r && r->first_byte_ms)
			run_ns = earlier(run_ns, call->slot_ns + r->first_byte_ms * GT_NS_PER_MS);
		return r ? earlier(run_ns, call->deadline_ns) : 0;
	case GT_CALL_STREAM:
	case GT_CALL_TUNNEL:
		return run_ns;
	default:
		return 0;
	}
}

void gt_call_arm(struct gt_call *call)
{
	uint64_t at_ns = due_ns(call);

	if (at_ns)
		gt_timer_set_at(call->gw->loop, &call->timer, at_ns, on_timer, call);
	else
		gt_timer_clear(call->gw->loop, &call->timer);
}

static void on_timer(void *arg)
{
	struct gt_call *call = arg;

	switch (call->state) {
	case GT_CALL_HELD:
		refuse_for_now(call, "unavailable", "the gateway has no routes from control yet");
		break;
	case GT_CALL_QUEUED:
		refuse_for_now(
			call, "wait_timeout",
			call->fn->n_ready
				? "no slot became free in time: see limits.wait and scale.max"
				: "no replica became ready in time: see the function's events");
		break;
	case GT_CALL_PAUSED:
		gt_relay_retry(call);
		break;
	case GT_CALL_DIALING:
	case GT_CALL_SENT:
		refuse_for_now(
			call, "run_timeout",
			"the replica gave no answer in time: see limits.first_byte and limits.run");
		break;
	default:
		gt_relay_cut(call);
	}
}
