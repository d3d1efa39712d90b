/* store/task_read.c - durable calls as they are: one, its result, lists, counts. */
#include <string.h>

#include "task_db.h"

#define DEAD (1U << GT_TASK_FAILED | 1U << GT_TASK_CANCELLED | 1U << GT_TASK_EXPIRED)

static char *text_or_null(struct gt_query *q, int column)
{
	return gt_strdup(gt_db_text_null(q, column));
}

void gt_task_row(struct gt_query *q, struct gt_task *ret)
{
	uint64_t *const times[] = { &ret->created_ms, &ret->due_ms,   &ret->deadline_ms,
				    &ret->leased_ms,  &ret->ended_ms, &ret->expires_ms };

	*ret = (struct gt_task){
		.seq = (uint64_t)gt_db_int(q, 0),
		.state = (enum gt_task_state)gt_db_int(q, 3),
		.priority = (uint32_t)gt_db_int(q, 4),
		.attempt = (uint32_t)gt_db_int(q, 5),
		.tries = (uint32_t)gt_db_int(q, 6),
		.path = gt_strdup(gt_db_text(q, 14)),
		.content_type = text_or_null(q, 15),
		.key = text_or_null(q, 16),
		.body.len = (size_t)gt_db_int(q, 19),
		.status = (int)gt_db_int(q, 20),
	};
	gt_strcopy(ret->id, sizeof(ret->id), gt_db_text(q, 1));
	gt_strcopy(ret->function, sizeof(ret->function), gt_db_text(q, 2));
	for (int i = 0; i < (int)GT_LEN(times); i++)
		*times[i] = (uint64_t)gt_db_int(q, 7 + i);
	gt_strcopy(ret->method, sizeof(ret->method), gt_db_text(q, 13));
	gt_strcopy(ret->print, sizeof(ret->print), gt_db_text(q, 17));
	gt_strcopy(ret->batch, sizeof(ret->batch), gt_db_text(q, 18));
	gt_strcopy(ret->slug, sizeof(ret->slug), gt_db_text(q, 21));
	gt_strcopy(ret->schedule, sizeof(ret->schedule), gt_db_text(q, 22));
	ret->slot_ms = (uint64_t)gt_db_int(q, 23);
}

int gt_task_find(struct gt_tasks_db *t, const char *id, struct gt_task *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_BY_ID, "t", id);
	int r = gt_db_step(q, err);

	if (r < 0)
		return r;
	if (r == 0)
		return gt_err_set(err, ENOENT, "call_not_found", "there is no call %.64s", id);
	gt_task_row(q, ret);
	return 0;
}

int gt_task_blob(struct gt_tasks_db *t, struct gt_query *q, int body, int file, size_t size,
		 struct gt_blob *ret, struct gt_err *err)
{
	const char *name = gt_db_text_null(q, file);
	size_t len = 0;
	const void *data;

	*ret = (struct gt_blob){ 0 };
	if (name)
		return gt_body_read(t, name, size, ret, err);
	data = gt_db_bytes(q, body, &len);
	if (!len)
		return 0;
	ret->data = gt_alloc(len + 1);
	ret->len = len;
	memcpy(ret->data, data, len);
	return 0;
}

static int attempts_read(struct gt_tasks_db *t, struct gt_task_op *op, uint64_t seq,
			 struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_ATTEMPTS, "i", (int64_t)seq);
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_task_attempt *a;

		op->attempts = gt_grow(op->attempts, op->n_attempts + 1, sizeof(*a));
		a = &op->attempts[op->n_attempts++];
		*a = (struct gt_task_attempt){
			.attempt = (uint32_t)gt_db_int(q, 0),
			.epoch = (uint64_t)gt_db_int(q, 1),
			.revision = (uint32_t)gt_db_int(q, 4),
			.status = (int)gt_db_int(q, 5),
			.detail = text_or_null(q, 7),
			.started_ms = (uint64_t)gt_db_int(q, 8),
			.ended_ms = (uint64_t)gt_db_int(q, 9),
			.wait_ms = (uint64_t)gt_db_int(q, 10),
			.start_ms = (uint64_t)gt_db_int(q, 11),
		};
		gt_strcopy(a->gateway, sizeof(a->gateway), gt_db_text(q, 2));
		gt_strcopy(a->replica, sizeof(a->replica), gt_db_text(q, 3));
		gt_strcopy(a->slug, sizeof(a->slug), gt_db_text(q, 6));
	}
	return r < 0 ? r : 0;
}

static int result_read(struct gt_tasks_db *t, struct gt_task_op *op, uint64_t seq,
		       struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_RESULT, "i", (int64_t)seq);
	int r = gt_db_step(q, err);
	struct gt_task_result *res;

	if (r <= 0)
		return r;
	res = gt_task_op_result(op);
	res->seq = seq;
	res->attempt = (uint32_t)gt_db_int(q, 0);
	res->status = (int)gt_db_int(q, 1);
	res->content_type = text_or_null(q, 2);
	return gt_task_blob(t, q, 4, 5, (size_t)gt_db_int(q, 3), &res->body, err);
}

static int get(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_task task = { 0 };
	int r = gt_task_find(t, op->id, &task, err);

	if (r < 0)
		return r;
	*gt_task_op_add(op) = task;
	if (op->verb == GT_TASK_RESULT)
		r = result_read(t, op, task.seq, err);
	return r < 0 ? r : attempts_read(t, op, task.seq, err);
}

#define LIST_ROWS 500 /* that are asked for at once */

static enum gt_sql list_which(const struct gt_task_op *op)
{
	bool dead = (op->states & ~DEAD) == 0;

	if (op->schedule[0])
		return GT_SQL_LIST_SCHEDULE;
	if (op->batch[0])
		return GT_SQL_LIST_BATCH;
	if (op->function[0])
		return dead ? GT_SQL_LIST_DEAD_OF : GT_SQL_LIST_OF;
	return dead ? GT_SQL_LIST_DEAD : GT_SQL_LIST;
}

/* Some more rows. 1 = there may be others behind them that are wanted. */
static int list_some(struct gt_tasks_db *t, struct gt_task_op *op, size_t *looked,
		     struct gt_err *err)
{
	const char *of = op->schedule[0] ? op->schedule : op->batch[0] ? op->batch : op->function;
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, list_which(op), of[0] ? "iit" : "ii",
						   (int64_t)(op->before ? op->before : INT64_MAX),
						   (int64_t)LIST_ROWS, of);
	int r, rows = 0;

	while ((r = gt_db_step(q, err)) > 0) {
		bool wanted = op->states >> gt_db_int(q, 3) & 1;

		op->more = *looked == GT_TASK_LOOKED_MAX || (wanted && op->n_tasks == op->limit);
		if (op->more)
			return 0;
		++*looked;
		rows++;
		op->before = (uint64_t)gt_db_int(q, 0);
		if (wanted)
			gt_task_row(q, gt_task_op_add(op));
	}
	return r < 0 ? r : rows == LIST_ROWS;
}

/* Calls in states that are rare may lie far apart: a page ends, maybe without any, after so many
 * rows, so that no reader waits long behind it. */
static int list(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	size_t looked = 0;
	int r;

	do
		r = list_some(t, op, &looked, err);
	while (r > 0);
	return r;
}

/* Those whose callback is due; when none is, when the next one will be. */
static int hooks(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_HOOKS, "iii",
						   (int64_t)op->now_ms, (int64_t)op->limit,
						   (int64_t)GT_HOOKS_HOST_MAX);
	gt_auto(query) struct gt_query *next = NULL;
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_task *task = gt_task_op_add(op);

		gt_task_row(q, task);
		task->callback = gt_strdup(gt_db_text(q, 24));
		task->hook_tries = (uint32_t)gt_db_int(q, 25);
		task->hook_due_ms = (uint64_t)gt_db_int(q, 26);
	}
	if (r < 0 || op->n_tasks)
		return r;
	next = gt_sql(t->db, err, GT_SQL_HOOK_NEXT, "");
	r = gt_db_step(next, err);
	op->next_ms = r > 0 ? (uint64_t)gt_db_int(next, 0) : UINT64_MAX;
	return r < 0 ? r : 0;
}

int gt_task_next(struct gt_tasks_db *t, uint64_t *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_NEXT, "");
	int r = gt_db_step(q, err);

	if (r < 0)
		return r;
	*ret = gt_db_int(q, 0) ? (uint64_t)gt_db_int(q, 0) : UINT64_MAX; /* NULL: never */
	return 0;
}

int gt_task_count(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_COUNT, "");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_task_change *c;

		op->changes = gt_grow(op->changes, op->n_changes + 1, sizeof(*c));
		c = &op->changes[op->n_changes++];
		gt_strcopy(c->function, sizeof(c->function), gt_db_text(q, 0));
		c->queued = gt_db_int(q, 1);
	}
	return r < 0 ? r : gt_task_next(t, &op->next_ms, err);
}

int gt_task_read(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	switch (op->verb) {
	case GT_TASK_GET:
	case GT_TASK_RESULT:
		return get(t, op, err);
	case GT_TASK_LIST:
		return list(t, op, err);
	case GT_TASK_HOOKS:
		return hooks(t, op, err);
	case GT_TASK_PLAN_GET:
	case GT_TASK_PLAN_LIST:
	case GT_TASK_PLAN_DUE:
		return gt_plan_read(t, op, err);
	default:
		return gt_err_set(err, EINVAL, "internal", "verb %d reads nothing", op->verb);
	}
}
