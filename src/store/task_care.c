/* store/task_care.c - durable calls that nobody is at work on: leases that were lost, retries that
 * are due, deadlines, old results; and what a user changes. */
#include <string.h>

#include "task_db.h"

int gt_task_drop_body(struct gt_tasks_db *t, enum gt_sql take, uint64_t seq, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, take, "i", (int64_t)seq);
	int r = gt_db_step(q, err);

	if (r > 0 && gt_db_text(q, 0)[0])
		gt_body_list_add(&t->unused, gt_db_text(q, 0));
	return r < 0 ? r : 0;
}

int gt_task_hook_arm(struct gt_tasks_db *t, uint64_t seq, uint64_t due_ms, uint32_t tries,
		     struct gt_err *err)
{
	return gt_db_finish(gt_sql(t->db, err, GT_SQL_HOOK_SET, "iii", (int64_t)seq,
				   (int64_t)due_ms, (int64_t)tries),
			    err);
}

/* ---- lost leases ---------------------------------------------------------------------------- */

struct lease {
	uint64_t seq, session, leased_ms;
	uint32_t attempt, lost;
	char id[GT_TASK_ID_MAX + 1], function[GT_NAME_MAX + 1], gateway[GT_NAME_MAX + 1];
};

struct leases {
	struct lease *at;
	size_t n;
};

static void leases_fini(struct leases *l)
{
	free(l->at);
}
#define AUTO_LEASES __attribute__((cleanup(leases_fini))) struct leases

/* Those that `lost` says are. At most what gateways may hold, so they fit into memory. */
static int leases_read(struct gt_tasks_db *t, struct gt_task_op *op,
		       bool (*lost)(const struct gt_task_op *op, const struct lease *l),
		       struct leases *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, GT_SQL_LEASES, "");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct lease l = {
			.seq = (uint64_t)gt_db_int(q, 0),
			.attempt = (uint32_t)gt_db_int(q, 3),
			.session = (uint64_t)gt_db_int(q, 5),
			.leased_ms = (uint64_t)gt_db_int(q, 6),
			.lost = (uint32_t)gt_db_int(q, 7),
		};

		gt_strcopy(l.gateway, sizeof(l.gateway), gt_db_text(q, 4));
		if (!lost(op, &l))
			continue;
		gt_strcopy(l.id, sizeof(l.id), gt_db_text(q, 1));
		gt_strcopy(l.function, sizeof(l.function), gt_db_text(q, 2));
		ret->at = gt_grow(ret->at, ret->n + 1, sizeof(*ret->at));
		ret->at[ret->n++] = l;
	}
	return r < 0 ? r : 0;
}

static int lose(struct gt_tasks_db *t, struct gt_task_op *op, const struct lease *l,
		struct gt_err *err)
{
	bool again = l->lost + 1 < GT_TASK_LOST_MAX;
	int r = gt_db_finish(gt_sql(t->db, err, GT_SQL_LOSE, "iiiit", (int64_t)l->seq,
				    (int64_t)(again ? GT_TASK_QUEUED : GT_TASK_FAILED),
				    (int64_t)(again ? 0 : op->now_ms),
				    (int64_t)(again ? 0 : op->now_ms + GT_TASK_KEEP_MS),
				    again ? NULL : "gateway_lost"),
			     err);

	if (r == 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_ATTEMPT_PUT, "iiittiittiiii",
					(int64_t)l->seq, (int64_t)l->attempt, (int64_t)op->epoch,
					l->gateway, NULL, (int64_t)0, (int64_t)0, "gateway_lost",
					"the gateway that had the call ended, or forgot it",
					(int64_t)l->leased_ms, (int64_t)op->now_ms, (int64_t)0,
					(int64_t)0),
				 err);
	if (again) {
		gt_task_op_change(op, l->function, 1);
		return r;
	}
	gt_task_op_ended(op, l->id);
	return r < 0 ? r : gt_task_hook_arm(t, l->seq, op->now_ms, 0, err);
}

static int lose_all(struct gt_tasks_db *t, struct gt_task_op *op,
		    bool (*lost)(const struct gt_task_op *op, const struct lease *l),
		    struct gt_err *err)
{
	AUTO_LEASES l = { 0 };
	int r = leases_read(t, op, lost, &l, err);

	for (size_t i = 0; i < l.n && r == 0; i++)
		r = lose(t, op, &l.at[i], err);
	return r;
}

static bool of_no_session(const struct gt_task_op *op, const struct lease *l)
{
	for (size_t i = 0; i < op->n_sessions; i++)
		if (op->sessions[i].session == l->session)
			return false;
	return true;
}

int gt_task_release(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	return lose_all(t, op, of_no_session, err);
}

/* held[] is sorted. */
static bool not_held(const struct gt_task_op *op, const struct lease *l)
{
	const struct gt_task_session *own = &op->sessions[0];
	size_t low = 0, high = op->n_held;

	if (l->session != own->session)
		return op->alone && gt_streq(l->gateway, own->gateway);
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (op->held[mid] == l->seq)
			return false;
		if (op->held[mid] < l->seq)
			low = mid + 1;
		else
			high = mid;
	}
	return true;
}

int gt_task_reconcile(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	return lose_all(t, op, not_held, err);
}

/* ---- by the clock --------------------------------------------------------------------------- */

struct found {
	uint64_t seq;
	enum gt_task_state state;
	char function[GT_NAME_MAX + 1], id[GT_TASK_ID_MAX + 1];
};

/* The first GT_TASK_WAKE_MAX; statements are walked to their end before anything is changed. */
static int find(struct gt_tasks_db *t, struct gt_task_op *op, enum gt_sql which, uint64_t until_ms,
		struct found **ret, size_t *n, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(t->db, err, which, "ii", (int64_t)until_ms,
						   (int64_t)GT_TASK_WAKE_MAX);
	int r = 0;

	*n = 0;
	*ret = gt_alloc_array(GT_TASK_WAKE_MAX, sizeof(**ret));
	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct found *f = &(*ret)[(*n)++];

		f->seq = (uint64_t)gt_db_int(q, 0);
		if (gt_db_columns(q) > 1)
			gt_strcopy(f->function, sizeof(f->function), gt_db_text(q, 1));
		if (gt_db_columns(q) > 3) {
			f->state = (enum gt_task_state)gt_db_int(q, 2);
			gt_strcopy(f->id, sizeof(f->id), gt_db_text(q, 3));
		}
	}
	op->more |= *n == GT_TASK_WAKE_MAX;
	return r < 0 ? r : 0;
}

static int wake_due(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(free) struct found *at = NULL;
	size_t n = 0;
	int r = find(t, op, GT_SQL_DUE, GT_MAX(op->now_ms, op->told_ms), &at, &n, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_READY_SET, "i", (int64_t)at[i].seq),
				 err);
		gt_task_op_change(op, at[i].function, 1);
	}
	return r;
}

int gt_task_end(struct gt_tasks_db *t, const struct gt_task_op *op, uint64_t seq,
		enum gt_task_state state, const char *slug, struct gt_err *err)
{
	int r = gt_db_finish(gt_sql(t->db, err, GT_SQL_END, "iiiit", (int64_t)seq, (int64_t)state,
				    (int64_t)op->now_ms, (int64_t)(op->now_ms + GT_TASK_KEEP_MS),
				    slug),
			     err);

	return r < 0 ? r : gt_task_hook_arm(t, seq, op->now_ms, 0, err);
}

static int wake_late(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(free) struct found *at = NULL;
	size_t n = 0;
	int r = find(t, op, GT_SQL_LATE, op->now_ms, &at, &n, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = gt_task_end(t, op, at[i].seq, GT_TASK_EXPIRED, "deadline_passed", err);
		if (at[i].state == GT_TASK_QUEUED)
			gt_task_op_change(op, at[i].function, -1);
		gt_task_op_ended(op, at[i].id);
	}
	return r;
}

static int forget(struct gt_tasks_db *t, uint64_t seq, struct gt_err *err)
{
	int r = gt_task_drop_body(t, GT_SQL_INPUT_TAKE, seq, err);

	if (r == 0)
		r = gt_task_drop_body(t, GT_SQL_RESULT_TAKE, seq, err);
	if (r == 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_ATTEMPTS_DROP, "i", (int64_t)seq), err);
	if (r == 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_HOOK_DROP, "i", (int64_t)seq), err);
	if (r == 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_DROP, "i", (int64_t)seq), err);
	return r;
}

static int wake_old(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	gt_auto(free) struct found *at = NULL;
	size_t n = 0;
	int r = find(t, op, GT_SQL_OLD, op->now_ms, &at, &n, err);

	for (size_t i = 0; i < n && r == 0; i++)
		r = forget(t, at[i].seq, err);
	return r;
}

int gt_task_wake(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	int r;

	op->more = false;
	r = wake_late(t, op, err);
	if (r == 0)
		r = wake_due(t, op, err);
	if (r == 0)
		r = wake_old(t, op, err);
	if (r == 0)
		r = gt_task_next(t, &op->next_ms, err);
	return r;
}

/* ---- by a user ------------------------------------------------------------------------------ */

int gt_task_cancel(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_task task = { 0 };
	int r = gt_task_find(t, op->id, &task, err);

	if (r == 0 && gt_task_ended(task.state))
		r = gt_err_set(err, EALREADY, "conflict", "call %s has ended: it is %s", task.id,
			       gt_task_state_name(task.state));
	if (r == 0)
		r = gt_task_end(t, op, task.seq, GT_TASK_CANCELLED, "cancelled", err);
	if (r < 0) {
		gt_task_fini(&task);
		return r;
	}
	op->more = task.state == GT_TASK_RUNNING; /* somebody has to be told */
	if (task.state == GT_TASK_QUEUED)
		gt_task_op_change(op, task.function, -1);
	gt_task_op_ended(op, task.id);
	task.state = GT_TASK_CANCELLED;
	task.ended_ms = op->now_ms;
	*gt_task_op_add(op) = task;
	return 0;
}

int gt_task_replay(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err)
{
	struct gt_task task = { 0 };
	int r = gt_task_find(t, op->id, &task, err);

	if (r == 0 && task.state <= GT_TASK_SUCCEEDED)
		r = gt_err_set(err, EALREADY, "conflict",
			       "call %s is %s: only one that failed, expired or was cancelled can "
			       "be replayed",
			       task.id, gt_task_state_name(task.state));
	task.deadline_ms = op->now_ms + (task.deadline_ms - task.created_ms);
	if (r == 0)
		r = gt_db_finish(gt_sql(t->db, err, GT_SQL_AGAIN, "ii", (int64_t)task.seq,
					(int64_t)task.deadline_ms),
				 err);
	if (r == 0)
		r = gt_task_drop_body(t, GT_SQL_RESULT_TAKE, task.seq, err);
	if (r == 0) /* its last end is not told any more */
		r = gt_task_hook_arm(t, task.seq, 0, 0, err);
	if (r < 0) {
		gt_task_fini(&task);
		return r;
	}
	gt_task_op_change(op, task.function, 1);
	task.state = GT_TASK_QUEUED;
	task.ended_ms = task.expires_ms = 0;
	task.tries = 0;
	task.status = 0;
	task.slug[0] = '\0';
	*gt_task_op_add(op) = task;
	return 0;
}
