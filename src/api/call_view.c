/* api/call_view.c - durable calls and their results, as clients are shown them. */
#include <string.h>

#include <gantry/http/digest.h>

#include "calls.h"

static const char *const priorities[GT_TASK_CLASSES] = { "high", "normal", "low" };

void gt_view_attempt(struct gt_json *j, const char *name, const struct gt_task_attempt *a)
{
	gt_json_object(j, name);
	gt_json_u64(j, "attempt", a->attempt);
	if (a->status)
		gt_json_i64(j, "status", a->status);
	if (a->slug[0])
		gt_json_str(j, "reason", a->slug);
	if (a->detail)
		gt_json_str(j, "detail", a->detail);
	if (a->replica[0])
		gt_json_str(j, "replica", a->replica);
	if (a->revision)
		gt_json_u64(j, "revision", a->revision);
	gt_json_str(j, "gateway", a->gateway);
	gt_json_u64(j, "epoch", a->epoch);
	gt_view_time(j, "started", a->started_ms);
	gt_view_time(j, "ended", a->ended_ms);
	gt_json_u64(j, "queue_ms", a->wait_ms - GT_MIN(a->start_ms, a->wait_ms));
	gt_json_u64(j, "start_ms", a->start_ms);
	gt_json_u64(j, "run_ms", a->ended_ms - GT_MIN(a->started_ms, a->ended_ms));
	gt_json_close(j, '}');
}

void gt_view_start(struct gt_json *j, const char *name, const struct gt_task_start *s)
{
	gt_json_object(j, name);
	gt_json_u64(j, "attempt", s->attempt);
	gt_json_str(j, "replica", s->replica);
	gt_json_u64(j, "revision", s->revision);
	gt_json_str(j, "gateway", s->gateway);
	gt_view_time(j, "started", s->started_ms);
	gt_json_close(j, '}');
}

static void write_request(struct gt_json *j, const struct gt_task *t)
{
	gt_json_object(j, "request");
	gt_json_str(j, "method", t->method);
	gt_json_str(j, "path", t->path);
	if (t->content_type)
		gt_json_str(j, "content_type", t->content_type);
	gt_json_u64(j, "body_bytes", t->body.len);
	gt_json_close(j, '}');
}

void gt_view_call(struct gt_json *j, const struct gt_task *t,
		  const struct gt_task_attempt *attempts, size_t n)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "id", t->id);
	gt_json_str(j, "function", t->function);
	gt_json_str(j, "state", gt_task_state_name(t->state));
	gt_json_str(j, "priority", priorities[t->priority % GT_TASK_CLASSES]);
	gt_json_u64(j, "attempt", t->attempt);
	if (t->status)
		gt_json_i64(j, "status", t->status);
	if (t->slug[0])
		gt_json_str(j, "reason", t->slug);
	if (t->key)
		gt_json_str(j, "key", t->key);
	if (t->batch[0])
		gt_json_str(j, "batch", t->batch);
	if (t->schedule[0])
		gt_json_str(j, "schedule", t->schedule);
	gt_view_time(j, "scheduled", t->slot_ms);
	write_request(j, t);
	gt_view_time(j, "created", t->created_ms);
	if (t->state == GT_TASK_WAITING)
		gt_view_time(j, "due", t->due_ms);
	if (t->attempt)
		gt_view_time(j, "leased", t->leased_ms);
	if (!gt_task_ended(t->state))
		gt_view_time(j, "deadline", t->deadline_ms);
	gt_view_time(j, "ended", t->ended_ms);
	gt_view_time(j, "expires", t->expires_ms);
	if (attempts) {
		gt_json_array(j, "attempts");
		for (size_t i = 0; i < n; i++)
			gt_view_attempt(j, NULL, &attempts[i]);
		gt_json_close(j, ']');
	}
	gt_json_close(j, '}');
}

static void location_set(struct gt_request *req, const char *id)
{
	gt_auto(free) char *location = gt_asprintf("/v1/calls/%s", id);

	gt_request_header_set(req, "Location", location);
}

void gt_api_reply_call(struct gt_request *req, int status, const struct gt_task *t,
		       const struct gt_task_attempt *attempts, size_t n)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_view_call(&j, t, attempts, n);
	gt_request_header_set(req, "Gantry-Call-Id", t->id);
	if (status == 202) {
		location_set(req, t->id);
		gt_request_header_set(req, "Retry-After", "1");
	}
	gt_api_reply(req, status, &body);
}

/* Nothing answered the call: the problem that ended it. */
static void reply_no_answer(struct gt_request *req, const struct gt_task_op *op)
{
	const struct gt_task *t = &op->tasks[0];
	const struct gt_task_attempt *last = op->n_attempts ? &op->attempts[op->n_attempts - 1]
							    : NULL;
	struct gt_err err = { 0 };

	gt_err_set(&err, EIO, t->slug[0] ? t->slug : "internal",
		   "call %s is %s after %u attempts%s%s", t->id, gt_task_state_name(t->state),
		   t->attempt, last && last->detail ? ": " : "",
		   last && last->detail ? last->detail : "");
	gt_api_fail(req, &err);
}

void gt_api_reply_result(struct gt_request *req, struct gt_task_op *op)
{
	const struct gt_task *t = &op->tasks[0];
	struct gt_task_result *r = op->n_results ? &op->results[0] : NULL;
	struct gt_buf body = { 0 };
	char attempt[16];

	if (!gt_task_ended(t->state)) {
		gt_api_reply_call(req, 202, t, op->attempts, op->n_attempts);
		return;
	}
	gt_request_header_set(req, "Gantry-Call-Id", t->id);
	if (!r || !r->status) {
		reply_no_answer(req, op);
		return;
	}
	snprintf(attempt, sizeof(attempt), "%u", r->attempt);
	gt_request_header_set(req, "Gantry-Attempt", attempt);
	location_set(req, t->id);
	body = (struct gt_buf){ .data = r->body.data, .len = r->body.len, .cap = r->body.len + 1 };
	r->body = (struct gt_blob){ 0 };
	gt_request_reply(req, r->status,
			 r->content_type ? r->content_type : "application/octet-stream", &body);
}

void gt_api_call_digest(const struct gt_task *t, char out[GT_TASK_PRINT_SIZE])
{
	gt_auto(buf) struct gt_buf head = { 0 };
	char hex[GT_SHA256_HEX_SIZE], body[GT_SHA256_HEX_SIZE];

	gt_sha256_hex(t->body.data ? t->body.data : "", t->body.len, body);
	gt_buf_addf(&head, "%s\n%s\n%s\n%s\n%s", t->function, t->method, t->path,
		    t->content_type ? t->content_type : "", body);
	gt_sha256_hex(gt_buf_str(&head), head.len, hex);
	gt_strcopy(out, GT_TASK_PRINT_SIZE, hex);
}
