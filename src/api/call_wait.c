/* api/call_wait.c - who waits for the end of a durable call, and who follows what happens to it.
 * Control says that a call has changed; what it is then, the store is asked. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include <gantry/base/units.h>

#include "calls.h"

struct gt_call_watch {
	struct gt_owed owed; /* while it asks */
	struct gt_api *api;
	char id[GT_TASK_ID_MAX + 1];
	struct gt_request *req;   /* NULL: the client is gone, or follows by the stream */
	struct gt_stream *stream; /* NULL: it waits, or is gone */
	enum gt_wait_for what;
	bool asking;      /* the store owes an answer */
	bool changed;     /* since it was asked */
	bool expired;     /* what there is will do */
	uint64_t sent;    /* events */
	uint32_t running; /* the attempt that was told to run; its replica: */
	char replica[GT_ULID_LEN + 1];
	struct gt_timer timer;
	struct gt_call_watch *prev, *next; /* of the same call */
};

struct gt_watched { /* a call that somebody watches */
	char id[GT_TASK_ID_MAX + 1];
	struct gt_call_watch *watches;
	UT_hash_handle hh;
};

static void ask(struct gt_call_watch *w);

static void watch_add(struct gt_call_watch *w)
{
	struct gt_watched *of = NULL;

	HASH_FIND_STR(w->api->watched, w->id, of);
	if (!of) {
		of = gt_alloc(sizeof(*of));
		gt_strcopy(of->id, sizeof(of->id), w->id);
		HASH_ADD_STR(w->api->watched, id, of);
	}
	DL_APPEND(of->watches, w);
}

/* The store may still owe it an answer; then that frees it, or the API's end. */
static void watch_end(struct gt_call_watch *w)
{
	struct gt_watched *of = NULL;

	gt_timer_clear(w->api->config.loop, &w->timer);
	HASH_FIND_STR(w->api->watched, w->id, of);
	DL_DELETE(of->watches, w);
	if (!of->watches) {
		HASH_DEL(w->api->watched, of);
		free(of);
	}
	w->api = NULL;
	if (!w->asking)
		free(w);
}

void gt_api_on_task(struct gt_api *api, const char *id)
{
	struct gt_watched *of = NULL;
	struct gt_call_watch *w, *next;

	gt_api_hooks_kick(api);
	if (api->watched)
		HASH_FIND_STR(api->watched, id, of);
	if (!of)
		return;
	DL_FOREACH_SAFE (of->watches, w, next) {
		w->changed = true;
		ask(w);
	}
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void on_gone(void *arg)
{
	struct gt_call_watch *w = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(w->req, &err);
	w->req = NULL;
	watch_end(w);
}

static void on_expiry(void *arg)
{
	struct gt_call_watch *w = arg;

	w->expired = true;
	ask(w);
}

static void wait_answer(struct gt_call_watch *w, struct gt_task_op *op)
{
	struct gt_request *req = gt_steal(&w->req);

	gt_request_on_gone(req, NULL, NULL);
	watch_end(w);
	if (op->verb == GT_TASK_RESULT)
		gt_api_reply_result(req, op);
	else
		gt_api_reply_call(req, 200, &op->tasks[0], op->attempts, op->n_attempts);
}

/* ---- following ------------------------------------------------------------------------------ */

static void on_close(void *arg)
{
	struct gt_call_watch *w = arg;

	w->stream = NULL;
	watch_end(w);
}

static bool send(struct gt_call_watch *w, const char *data, size_t len)
{
	if (gt_stream_write(w->stream, data, len) == 0)
		return true;
	gt_stream_end(gt_steal(&w->stream));
	watch_end(w);
	return false;
}

static void on_heartbeat(void *arg)
{
	struct gt_call_watch *w = arg;
	static const char beat[] = ": alive\n\n";

	if (send(w, beat, sizeof(beat) - 1))
		gt_timer_set(w->api->config.loop, &w->timer, GT_HEARTBEAT_MS, on_heartbeat, w);
}

static void event_write(struct gt_buf *out, const struct gt_task_op *op, uint64_t number)
{
	const struct gt_task *t = &op->tasks[0];
	gt_auto(buf) struct gt_buf json = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &json);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "call", t->id);
	if (number == 1) {
		gt_json_str(&j, "event", "accepted");
		gt_view_time(&j, "time", t->created_ms);
	} else if (number <= op->n_attempts + 1) {
		gt_json_str(&j, "event", "attempt");
		gt_view_time(&j, "time", op->attempts[number - 2].ended_ms);
		gt_view_attempt(&j, "attempt", &op->attempts[number - 2]);
	} else {
		gt_json_str(&j, "event", gt_task_state_name(t->state));
		gt_view_time(&j, "time", t->ended_ms);
	}
	gt_json_close(&j, '}');
	gt_api_frame(out, true, number, gt_buf_str(&json), json.len);
}

/* That a replica has it is told while it is so, and has no number: nobody can read it later. */
static void running_write(struct gt_call_watch *w, const struct gt_task *t, struct gt_buf *out)
{
	const struct gt_task_start *s = gt_control_task_start(w->api->config.control, t->seq,
							      t->attempt);
	gt_auto(buf) struct gt_buf json = { 0 };
	struct gt_json j;

	if (t->state != GT_TASK_RUNNING || !s ||
	    (w->running == s->attempt && gt_streq(w->replica, s->replica)))
		return;
	w->running = s->attempt;
	gt_strcopy(w->replica, sizeof(w->replica), s->replica);
	gt_json_begin(&j, &json);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "call", t->id);
	gt_json_str(&j, "event", "running");
	gt_view_time(&j, "time", s->started_ms);
	gt_view_start(&j, "running", s);
	gt_json_close(&j, '}');
	gt_buf_addf(out, "data: %s\n\n", gt_buf_str(&json));
}

/* 1 is that it was accepted, the next are attempts in their order, the last is its end: the same
 * numbers whenever they are read, so that a reader can go on after any of them. */
static void follow_answer(struct gt_call_watch *w, const struct gt_task_op *op)
{
	bool ended = gt_task_ended(op->tasks[0].state);
	uint64_t n = 1 + op->n_attempts + ended;
	gt_auto(buf) struct gt_buf out = { 0 };

	while (w->sent < n)
		event_write(&out, op, ++w->sent);
	running_write(w, &op->tasks[0], &out);
	if (out.len && !send(w, gt_buf_str(&out), out.len))
		return;
	if (!ended)
		return;
	gt_stream_end(gt_steal(&w->stream));
	watch_end(w);
}

/* ---- both ----------------------------------------------------------------------------------- */

static void fail(struct gt_call_watch *w, const struct gt_err *err)
{
	struct gt_request *req = gt_steal(&w->req);

	if (w->stream)
		gt_stream_end(gt_steal(&w->stream));
	watch_end(w);
	if (!req)
		return;
	gt_request_on_gone(req, NULL, NULL);
	gt_api_fail(req, err);
}

/* Before the first answer of the store nobody knows whether the call exists. */
static void follow_begin(struct gt_call_watch *w)
{
	struct gt_request *req = gt_steal(&w->req);

	gt_request_on_gone(req, NULL, NULL);
	gt_request_header_set(req, "Cache-Control", "no-store");
	gt_request_header_set(req, "X-Accel-Buffering", "no");
	w->stream = gt_request_stream(req, 200, GT_MEDIA_SSE);
	gt_stream_on_close(w->stream, on_close, w);
	gt_timer_set(w->api->config.loop, &w->timer, GT_HEARTBEAT_MS, on_heartbeat, w);
}

#define FOLLOWS ((enum gt_wait_for)2)

static void on_asked(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_call_watch *w = arg;

	gt_api_owe_end(&w->owed);
	w->asking = false;
	if (!w->api) { /* nobody is left */
		free(w);
	} else if (err) {
		fail(w, err);
	} else if (w->what == FOLLOWS) {
		bool changed = w->changed;

		if (!w->stream)
			follow_begin(w);
		if (changed)
			ask(w);
		follow_answer(w, op);
	} else if (gt_task_ended(op->tasks[0].state) || w->expired) {
		wait_answer(w, op);
	} else if (w->changed) {
		ask(w);
	}
	gt_task_op_free(op);
}

static void drop(struct gt_owed *o)
{
	free(o); /* it has ended */
}

static void ask(struct gt_call_watch *w)
{
	struct gt_task_op *op;
	struct gt_err err = { 0 };

	if (w->asking)
		return;
	op = gt_task_op_new(w->what == GT_WAIT_RESULT ? GT_TASK_RESULT : GT_TASK_GET);
	gt_strcopy(op->id, sizeof(op->id), w->id);
	w->asking = true;
	gt_api_owe(w->api, &w->owed, drop);
	w->changed = false;
	if (gt_control_task(w->api->config.control, op, on_asked, w, &err) == 0)
		return;
	gt_task_op_free(op);
	gt_api_owe_end(&w->owed);
	w->asking = false;
	fail(w, &err);
}

static struct gt_call_watch *watch_new(struct gt_api *api, struct gt_request *req, const char *id,
				       enum gt_wait_for what)
{
	struct gt_call_watch *w = gt_alloc(sizeof(*w));

	w->api = api;
	w->req = req;
	w->what = what;
	gt_strcopy(w->id, sizeof(w->id), id);
	watch_add(w);
	gt_request_on_gone(req, on_gone, w);
	return w;
}

void gt_api_wait_start(struct gt_api *api, struct gt_request *req, const char *id,
		       enum gt_wait_for what, uint64_t wait_ms)
{
	struct gt_call_watch *w = watch_new(api, req, id, what);

	w->expired = wait_ms == 0;
	if (wait_ms)
		gt_timer_set(api->config.loop, &w->timer, wait_ms, on_expiry, w);
	ask(w);
}

void gt_api_follow_call(struct gt_request *req, void *app)
{
	static const char *const known[] = { "after", NULL };
	const char *last = gt_request_header(req, "Last-Event-ID");
	uint64_t after = 0;
	struct gt_call_watch *w;

	if (!gt_api_query(req, known) || !gt_api_number(req, "after", 0, UINT32_MAX, &after))
		return;
	if (last)
		(void)!gt_parse_u64(last, UINT32_MAX, &after);
	w = watch_new(app, req, gt_request_param(req, "call"), FOLLOWS);
	w->sent = after;
	ask(w);
}

void gt_api_watches_end(struct gt_api *api)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, ESHUTDOWN, "unavailable", "the daemon stops");
	while (api->watched)
		fail(api->watched->watches, &err);
}
