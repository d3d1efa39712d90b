/* store/schedules.c - schedules: kept, paused, and the calls of their due times. A due time and its
 * call are one transaction: there is no moment at which one is there without the other. */
#include <string.h>

#include <gantry/model/schedule.h>

#include "task_db.h"

static char *text_or_null(struct gt_query *q, int column)
{
	return gt_strdup(gt_db_text_null(q, column));
}

static void body_read(struct gt_query *q, int column, struct gt_blob *ret)
{
	const void *data = gt_db_bytes(q, column, &ret->len);

	if (!ret->len)
		return;
	ret->data = gt_alloc(ret->len + 1);
	memcpy(ret->data, data, ret->len);
}

static void row_read(struct gt_query *q, struct gt_schedule *s)
{
	uint64_t *const times[] = { &s->created_ms, &s->updated_ms, &s->since_ms, &s->resumed_ms,
				    &s->next_ms,    &s->fired_ms,   &s->passed_ms };

	*s = (struct gt_schedule){
		.cron = text_or_null(q, 2),
		.every_ms = (uint64_t)gt_db_int(q, 4),
		.catch_up = (enum gt_catch_up)(gt_db_int(q, 5) % GT_CATCH_UPS),
		.cold = gt_db_int(q, 6) != 0,
		.call.priority = (uint32_t)gt_db_int(q, 8),
		.call.path = gt_strdup(gt_db_text(q, 10)),
		.call.content_type = text_or_null(q, 11),
		.call.callback = text_or_null(q, 13),
		.call.deadline_ms = (uint64_t)gt_db_int(q, 14),
		.paused = gt_db_int(q, 15) != 0,
	};
	gt_strcopy(s->name, sizeof(s->name), gt_db_text(q, 0));
	gt_strcopy(s->etag, sizeof(s->etag), gt_db_text(q, 1));
	gt_strcopy(s->zone, sizeof(s->zone), gt_db_text(q, 3));
	gt_strcopy(s->call.function, sizeof(s->call.function), gt_db_text(q, 7));
	gt_strcopy(s->call.method, sizeof(s->call.method), gt_db_text(q, 9));
	gt_strcopy(s->call.print, sizeof(s->call.print), gt_db_text(q, 12));
	for (int i = 0; i < (int)GT_LEN(times); i++)
		*times[i] = (uint64_t)gt_db_int(q, 16 + i);
	gt_strcopy(s->reason, sizeof(s->reason), gt_db_text(q, 23));
	body_read(q, 24, &s->call.body);
}

/* 1 = there is one. */
static int find(struct gt_tasks_db *t, const char *name, struct gt_schedule *ret,
		struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_PLAN, "t", name);
	int r = gt_db_step(q, err);

	if (r > 0)
		row_read(q, ret);
	return r;
}

static int insert(struct gt_tasks_db *t, const struct gt_schedule *s, struct gt_err *err)
{
	const struct gt_task *c = &s->call;

	return gt_db_finish(
		gt_sql(t->db, err, GT_SQL_PLAN_INSERT, "ttttiiititttttiiiiiiiiitb", s->name,
		       s->etag, s->cron, s->zone, (int64_t)s->every_ms, (int64_t)s->catch_up,
		       (int64_t)s->cold, c->function, (int64_t)c->priority, c->method, c->path,
		       c->content_type, c->print, c->callback, (int64_t)c->deadline_ms,
		       (int64_t)s->paused, (int64_t)s->created_ms, (int64_t)s->updated_ms,
		       (int64_t)s->since_ms, (int64_t)s->resumed_ms, (int64_t)s->next_ms,
		       (int64_t)s->fired_ms, (int64_t)s->passed_ms, s->reason[0] ? s->reason : NULL,
		       c->body.data, c->body.len),
		err);
}

/* ---- by a user ------------------------------------------------------------------------------ */

static int check_match(const struct gt_task_op *op, const char *name, const struct gt_schedule *old,
		       struct gt_err *err)
{
	const char *want = op->if_match;

	if (op->if_none_match && old)
		return gt_err_set(err, EEXIST, "etag_mismatch",
				  "schedule %s exists already, with ETag %s", name, old->etag);
	if (!want || (old && (gt_streq(want, "*") || gt_streq(want, old->etag))))
		return 0;
	return gt_err_set(err, EEXIST, "etag_mismatch", "schedule %s %s%s, not %s: read it again",
			  name, old ? "has ETag " : "does not exist", old ? old->etag : "", want);
}

/* Its times are the same: they go on, and a repeated put moves no period. */
static void keep_times(struct gt_schedule *s, const struct gt_schedule *old)
{
	s->created_ms = old->created_ms;
	s->paused = old->paused;
	s->resumed_ms = old->resumed_ms;
	s->fired_ms = old->fired_ms;
	s->passed_ms = old->passed_ms;
	gt_strcopy(s->reason, sizeof(s->reason), old->reason);
	if (!gt_streq(s->cron, old->cron) || !gt_streq(s->zone, old->zone) ||
	    s->every_ms != old->every_ms)
		return;
	s->since_ms = old->since_ms;
	s->next_ms = old->next_ms;
}

static int put(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_schedule *s = &op->schedules[0], old = { 0 };
	int found = find(t, s->name, &old, err), r = found;

	if (r >= 0)
		r = check_match(op, s->name, found ? &old : NULL, err);
	if (r == 0 && found && gt_streq(old.etag, s->etag)) {
		gt_schedule_fini(s);
		*s = old;
		s->outcome = GT_SCHEDULE_UNCHANGED;
		return 0;
	}
	if (r == 0) {
		s->outcome = found ? GT_SCHEDULE_CHANGED : GT_SCHEDULE_CREATED;
		s->created_ms = s->updated_ms = s->since_ms = op->now_ms;
		if (found)
			keep_times(s, &old);
	}
	if (r == 0 && found)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_PLAN_DROP, "t", s->name), err);
	if (r == 0)
		r = insert(t, s, err);
	gt_schedule_fini(&old);
	return r;
}

static int missing(const char *name, struct gt_err *err)
{
	return gt_err_set(err, ENOENT, "schedule_not_found", "there is no schedule %.80s", name);
}

/* Into op->schedules[0], whose name says which. */
static int get(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_schedule found = { 0 };
	int r = find(t, op->schedules[0].name, &found, err);

	if (r <= 0)
		return r < 0 ? r : missing(op->schedules[0].name, err);
	gt_schedule_fini(&op->schedules[0]);
	op->schedules[0] = found;
	return 0;
}

static int drop(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	const struct gt_schedule *s = &op->schedules[0];
	int r = get(t, op, err);

	if (r == 0)
		r = check_match(op, s->name, s, err);
	return r < 0 ? r : gt_db_finish(gt_sql(t->db, err, GT_SQL_PLAN_DROP, "t", s->name), err);
}

static int pause_set(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_schedule *s = &op->schedules[0];
	bool paused = s->paused;
	int r = get(t, op, err);

	if (r < 0 || s->paused == paused)
		return r;
	s->paused = paused;
	if (!paused) /* what was due meanwhile is not made up for */
		s->resumed_ms = op->now_ms;
	return gt_db_finish(gt_sql(t->db, err, GT_SQL_PLAN_PAUSE, "tii", s->name,
				   (int64_t)s->paused, (int64_t)s->resumed_ms),
			    err);
}

/* ---- by the clock --------------------------------------------------------------------------- */

static void call_of(const struct gt_schedule *s, const struct gt_task_op *op, uint64_t due_ms,
		    struct gt_task *ret)
{
	const struct gt_task *c = &s->call;

	ret->priority = c->priority;
	ret->created_ms = op->now_ms;
	ret->deadline_ms = op->now_ms + (c->deadline_ms ? c->deadline_ms : GT_TASK_DEADLINE_MS);
	ret->path = gt_strdup(c->path);
	ret->content_type = gt_strdup(c->content_type);
	ret->callback = gt_strdup(c->callback);
	ret->slot_ms = due_ms;
	ret->named = true;
	if (c->body.len) {
		ret->body.data = gt_alloc(c->body.len + 1);
		ret->body.len = c->body.len;
		memcpy(ret->body.data, c->body.data, c->body.len);
	}
	gt_schedule_call_id(s->name, due_ms, ret->id);
	gt_strcopy(ret->function, sizeof(ret->function), c->function);
	gt_strcopy(ret->method, sizeof(ret->method), c->method);
	gt_strcopy(ret->print, sizeof(ret->print), c->print);
	gt_strcopy(ret->schedule, sizeof(ret->schedule), s->name);
}

/* Who fires knows the schedule by what it read; another one may have fired it since, or a user
 * changed it. */
static int fire(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_schedule *s = &op->schedules[0], now = { 0 };
	int r = find(t, s->name, &now, err);

	for (size_t i = 0; i < op->n_tasks; i++) /* of a transaction that failed */
		gt_task_fini(&op->tasks[i]);
	op->n_tasks = 0;
	if (r <= 0)
		return r < 0 ? r : missing(s->name, err);
	if (now.paused || now.next_ms != op->told_ms) {
		gt_schedule_fini(s);
		*s = now;
		return 0;
	}
	for (size_t i = 0; i < op->n_dues && r > 0; i++) {
		struct gt_task *task = gt_task_op_add(op);

		call_of(&now, op, op->dues[i], task);
		int a = gt_task_accept(t, op, task, NULL, err);

		r = a < 0 ? a : r;
	}
	now.next_ms = s->next_ms;
	now.fired_ms = s->fired_ms ? s->fired_ms : now.fired_ms;
	if (s->passed_ms) {
		now.passed_ms = s->passed_ms;
		gt_strcopy(now.reason, sizeof(now.reason), s->reason);
	}
	if (r > 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_PLAN_FIRED, "tiiit", s->name,
					(int64_t)now.next_ms, (int64_t)now.fired_ms,
					(int64_t)now.passed_ms, now.reason[0] ? now.reason : NULL),
				 err);
	if (r < 0) {
		gt_schedule_fini(&now);
		return r;
	}
	gt_schedule_fini(s);
	*s = now;
	return 0;
}

int gt_plan_write(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	switch (op->verb) {
	case GT_TASK_PLAN_PUT:
		return put(t, op, err);
	case GT_TASK_PLAN_DROP:
		return drop(t, op, err);
	case GT_TASK_PLAN_SET:
		return pause_set(t, op, err);
	default:
		return fire(t, op, err);
	}
}

/* ---- read ----------------------------------------------------------------------------------- */

static int list(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	enum gt_sql which = op->active ? GT_SQL_PLANS_ACTIVE : GT_SQL_PLANS;
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, which, "ti", op->id,
						   (int64_t)op->limit + 1);
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		op->more = op->n_schedules == op->limit;
		if (op->more)
			break;
		row_read(q, gt_task_op_plan(op));
	}
	return r < 0 ? r : 0;
}

static int due(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_PLANS_DUE, "i",
						   (int64_t)op->limit + 1);
	int r = 0;

	op->next_ms = UINT64_MAX;
	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		uint64_t next_ms = (uint64_t)gt_db_int(q, 20);

		if (next_ms > op->told_ms || op->n_schedules == op->limit) {
			op->next_ms = next_ms;
			break;
		}
		row_read(q, gt_task_op_plan(op));
	}
	return r < 0 ? r : 0;
}

int gt_plan_read(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	switch (op->verb) {
	case GT_TASK_PLAN_GET:
		return get(t, op, err);
	case GT_TASK_PLAN_LIST:
		return list(t, op, err);
	default:
		return due(t, op, err);
	}
}
