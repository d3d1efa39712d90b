/* api/calls.c - durable calls: made, read, cancelled, replayed. None is told to be accepted before
 * it is durable. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>
#include <gantry/control/webhook.h>

#include "calls.h"

#define CURSOR_MAX INT64_MAX

/* Hands the operation to control; a refusal is answered here. */
void gt_call_give(struct gt_op *op, struct gt_task_op *task, gt_task_fn *done)
{
	struct gt_request *req = op->req;
	struct gt_err err = { 0 };

	if (gt_control_task(op->api->config.control, task, done, op, &err) == 0)
		return;
	gt_op_end(op);
	gt_task_op_free(task);
	gt_api_fail(req, &err);
}

/* ---- reading a request ---------------------------------------------------------------------- */

static int bad(struct gt_err *err, const char *name, const char *fmt, const char *value)
{
	gt_err_set(err, EINVAL, "bad_parameter", fmt, value);
	return gt_err_path(err, "%s", name);
}

static int priority_read(struct gt_request *req, struct gt_task *t, struct gt_err *err)
{
	static const char *const names[GT_TASK_CLASSES] = { "high", "normal", "low" };
	const char *s = gt_request_header(req, "Gantry-Priority");

	t->priority = GT_TASK_NORMAL;
	for (uint32_t i = 0; s && i < GT_TASK_CLASSES; i++)
		if (gt_streq(s, names[i])) {
			t->priority = i;
			return 0;
		}
	return s ? bad(err, "Gantry-Priority", "Gantry-Priority: %.40s: use high, normal or low", s)
		 : 0;
}

static int deadline_read(struct gt_request *req, struct gt_task *t, struct gt_err *err)
{
	const char *s = gt_request_header(req, "Gantry-Deadline");
	uint64_t seconds = GT_TASK_DEADLINE_MS / 1000;

	if (s && (gt_parse_u64(s, GT_TASK_DEADLINE_MAX_MS / 1000, &seconds) < 0 || !seconds))
		return bad(err, "Gantry-Deadline",
			   "Gantry-Deadline: %.40s: use whole seconds, 1 to 2592000", s);
	t->created_ms = gt_wall_ms(&gt_clock_system);
	t->deadline_ms = t->created_ms + seconds * 1000;
	return 0;
}

/* A structured string in quotes, as the draft says, or bare. */
int gt_api_call_key(struct gt_request *req, struct gt_task *t, struct gt_err *err)
{
	const char *s = gt_request_header(req, "Idempotency-Key");
	size_t len = s ? strlen(s) : 0;

	if (!s)
		return 0;
	if (len >= 2 && s[0] == '"' && s[len - 1] == '"') {
		s++;
		len -= 2;
	}
	if (len == 0 || len > GT_TASK_KEY_MAX)
		return bad(err, "Idempotency-Key", "Idempotency-Key: use 1 to 255 characters%s",
			   "");
	t->key = gt_strndup(s, len);
	return 0;
}

/* Seconds that the client will wait for the result: 0 = only for the acceptance. */
static int prefer_read(struct gt_request *req, uint64_t *wait_s, struct gt_err *err)
{
	const char *s = gt_request_header(req, "Prefer");
	char number[8];
	size_t len;

	*wait_s = GT_CALL_WAIT_DEFAULT_S;
	for (; s && *s; s += strcspn(s, ","), s += strspn(s, ", \t")) {
		if (strncasecmp(s, "respond-async", 13) == 0) {
			*wait_s = 0;
		} else if (strncasecmp(s, "wait=", 5) == 0) {
			len = strcspn(s + 5, ",; \t");
			snprintf(number, sizeof(number), "%.*s", (int)GT_MIN(len, 7), s + 5);
			if (gt_parse_u64(number, GT_CALL_WAIT_MAX_S, wait_s) < 0)
				return bad(err, "Prefer",
					   "Prefer: wait=%.20s: use whole seconds, 0 to 3600",
					   s + 5);
		} /* other preferences may be passed over: RFC 7240 */
	}
	return 0;
}

static int request_read(struct gt_request *req, struct gt_task *t, struct gt_err *err)
{
	const char *method = gt_request_query(req, "method"), *path = gt_request_query(req, "path");
	const char *type = gt_request_header(req, "Content-Type");

	if (method && !gt_task_method_ok(method))
		return bad(err, "method", "method=%.20s: use POST, GET, PUT, PATCH or DELETE",
			   method);
	if (path && !gt_task_path_ok(path))
		return bad(err, "path",
			   "path=%.100s: use what follows /f/FUNCTION in a URL, from its / on",
			   path);
	if (type && strlen(type) > GT_TASK_TYPE_MAX)
		return bad(err, "Content-Type", "Content-Type is longer than 255 bytes%s", "");
	gt_strcopy(t->method, sizeof(t->method), method ? method : "POST");
	t->path = gt_strdup(path ? path : "/");
	t->content_type = gt_strdup(type);
	return 0;
}

static int callback_read(const struct gt_api *api, struct gt_request *req, struct gt_task *t,
			 struct gt_err *err)
{
	const char *url = gt_request_header(req, "Gantry-Callback");

	if (!url)
		return 0;
	if (!gt_control_webhook_keys(api->config.control)->n ||
	    strlen(url) > GT_TASK_CALLBACK_MAX || !gt_outbound_url_ok(url))
		return bad(err, "Gantry-Callback",
			   "Gantry-Callback: %.100s: use an http:// or https:// URL without a user",
			   url);
	t->callback = gt_strdup(url);
	return 0;
}

static int task_read(struct gt_api *api, struct gt_request *req, const char *function,
		     const char *id, struct gt_task *t, struct gt_err *err)
{
	int r = request_read(req, t, err);

	if (r == 0)
		r = priority_read(req, t, err);
	if (r == 0)
		r = deadline_read(req, t, err);
	if (r == 0)
		r = gt_api_call_key(req, t, err);
	if (r == 0)
		r = callback_read(api, req, t, err);
	if (r == 0 && id && !gt_task_id_ok(id))
		r = bad(err, "call",
			"call: \"%.80s\" is no id: use up to 64 letters, digits, - and _", id);
	if (r < 0)
		return r;
	gt_strcopy(t->function, sizeof(t->function), function);
	if (id) {
		gt_strcopy(t->id, sizeof(t->id), id);
		t->named = true;
		free(gt_steal(&t->key)); /* the id is one already */
	} else {
		gt_ulid(&gt_clock_system, &gt_rand_system, t->id);
	}
	t->body.data = gt_request_take_body(req, &t->body.len);
	if (t->named || t->key)
		gt_api_call_digest(t, t->print);
	return 0;
}

/* ---- accepting ------------------------------------------------------------------------------ */

static void reply_mismatch(struct gt_request *req, const struct gt_task *t)
{
	struct gt_err err = { 0 };

	if (t->named)
		gt_err_set(&err, EEXIST, "idempotency_mismatch",
			   "call %s exists already, and is another request", t->id);
	else
		gt_err_set(&err, EEXIST, "idempotency_mismatch",
			   "Idempotency-Key \"%.80s\" belongs to another request to %s", t->key,
			   t->function);
	gt_api_fail(req, &err);
}

static void on_accepted(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;
	struct gt_api *api = op->api;
	uint64_t wait_ms = op->wait_ms;
	struct gt_request *req = gt_op_end(op);
	const struct gt_task *t = &task->tasks[0];

	if (req && !err && t->taken == GT_TAKEN_BEFORE)
		gt_request_header_set(req, "Idempotent-Replay", "true");
	if (!req)
		;
	else if (err)
		gt_api_fail(req, err);
	else if (t->taken == GT_TAKEN_MISMATCH)
		reply_mismatch(req, t);
	else if (wait_ms)
		gt_api_wait_start(api, req, t->id, GT_WAIT_RESULT, wait_ms);
	else
		gt_api_reply_call(req, 202, t, NULL, 0);
	gt_task_op_free(task);
}

void gt_api_call_submit(struct gt_api *api, struct gt_request *req, struct gt_task_op *task,
			uint64_t wait_ms)
{
	struct gt_op *op = gt_op_new(api, req);

	op->wait_ms = wait_ms;
	gt_call_give(op, task, on_accepted);
}

static void submit(struct gt_api *api, struct gt_request *req, const char *function, const char *id)
{
	struct gt_function_view v;
	struct gt_err err = { 0 };
	struct gt_task_op *task;
	uint64_t wait_s;

	if (gt_control_function(api->config.control, function, &v, &err) < 0 ||
	    prefer_read(req, &wait_s, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	task = gt_task_op_new(GT_TASK_ACCEPT);
	if (task_read(api, req, v.row->name, id, gt_task_op_add(task), &err) < 0) {
		gt_task_op_free(task);
		gt_api_fail(req, &err);
		return;
	}
	if (gt_request_header(req, "Prefer"))
		gt_request_header_set(req, "Preference-Applied", wait_s ? "wait" : "respond-async");
	gt_api_call_submit(api, req, task, wait_s * 1000);
}

void gt_api_create_call(struct gt_request *req, void *app)
{
	static const char *const known[] = { "path", "method", NULL };

	if (gt_api_query(req, known))
		submit(app, req, gt_request_param(req, "function"), NULL);
}

void gt_api_put_call(struct gt_request *req, void *app)
{
	static const char *const known[] = { "function", "path", "method", NULL };
	const char *function = gt_request_query(req, "function");
	struct gt_err err = { 0 };

	if (!gt_api_query(req, known))
		return;
	if (function) {
		submit(app, req, function, gt_request_param(req, "call"));
		return;
	}
	bad(&err, "function", "function: say which one is to be called: ?function=NAME%s", "");
	gt_api_fail(req, &err);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void get(struct gt_request *req, void *app, enum gt_wait_for what)
{
	static const char *const known[] = { "wait", NULL };
	uint64_t wait_ms = 0;

	if (gt_api_query(req, known) &&
	    gt_api_duration(req, "wait", GT_CALL_WAIT_MAX_S * 1000ULL, &wait_ms))
		gt_api_wait_start(app, req, gt_request_param(req, "call"), what, wait_ms);
}

void gt_api_get_call(struct gt_request *req, void *app)
{
	get(req, app, GT_WAIT_CALL);
}

void gt_api_get_call_result(struct gt_request *req, void *app)
{
	get(req, app, GT_WAIT_RESULT);
}

static void on_listed(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	static const char *const keep[] = {
		"limit", "function", "batch", "schedule", "state", NULL
	};
	struct gt_request *req = gt_op_end(arg);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;
	char cursor[24] = "";

	if (req && err) {
		gt_api_fail(req, err);
	} else if (req) {
		gt_json_begin(&j, &body);
		gt_json_object(&j, NULL);
		gt_json_array(&j, "items");
		for (size_t i = 0; i < task->n_tasks; i++)
			gt_view_call(&j, &task->tasks[i], NULL, 0);
		gt_json_close(&j, ']');
		if (task->more)
			snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)task->before);
		gt_json_str(&j, "next_cursor", task->more ? cursor : NULL);
		gt_json_close(&j, '}');
		if (task->more)
			gt_api_link_next(req, keep, cursor);
		gt_api_reply(req, 200, &body);
	}
	gt_task_op_free(task);
}

/* "failed,expired" */
static int states_read(const char *s, unsigned *ret, struct gt_err *err)
{
	*ret = 0;
	for (; s && *s; s += strcspn(s, ","), s += *s == ',') {
		size_t len = strcspn(s, ",");
		unsigned i = 0;

		while (i < GT_TASK_N && (strlen(gt_task_state_name(i)) != len ||
					 strncmp(gt_task_state_name(i), s, len) != 0))
			i++;
		if (i == GT_TASK_N)
			return bad(err, "state",
				   "state=%.60s: use queued, waiting, running, succeeded, failed, "
				   "cancelled or expired, with commas between",
				   s);
		*ret |= 1U << i;
	}
	*ret = *ret ? *ret : (1U << GT_TASK_N) - 1;
	return 0;
}

static void list(struct gt_api *api, struct gt_request *req, const char *function)
{
	const char *batch = gt_request_query(req, "batch");
	const char *schedule = gt_request_query(req, "schedule");
	struct gt_task_op *task = gt_task_op_new(GT_TASK_LIST);
	struct gt_err err = { 0 };

	task->limit = GT_LIST_DEFAULT;
	if (!gt_api_number(req, "limit", 1, GT_LIST_MAX, &task->limit) ||
	    !gt_api_number(req, "cursor", 0, CURSOR_MAX, &task->before)) {
		gt_task_op_free(task);
		return;
	}
	if (states_read(gt_request_query(req, "state"), &task->states, &err) < 0) {
		gt_task_op_free(task);
		gt_api_fail(req, &err);
		return;
	}
	gt_strcopy(task->function, sizeof(task->function), function ? function : "");
	gt_strcopy(task->batch, sizeof(task->batch), batch ? batch : "");
	gt_strcopy(task->schedule, sizeof(task->schedule), schedule ? schedule : "");
	gt_call_give(gt_op_new(api, req), task, on_listed);
}

void gt_api_list_calls(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit",    "cursor", "function", "batch",
					     "schedule", "state",  NULL };

	if (gt_api_query(req, known))
		list(app, req, gt_request_query(req, "function"));
}

void gt_api_list_function_calls(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit", "cursor", "state", NULL };

	if (gt_api_query(req, known))
		list(app, req, gt_request_param(req, "function"));
}

/* ---- changing ------------------------------------------------------------------------------- */

static void on_changed(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	int status = ((struct gt_op *)arg)->status;
	struct gt_request *req = gt_op_end(arg);

	if (req && err)
		gt_api_fail(req, err);
	else if (req)
		gt_api_reply_call(req, status, &task->tasks[0], NULL, 0);
	gt_task_op_free(task);
}

static void change(struct gt_request *req, void *app, enum gt_task_verb verb, int status)
{
	struct gt_task_op *task;
	struct gt_op *op;

	if (!gt_api_query(req, (const char *const[]){ NULL }))
		return;
	task = gt_task_op_new(verb);
	gt_strcopy(task->id, sizeof(task->id), gt_request_param(req, "call"));
	op = gt_op_new(app, req);
	op->status = status;
	gt_call_give(op, task, on_changed);
}

void gt_api_cancel_call(struct gt_request *req, void *app)
{
	change(req, app, GT_TASK_CANCEL, 200);
}

void gt_api_replay_call(struct gt_request *req, void *app)
{
	change(req, app, GT_TASK_REPLAY, 202);
}
