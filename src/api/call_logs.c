/* api/call_logs.c - what an attempt of a durable call wrote: the lines of its replica between its
 * start and its end. Nothing marks lines as one call's, so where a replica serves several at once
 * they may be of others; the answer says which it is. */
#include <string.h>

#include <gantry/base/units.h>

#include "calls.h"

#define LATE_MS      50 /* the node reads when it can; what it knows to have waited longer it finds */
#define TAIL_DEFAULT 1000

struct question {
	struct gt_owed owed;
	struct gt_api *api;
	struct gt_request *req; /* NULL: the client is gone */
	uint64_t attempt, tail, after;
	bool printed; /* only lines with the call's id in them */
	const char *stream;
};

/* Which attempt, of which replica, from when to when. */
struct span {
	uint32_t attempt, revision;
	const char *replica;
	uint64_t from_ms, to_ms; /* to 0: it goes on */
};

static void span_of(const struct question *q, const struct gt_task_op *op, struct span *ret)
{
	const struct gt_task *t = &op->tasks[0];
	const struct gt_task_start *s = gt_control_task_start(q->api->config.control, t->seq,
							      t->attempt);

	*ret = (struct span){ 0 };
	for (size_t i = 0; i < op->n_attempts; i++) {
		const struct gt_task_attempt *a = &op->attempts[i];

		if (a->replica[0] && (!q->attempt || a->attempt == q->attempt))
			*ret = (struct span){ a->attempt, a->revision, a->replica, a->started_ms,
					      a->ended_ms + LATE_MS };
	}
	if (t->state == GT_TASK_RUNNING && s && (!q->attempt || s->attempt == q->attempt))
		*ret = (struct span){ s->attempt, s->revision, s->replica, s->started_ms, 0 };
}

/* "attempt": all lines are of it; "replica": also those of other calls at the same time. */
static const char *scope_of(const struct question *q, const struct gt_task *t, const struct span *s)
{
	struct gt_function_view v;

	if (gt_control_function(q->api->config.control, t->function, &v, NULL) < 0)
		return "replica";
	return v.row->revision == s->revision && v.spec->scale.concurrency == 1 ? "attempt"
										: "replica";
}

static void answer(struct question *q, const struct gt_task_op *op)
{
	const struct gt_task *t = &op->tasks[0];
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_log_question lines = { .tail = q->tail, .after = q->after };
	struct gt_err err = { 0 };
	char number[GT_U64_SIZE + 1];
	struct span s;

	span_of(q, op, &s);
	if (!s.replica) {
		gt_err_set(&err, ENOENT, "not_found", "no replica has seen %s of call %s",
			   q->attempt ? "this attempt" : "an attempt", t->id);
		gt_api_fail(q->req, &err);
		return;
	}
	gt_buf_addf(&text, "function=%s&replica=%s&since_ms=%llu", t->function, s.replica,
		    (unsigned long long)s.from_ms);
	if (s.to_ms)
		gt_buf_addf(&text, "&until_ms=%llu", (unsigned long long)s.to_ms);
	if (q->stream)
		gt_buf_addf(&text, "&stream=%s", q->stream);
	if (q->printed)
		gt_buf_addf(&text, "&contains=%s", t->id);
	*gt_put_u64(number, s.attempt) = '\0';
	gt_request_header_set(q->req, "Gantry-Call-Id", t->id);
	gt_request_header_set(q->req, "Gantry-Attempt", number);
	gt_request_header_set(q->req, "Gantry-Replica", s.replica);
	gt_request_header_set(q->req, "Gantry-Log-Scope",
			      q->printed ? "printed" : scope_of(q, t, &s));
	lines.replica = s.replica;
	lines.text = gt_buf_str(&text);
	gt_api_logs_answer(q->api, q->req, t->function, &lines);
}

static void on_gone(void *arg)
{
	struct question *q = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(q->req, &err);
	q->req = NULL;
}

static void drop(struct gt_owed *o)
{
	free(o);
}

static void on_found(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct question *q = arg;

	gt_api_owe_end(&q->owed);
	if (q->req)
		gt_request_on_gone(q->req, NULL, NULL);
	if (q->req && err)
		gt_api_fail(q->req, err);
	else if (q->req)
		answer(q, op);
	gt_task_op_free(op);
	free(q);
}

static bool question_read(struct gt_request *req, struct question *q)
{
	static const char *const known[] = {
		"attempt", "tail", "after", "stream", "printed", NULL
	};
	const char *last = gt_request_header(req, "Last-Event-ID");
	struct gt_err err = { 0 };

	q->tail = TAIL_DEFAULT;
	q->stream = gt_request_query(req, "stream");
	if (!gt_api_query(req, known) ||
	    !gt_api_number(req, "attempt", 1, UINT32_MAX, &q->attempt) ||
	    !gt_api_number(req, "tail", 0, GT_LOG_TAIL_MAX, &q->tail) ||
	    !gt_api_number(req, "after", 0, UINT64_MAX, &q->after) ||
	    !gt_api_flag(req, "printed", &q->printed))
		return false;
	if (last) /* nonsense is as good as nothing */
		(void)!gt_parse_u64(last, UINT64_MAX, &q->after);
	if (!q->stream || gt_streq(q->stream, "stdout") || gt_streq(q->stream, "stderr"))
		return true;
	gt_err_set(&err, EINVAL, "bad_parameter", "stream=%.60s: use stdout or stderr", q->stream);
	gt_err_path(&err, "stream");
	gt_api_fail(req, &err);
	return false;
}

void gt_api_get_call_logs(struct gt_request *req, void *app)
{
	struct question *q = gt_alloc(sizeof(*q)), said = { .api = app, .req = req };
	struct gt_task_op *op;
	struct gt_err err = { 0 };

	if (!question_read(req, &said)) {
		free(q);
		return;
	}
	*q = said;
	op = gt_task_op_new(GT_TASK_GET);
	gt_strcopy(op->id, sizeof(op->id), gt_request_param(req, "call"));
	gt_request_on_gone(req, on_gone, q);
	gt_api_owe(q->api, &q->owed, drop);
	if (gt_control_task(q->api->config.control, op, on_found, q, &err) == 0)
		return;
	gt_api_owe_end(&q->owed);
	gt_request_on_gone(req, NULL, NULL);
	gt_task_op_free(op);
	free(q);
	gt_api_fail(req, &err);
}
