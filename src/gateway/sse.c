/* sse.c - answers of OpenAI's API that are streams of server-sent events. While nothing can be sent
 * the client gets comments, so that neither it nor a proxy gives up; what fails after the head was
 * sent is told as an event, as OpenAI does. Only whole events are passed on: one that was cut off
 * can not be followed by another. */
#include "calls.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <gantry/wire/value.h>

/* Long enough that most refusals and failed starts still have a status of their own, which clients
 * act on; short enough for any proxy. */
#define FIRST_MS 5000
#define BEAT_MS  10000

#define HELD_MAX GT_GW_BUFFER /* of an event, or of an answer that becomes one */

struct gt_sse {
	bool collects; /* the replica answered no stream: `held` is its body */
	bool in_event; /* lines of an event came, but not its end */
	bool through;  /* the event is too large to be held: passed as it comes */
	char line_first;
	size_t line_len;    /* of the line that is coming */
	struct gt_buf held; /* the beginning of an event */
};

static void begin(struct gt_call *call)
{
	call->sse = gt_alloc(sizeof(*call->sse));
	gt_buf_init(&call->sse->held, HELD_MAX);
}

size_t gt_sse_size(const struct gt_call *call)
{
	return call->sse ? sizeof(*call->sse) + call->sse->held.cap : 0;
}

void gt_sse_free(struct gt_call *call)
{
	if (call->sse)
		gt_buf_fini(&call->sse->held);
	free(call->sse);
	call->sse = NULL;
}

/* ---- while nothing is there to send ---- */

static void send_head(struct gt_call *call)
{
	struct gt_conn *c = call->conn;

	gt_buf_addf(&c->x->out.buf,
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
		    "Gantry-Trace-Id: %s\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\n"
		    "X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n%s\r\n",
		    call->trace.id, call->request_id, c->keep ? "" : "Connection: close\r\n");
	call->chunk_down = true;
	call->status = 200;
	begin(call);
}

static void beat(struct gt_call *call)
{
	static const char starting[] = ": starting\n\n", waiting[] = ": waiting\n\n";
	const char *text = call->fn->n_ready ? waiting : starting;

	if (!call->sse)
		send_head(call);
	if (gt_relay_down(call, text, strlen(text)) < 0)
		gt_conn_close(call->conn);
	else
		gt_conn_kick(call->conn);
}

static void on_beat(void *arg)
{
	struct gt_call *call = arg;
	bool waits = call->state >= GT_CALL_QUEUED && call->state <= GT_CALL_SENT;

	gt_timer_set(call->gw->loop, &call->beat, BEAT_MS, on_beat, call);
	/* Who still sends does not wait for bytes. One that does not read gets no more of them. */
	if (waits && call->req_done && !gt_outq_unsent(&call->conn->x->out))
		beat(call);
}

void gt_sse_expect(struct gt_call *call)
{
	if (gt_timer_is_set(&call->beat) || call->state > GT_CALL_SENT ||
	    call->conn->x->req.minor == 0)
		return;
	gt_timer_set_at(call->gw->loop, &call->beat, call->begun_ns + FIRST_MS * GT_NS_PER_MS,
			on_beat, call);
}

/* ---- the answer ---- */

static bool is_stream(const struct gt_h1 *resp)
{
	static const char type[] = "text/event-stream";
	const struct gt_h1_field *f = gt_h1_find(resp, GT_H1_CONTENT_TYPE);
	size_t n = sizeof(type) - 1;

	return resp->status / 100 == 2 && f && f->value.len >= n &&
	       !strncasecmp(gt_h1_text(resp, f->value), type, n) &&
	       !gt_h1_find(resp, GT_H1_CONTENT_ENCODING);
}

bool gt_sse_head(struct gt_call *call)
{
	const struct gt_h1 *resp = &call->resp;

	gt_timer_clear(call->gw->loop, &call->beat);
	if (call->sse) {
		call->sse->collects = !is_stream(resp);
		return true;
	}
	if (call->way == GT_WAY_OPENAI && is_stream(resp) && resp->framing == GT_H1_CHUNKED &&
	    call->conn->x->req.minor == 1)
		begin(call);
	return false;
}

/* How much of data ends outside of an event, 0 = nothing. Lines of comments alone are no event. */
static size_t whole_events(struct gt_sse *s, const char *data, size_t len)
{
	size_t end = 0, at = 0;

	while (at < len) {
		const char *nl = memchr(data + at, '\n', len - at);
		size_t n = nl ? (size_t)(nl - data) - at : len - at;

		if (n && !s->line_len)
			s->line_first = data[at];
		s->line_len += n;
		at += n;
		if (!nl)
			break;
		at++;
		if (!s->line_len || (s->line_len == 1 && s->line_first == '\r'))
			s->in_event = false;
		else if (s->line_first != ':')
			s->in_event = true;
		s->line_len = 0;
		end = s->in_event ? end : at;
	}
	return end;
}

static int pass_held(struct gt_call *call)
{
	struct gt_buf *held = &call->sse->held;
	int r = held->len ? gt_relay_down(call, held->data, held->len) : 0;

	gt_buf_fini(held);
	gt_buf_init(held, HELD_MAX);
	return r;
}

int gt_sse_down(struct gt_call *call, const char *data, size_t len)
{
	struct gt_sse *s = call->sse;
	size_t whole;
	int r = 0;

	if (s->collects) {
		gt_buf_add(&s->held, data, len); /* past its cap: told by `failed` */
		return 0;
	}
	whole = whole_events(s, data, len);
	if (whole) {
		s->through = false;
		r = pass_held(call);
	}
	if (r == 0 && whole)
		r = gt_relay_down(call, data, whole);
	if (r < 0 || whole == len)
		return r;
	if (s->held.len + len - whole > HELD_MAX) { /* too large an event: as it comes */
		s->through = true;
		r = pass_held(call);
	}
	if (r == 0 && s->through)
		r = gt_relay_down(call, data + whole, len - whole);
	else if (r == 0)
		r = gt_buf_add(&s->held, data + whole, len - whole);
	return r;
}

/* ---- errors in the stream ---- */

static int send_event(struct gt_call *call, const struct gt_buf *json)
{
	gt_auto(buf) struct gt_buf event = { 0 };

	gt_buf_adds(&event, "data: ");
	gt_buf_add(&event, json->data, json->len);
	gt_buf_adds(&event, "\n\n");
	return event.failed ? -ENOBUFS : gt_relay_down(call, event.data, event.len);
}

/* What the replica answered instead of a stream: its own error object as it is, else its words. */
static int tell_answer(struct gt_call *call)
{
	struct gt_buf *held = &call->sse->held;
	gt_auto(value) struct gt_value *v = NULL;
	gt_auto(buf) struct gt_buf json = { 0 };
	bool failed = call->status >= 400;

	if (held->failed || gt_value_parse(gt_buf_str(held), held->len, &v, NULL) < 0)
		v = NULL;
	if (failed && gt_value_is_object(gt_value_at(v, "error"))) {
		if (gt_value_write(v, 0, &json) < 0)
			return -ENOBUFS;
		return send_event(call, &json);
	}
	const char *said = gt_value_str(v, "message", gt_value_str(v, "detail", NULL));

	if (!failed)
		said = "the replica answered no event stream, though one was asked for";
	else if (!said && !held->failed && held->len)
		said = gt_buf_str(held);
	gt_openai_error_write(failed ? call->status : 502, said, &json);
	return send_event(call, &json);
}

int gt_sse_end(struct gt_call *call)
{
	struct gt_sse *s = call->sse;

	if (s->collects)
		return tell_answer(call);
	return pass_held(call);
}

void gt_sse_refuse(struct gt_call *call, const struct gt_refusal *why)
{
	struct gt_conn *c = call->conn;
	const struct gt_problem_kind *kind = gt_problem_kind(why->slug);
	struct gt_problem p = { .kind = kind ? kind : gt_problem_kind("internal"),
				.detail = why->detail,
				.path = why->path,
				.request_id = call->request_id,
				.retry_after_s = why->retry_after_s,
				.end = why->end,
				.limit = why->limit };
	struct iovec last = { (char *)"0\r\n\r\n", 5 };
	gt_auto(buf) struct gt_buf json = { 0 };

	if (call->sse->through) { /* inside an event */
		gt_relay_cut(call);
		return;
	}
	if (call->state < GT_CALL_STREAM)
		gt_gw_count_refusal(call->gw, call->counted ? call->fn : NULL, why->slug);
	gt_problem_write_openai(&p, &json);
	call->status = p.kind->status;
	c->keep = c->keep && call->req_done;
	if (send_event(call, &json) < 0 || gt_outq_add(&c->x->out, &last, 1) < 0) {
		gt_relay_cut(call);
		return;
	}
	gt_call_finish(call);
	gt_conn_kick(c);
}
