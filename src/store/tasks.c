/* store/tasks.c - durable calls: taken in, and leased. */
#include <string.h>

#include <gantry/base/log.h>

#include "task_db.h"

/* Of a full window so many places are for each priority, when it has that many: a flood of one
 * starves no other. As the gateway's queue does. */
static const unsigned shares[GT_TASK_CLASSES] = { 16, 4, 1 };
#define SHARES 21

#define LEASED_BYTES_MAX (16 * GT_MIB) /* bodies of one exchange; the last may pass it */

/* ---- taken in ------------------------------------------------------------------------------- */

/* Did the same request come before? 1 = yes, or another one has its name. */
static int seen_before(struct gt_tasks_db *t, struct gt_task *task, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = NULL;
	struct gt_task old = { 0 };
	int r;

	if (!task->named && !task->key)
		return 0;
	q = task->named ? gt_sql(t->db, err, GT_SQL_BY_ID, "t", task->id)
			: gt_sql(t->db, err, GT_SQL_BY_KEY, "tt", task->function, task->key);
	r = gt_db_step(q, err);
	if (r <= 0)
		return r;
	gt_task_row(q, &old);
	task->taken = GT_TAKEN_MISMATCH;
	if (gt_streq(old.print, task->print) && gt_streq(old.function, task->function)) {
		task->taken = GT_TAKEN_BEFORE;
		task->seq = old.seq;
		task->state = old.state;
		task->status = old.status;
		task->created_ms = old.created_ms;
		task->deadline_ms = old.deadline_ms;
		gt_strcopy(task->id, sizeof(task->id), old.id);
	}
	gt_task_fini(&old);
	return 1;
}

int gt_task_accept(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_task *task,
		   const char *file, struct gt_err *err)
{
	const char *batch = task->batch[0] ? task->batch : NULL;
	char host[GT_TASK_HOST_MAX + 1];
	int r = seen_before(t, task, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (t->seq_next >= t->seq_last)
		return gt_err_set(err, EAGAIN, "internal", "no number is left for a call");
	task->seq = t->seq_next++;
	r = gt_db_finish(gt_sql(t->db, err, GT_SQL_INSERT, "ittiiittttttiti", (int64_t)task->seq,
				task->id, task->function, (int64_t)task->priority,
				(int64_t)task->created_ms, (int64_t)task->deadline_ms, task->method,
				task->path, task->content_type, task->key, task->print, batch,
				(int64_t)task->body.len, task->schedule[0] ? task->schedule : NULL,
				(int64_t)task->slot_ms),
			 err);
	if (r < 0)
		return r;
	task->taken = GT_TAKEN_NEW;
	gt_task_op_change(op, task->function, 1);
	gt_task_host(task->callback, host);
	if (task->callback)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_HOOK_PUT, "itt", (int64_t)task->seq,
					task->callback, host),
				 err);
	if (r < 0 || !task->body.len)
		return r;
	return gt_db_finish(gt_sql(t->db, err, GT_SQL_INPUT_PUT, "ibt", (int64_t)task->seq,
				   file ? NULL : task->body.data, file ? (size_t)0 : task->body.len,
				   file),
			    err);
}

static int accept_all(struct gt_tasks_db *t, struct gt_task_op *op,
		      const struct gt_body_list *files, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; i < op->n_tasks && r == 0; i++) {
		const char *file = gt_body_list_at(files, i);

		r = gt_task_accept(t, op, &op->tasks[i], file, err);
		if (r == 0 && file && op->tasks[i].taken != GT_TAKEN_NEW)
			gt_body_list_add(&t->unused, file);
	}
	return r;
}

/* ---- leases --------------------------------------------------------------------------------- */

static int lease_read(struct gt_tasks_db *t, struct gt_query *q, const char *function,
		      struct gt_task *task, struct gt_err *err)
{
	task->seq = (uint64_t)gt_db_int(q, 0);
	gt_strcopy(task->id, sizeof(task->id), gt_db_text(q, 1));
	gt_strcopy(task->function, sizeof(task->function), function);
	task->attempt = (uint32_t)gt_db_int(q, 2) + 1;
	task->tries = (uint32_t)gt_db_int(q, 3);
	task->created_ms = (uint64_t)gt_db_int(q, 4);
	task->deadline_ms = (uint64_t)gt_db_int(q, 5);
	gt_strcopy(task->method, sizeof(task->method), gt_db_text(q, 6));
	task->path = gt_strdup(gt_db_text(q, 7));
	task->content_type = gt_strdup(gt_db_text_null(q, 8));
	task->priority = (uint32_t)gt_db_int(q, 12);
	task->state = GT_TASK_RUNNING;
	return gt_task_blob(t, q, 10, 11, (size_t)gt_db_int(q, 9), &task->body, err);
}

/* Up to n of one priority behind `after`; they are marked only later, as the statement walks the
 * index that marking changes. Returns how many, or -errno. */
static int lease_some(struct gt_tasks_db *t, struct gt_task_op *op, const char *function,
		      unsigned priority, uint64_t *after, unsigned n, size_t *bytes,
		      struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_READY, "tiiii", function,
						   (int64_t)priority, (int64_t)op->now_ms,
						   (int64_t)*after, (int64_t)n);
	int r = 0, found = 0;

	while (r >= 0 && *bytes < LEASED_BYTES_MAX && (r = gt_db_step(q, err)) > 0) {
		struct gt_task *task = gt_task_op_add(op);

		r = lease_read(t, q, function, task, err);
		if (r == -ENODATA) { /* it can not run: no reason for others to wait behind it */
			gt_warn("call %s: %s", task->id, err->text);
			gt_err_clear(err);
			task->state = GT_TASK_FAILED;
			r = 0;
		}
		*after = task->seq;
		*bytes += task->body.len;
		found++;
	}
	return r < 0 ? r : found;
}

/* First each priority's share, then what is left to the highest. */
static int lease_function(struct gt_tasks_db *t, struct gt_task_op *op,
			  const struct gt_task_want *want, size_t *bytes, struct gt_err *err)
{
	uint64_t after[GT_TASK_CLASSES] = { 0 };
	unsigned left = want->n;

	for (unsigned round = 0; round < 2; round++)
		for (unsigned p = 0; p < GT_TASK_CLASSES && left > 0; p++) {
			unsigned share = GT_MAX(want->n * shares[p] / SHARES, 1u);
			int r = lease_some(t, op, want->function, p, &after[p],
					   round ? left : GT_MIN(share, left), bytes, err);

			if (r < 0)
				return r;
			left -= (unsigned)r;
		}
	return 0;
}

/* Those that were read are marked. */
static int leases_mark(struct gt_tasks_db *t, const struct gt_task_op *op, struct gt_err *err)
{
	const struct gt_task_session *to = &op->sessions[0];
	uint64_t seqs[GT_SQL_GROUP];
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < op->n_tasks && r == 0; i++) {
		seqs[n++] = op->tasks[i].seq;
		if (n < GT_SQL_GROUP && i + 1 < op->n_tasks)
			continue;
		r = gt_db_finish(gt_sql_group(t->db, err, GT_SQL_LEASE, seqs, n, "tii", to->gateway,
					      (int64_t)to->session, (int64_t)op->now_ms),
				 err);
		n = 0;
	}
	return r;
}

/* One whose input is lost fails. False: it is no lease. */
static bool lease_take(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_task *task, int *r,
		       struct gt_err *err)
{
	if (*r < 0)
		return task->state == GT_TASK_RUNNING;
	gt_task_op_change(op, task->function, -1);
	if (task->state == GT_TASK_FAILED) {
		gt_task_op_ended(op, task->id);
		*r = gt_task_end(t, op, task->seq, GT_TASK_FAILED, "input_lost", err);
		return false;
	}
	task->leased_ms = op->now_ms;
	task->left_ms = task->deadline_ms - GT_MIN(op->now_ms, task->deadline_ms);
	return true;
}

static int lease_all(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	size_t bytes = 0, kept = 0;
	int r = 0;

	for (size_t i = 0; i < op->n_wants && r == 0; i++)
		if (op->wants[i].n)
			r = lease_function(t, op, &op->wants[i], &bytes, err);
	for (size_t i = 0; i < op->n_tasks; i++) {
		struct gt_task task = op->tasks[i];

		op->tasks[i] = (struct gt_task){ 0 };
		if (lease_take(t, op, &task, &r, err))
			op->tasks[kept++] = task;
		else
			gt_task_fini(&task);
	}
	op->n_tasks = kept;
	return r < 0 ? r : leases_mark(t, op, err);
}

static int exchange(struct gt_tasks_db *t, struct gt_task_op *op, const struct gt_body_list *files,
		    struct gt_err *err)
{
	int r = gt_task_finish(t, op, files, err);

	if (r == 0 && op->full)
		r = gt_task_reconcile(t, op, err);
	if (r == 0)
		r = lease_all(t, op, err);
	return r;
}

int gt_task_write(struct gt_tasks_db *t, struct gt_task_op *op, const struct gt_body_list *files,
		  struct gt_err *err)
{
	op->n_changes = op->n_ended = 0; /* a second try after a failed transaction */
	switch (op->verb) {
	case GT_TASK_ACCEPT:
		return accept_all(t, op, files, err);
	case GT_TASK_EXCHANGE:
		for (size_t i = 0; i < op->n_tasks; i++)
			gt_task_fini(&op->tasks[i]);
		op->n_tasks = 0;
		return exchange(t, op, files, err);
	case GT_TASK_RELEASE:
		return gt_task_release(t, op, err);
	case GT_TASK_WAKE:
		return gt_task_wake(t, op, err);
	case GT_TASK_CANCEL:
		return gt_task_cancel(t, op, err);
	case GT_TASK_REPLAY:
		return gt_task_replay(t, op, err);
	case GT_TASK_HOOK_SET:
		return gt_db_finish(gt_sql(t->db, err, GT_SQL_HOOK_TOLD, "iiii",
					   (int64_t)op->before, (int64_t)op->next_ms,
					   (int64_t)op->limit, (int64_t)op->told_ms),
				    err);
	case GT_TASK_HOOKS_NOW:
		return gt_db_finish(gt_sql(t->db, err, GT_SQL_HOOKS_NOW, "i", (int64_t)op->now_ms),
				    err);
	case GT_TASK_PLAN_PUT:
	case GT_TASK_PLAN_DROP:
	case GT_TASK_PLAN_SET:
	case GT_TASK_FIRE:
		return gt_plan_write(t, op, err);
	case GT_TASK_COUNT: /* in line with changes, so that none is counted twice or missed */
		return gt_task_count(t, op, err);
	default:
		return gt_err_set(err, EINVAL, "internal", "verb %d writes nothing", op->verb);
	}
}
