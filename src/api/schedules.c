/* api/schedules.c - calls that are made by the clock: said, read, paused, and made at once. */
#include <stdlib.h>
#include <string.h>

#include <gantry/control/schedule.h>
#include <gantry/control/webhook.h>
#include <gantry/http/digest.h>

#include "calls.h"

static const char *const no_query[] = { NULL };

/* ---- shown ---------------------------------------------------------------------------------- */

static void write_last(struct gt_json *j, const struct gt_schedule *s)
{
	char id[GT_TASK_ID_MAX + 1];

	if (s->fired_ms) {
		gt_schedule_call_id(s->name, s->fired_ms, id);
		gt_json_object(j, "last");
		gt_view_time(j, "due", s->fired_ms);
		gt_json_str(j, "call", id);
		gt_json_close(j, '}');
	}
	if (s->passed_ms) {
		gt_json_object(j, "passed");
		gt_view_time(j, "due", s->passed_ms);
		gt_json_str(j, "reason", s->reason);
		gt_json_close(j, '}');
	}
}

static void write_next(struct gt_json *j, struct gt_control *control, const struct gt_schedule *s)
{
	uint64_t at_ms[GT_SCHEDULE_TIMES];
	size_t n = gt_control_schedule_times(control, s, at_ms);
	char text[GT_TIME_TEXT];

	gt_json_array(j, "next");
	for (size_t i = 0; i < n; i++) {
		gt_time_text(at_ms[i], text);
		gt_json_str(j, NULL, text);
	}
	gt_json_close(j, ']');
}

/* Leaves the object open. control NULL: without its next times. */
static void view_begin(struct gt_json *j, struct gt_control *control, const struct gt_schedule *s)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "name", s->name);
	gt_json_str(j, "function", s->call.function);
	gt_json_bool(j, "paused", s->paused);
	if (!s->paused)
		gt_view_time(j, "due", s->next_ms);
	if (control)
		write_next(j, control, s);
	write_last(j, s);
	gt_view_time(j, "created_at", s->created_ms);
	gt_view_time(j, "updated_at", s->updated_ms);
	gt_json_str(j, "etag", s->etag);
	gt_schedule_write(s, j, "spec");
}

static void show(struct gt_request *req, struct gt_control *control, const struct gt_schedule *s)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	view_begin(&j, control, s);
	gt_json_close(&j, '}');
	gt_view_etag_header(req, s->etag);
	gt_api_reply(req, 200, &body);
}

/* ---- said ----------------------------------------------------------------------------------- */

static void show_put(struct gt_request *req, struct gt_control *control,
		     const struct gt_schedule *s, bool dry_run)
{
	static const char *const outcomes[] = { [GT_SCHEDULE_CREATED] = "created",
						[GT_SCHEDULE_CHANGED] = "changed",
						[GT_SCHEDULE_UNCHANGED] = "unchanged" };
	bool created = s->outcome == GT_SCHEDULE_CREATED && !dry_run;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	view_begin(&j, control, s);
	gt_json_str(&j, "outcome", outcomes[s->outcome]);
	gt_json_bool(&j, "dry_run", dry_run);
	gt_json_close(&j, '}');
	gt_view_etag_header(req, s->etag);
	if (created)
		gt_request_header_set(req, "Location", gt_request_path(req));
	gt_api_reply(req, created ? 201 : 200, &body);
}

static void show_outcome(struct gt_request *req, struct gt_control *control,
			 const struct gt_schedule *s)
{
	show_put(req, control, s, false);
}

/* Answers with what the store says of one. */
static void end(struct gt_task_op *task, const struct gt_err *err, void *arg,
		void (*say)(struct gt_request *, struct gt_control *, const struct gt_schedule *))
{
	struct gt_control *control = ((struct gt_op *)arg)->api->config.control;
	struct gt_request *req = gt_op_end(arg);

	if (req && err)
		gt_api_fail(req, err);
	else if (req)
		say(req, control, &task->schedules[0]);
	gt_task_op_free(task);
}

static void on_put(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	end(task, err, arg, show_outcome);
}

/* What a put would do to it: s is what was said, the store's answer what there is. */
static void on_dry_run(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	struct gt_control *control = ((struct gt_op *)arg)->api->config.control;
	struct gt_request *req = gt_op_end(arg);
	struct gt_schedule *old = &task->schedules[0], *said = &task->schedules[1];
	bool missing = err && gt_streq(err->slug, "schedule_not_found");

	said->outcome = missing                           ? GT_SCHEDULE_CREATED
			: gt_streq(old->etag, said->etag) ? GT_SCHEDULE_UNCHANGED
							  : GT_SCHEDULE_CHANGED;
	said->paused = !missing && old->paused;
	if (req && err && !missing)
		gt_api_fail(req, err);
	else if (req)
		show_put(req, control, said, true);
	gt_task_op_free(task);
}

/* One tag, in quotes or bare. */
static char *tag_read(struct gt_request *req)
{
	const char *s = gt_request_header(req, "If-Match");
	size_t len;

	if (!s)
		return NULL;
	if (strncmp(s, "W/", 2) == 0)
		s += 2;
	s += *s == '"';
	len = strcspn(s, "\" \t,");
	return gt_strndup(s, len);
}

static int name_read(struct gt_request *req, struct gt_schedule *s, struct gt_err *err)
{
	const char *name = gt_request_param(req, "schedule");

	if (!gt_schedule_name_ok(name)) {
		gt_err_set(err, EINVAL, "bad_parameter",
			   "schedule: \"%.80s\" is not a name; use up to %d of a-z, 0-9 and -, "
			   "with no - at either end",
			   name, GT_SCHEDULE_NAME_MAX);
		return gt_err_path(err, "schedule");
	}
	gt_strcopy(s->name, sizeof(s->name), name);
	return 0;
}

static int said_read(const struct gt_api *api, struct gt_request *req, struct gt_schedule *s,
		     struct gt_err *err)
{
	const struct gt_buf *body = gt_request_body(req);
	const char *url;
	int r = name_read(req, s, err);

	if (r == 0)
		r = gt_schedule_read(body->data ? body->data : "", body->len, s, err);
	if (r < 0)
		return r;
	url = s->call.callback;
	if (url && (!gt_control_webhook_keys(api->config.control)->n || !gt_outbound_url_ok(url))) {
		gt_err_set(err, EINVAL, "invalid_schedule",
			   "callback: use an http:// or https:// URL without a user");
		return gt_err_path(err, "callback");
	}
	gt_api_call_digest(&s->call, s->call.print);
	return gt_control_schedule_check(api->config.control, s, err);
}

static void etag_set(struct gt_schedule *s)
{
	char digest[GT_SHA256_HEX_SIZE];
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &text);
	gt_schedule_write(s, &j, NULL);
	gt_sha256_hex(gt_buf_str(&text), text.len, digest);
	gt_strcopy(s->etag, sizeof(s->etag), digest);
}

void gt_api_put_schedule(struct gt_request *req, void *app)
{
	static const char *const known[] = { "dry_run", NULL };
	const char *none = gt_request_header(req, "If-None-Match");
	struct gt_task_op *task;
	struct gt_schedule said = { 0 };
	struct gt_err err = { 0 };
	bool dry_run = false;

	if (!gt_api_query(req, known) || !gt_api_flag(req, "dry_run", &dry_run))
		return;
	if (none && !gt_streq(none, "*"))
		gt_err_set(&err, EINVAL, "bad_parameter",
			   "If-None-Match: only * has a meaning here");
	if (err.code || said_read(app, req, &said, &err) < 0) {
		gt_schedule_fini(&said);
		gt_api_fail(req, &err);
		return;
	}
	etag_set(&said);
	task = gt_task_op_new(dry_run ? GT_TASK_PLAN_GET : GT_TASK_PLAN_PUT);
	if (dry_run)
		gt_strcopy(gt_task_op_plan(task)->name, sizeof(said.name), said.name);
	*gt_task_op_plan(task) = said;
	task->if_match = tag_read(req);
	task->if_none_match = none != NULL;
	gt_call_give(gt_op_new(app, req), task, dry_run ? on_dry_run : on_put);
}

/* ---- read and changed ----------------------------------------------------------------------- */

static void on_shown(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	end(task, err, arg, show);
}

static void on_deleted(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	struct gt_request *req = gt_op_end(arg);

	if (req && err)
		gt_api_fail(req, err);
	else if (req)
		gt_api_reply_deleted(req, "name", task->schedules[0].name);
	gt_task_op_free(task);
}

static struct gt_task_op *named(struct gt_request *req, enum gt_task_verb verb)
{
	struct gt_task_op *task = gt_task_op_new(verb);
	struct gt_err err = { 0 };

	if (name_read(req, gt_task_op_plan(task), &err) == 0)
		return task;
	gt_task_op_free(task);
	gt_api_fail(req, &err);
	return NULL;
}

static void ask(struct gt_request *req, void *app, enum gt_task_verb verb, bool paused,
		gt_task_fn *done)
{
	struct gt_task_op *task;

	if (!gt_api_query(req, no_query))
		return;
	task = named(req, verb);
	if (!task)
		return;
	task->schedules[0].paused = paused;
	task->if_match = tag_read(req);
	gt_call_give(gt_op_new(app, req), task, done);
}

void gt_api_get_schedule(struct gt_request *req, void *app)
{
	ask(req, app, GT_TASK_PLAN_GET, false, on_shown);
}

void gt_api_delete_schedule(struct gt_request *req, void *app)
{
	ask(req, app, GT_TASK_PLAN_DROP, false, on_deleted);
}

void gt_api_pause_schedule(struct gt_request *req, void *app)
{
	ask(req, app, GT_TASK_PLAN_SET, true, on_shown);
}

void gt_api_resume_schedule(struct gt_request *req, void *app)
{
	ask(req, app, GT_TASK_PLAN_SET, false, on_shown);
}

static void on_listed(struct gt_task_op *task, const struct gt_err *err, void *arg)
{
	static const char *const keep[] = { "limit", NULL };
	struct gt_request *req = gt_op_end(arg);
	const char *last = task->n_schedules ? task->schedules[task->n_schedules - 1].name : "";
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	if (req && err) {
		gt_api_fail(req, err);
	} else if (req) {
		gt_json_begin(&j, &body);
		gt_json_object(&j, NULL);
		gt_json_array(&j, "items");
		for (size_t i = 0; i < task->n_schedules; i++) {
			view_begin(&j, NULL, &task->schedules[i]);
			gt_json_close(&j, '}');
		}
		gt_json_close(&j, ']');
		gt_json_str(&j, "next_cursor", task->more ? last : NULL);
		gt_json_close(&j, '}');
		if (task->more)
			gt_api_link_next(req, keep, last);
		gt_api_reply(req, 200, &body);
	}
	gt_task_op_free(task);
}

void gt_api_list_schedules(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit", "cursor", NULL };
	const char *cursor = gt_request_query(req, "cursor");
	uint64_t limit = GT_LIST_DEFAULT;
	struct gt_task_op *task;

	if (!gt_api_query(req, known) || !gt_api_number(req, "limit", 1, GT_LIST_MAX, &limit))
		return;
	task = gt_task_op_new(GT_TASK_PLAN_LIST);
	task->limit = limit;
	gt_strcopy(task->id, sizeof(task->id), cursor ? cursor : "");
	gt_call_give(gt_op_new(app, req), task, on_listed);
}

/* ---- made at once --------------------------------------------------------------------------- */

/* The call of a schedule as it is now, of no due time. */
static void run_now(struct gt_api *api, struct gt_request *req, struct gt_schedule *s)
{
	struct gt_task_op *task = gt_task_op_new(GT_TASK_ACCEPT);
	struct gt_task *t = gt_task_op_add(task);
	struct gt_err err = { 0 };
	struct gt_function_view v;

	*t = s->call;
	s->call = (struct gt_task){ 0 };
	gt_strcopy(t->schedule, sizeof(t->schedule), s->name);
	t->created_ms = gt_wall_ms(&gt_clock_system);
	t->deadline_ms = t->created_ms + (t->deadline_ms ? t->deadline_ms : GT_TASK_DEADLINE_MS);
	gt_ulid(&gt_clock_system, &gt_rand_system, t->id);
	if (gt_control_function(api->config.control, t->function, &v, &err) < 0 ||
	    gt_api_call_key(req, t, &err) < 0) {
		gt_task_op_free(task);
		gt_api_fail(req, &err);
		return;
	}
	gt_api_call_submit(api, req, task, 0);
}

static void on_found(struct gt_task_op *found, const struct gt_err *err, void *arg)
{
	struct gt_api *api = ((struct gt_op *)arg)->api;
	struct gt_request *req = gt_op_end(arg);

	if (req && err)
		gt_api_fail(req, err);
	else if (req)
		run_now(api, req, &found->schedules[0]);
	gt_task_op_free(found);
}

void gt_api_run_schedule(struct gt_request *req, void *app)
{
	ask(req, app, GT_TASK_PLAN_GET, false, on_found);
}
