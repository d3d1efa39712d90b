/* store/task_finish.c - results of durable calls: recorded under the lease that they were made
 * under, and once.
 *
 * Nobody else writes meanwhile (gt_fence), so what was read of a call is so until it is changed
 * here. Many are read by one statement: each that gives rows is a way to PostgreSQL and back. */
#include "task_db.h"

/* A call as it was before its result. */
struct lease {
	uint64_t seq;
	enum gt_task_state state;
	uint32_t attempt;
	size_t size; /* of its input */
	bool hooked; /* somebody is to be told of its end */
	char id[GT_TASK_ID_MAX + 1], function[GT_NAME_MAX + 1], gateway[GT_NAME_MAX + 1];
};

static void lease_row(struct gt_query *q, struct lease *ret)
{
	*ret = (struct lease){ .seq = (uint64_t)gt_db_int(q, 0),
			       .state = (enum gt_task_state)gt_db_int(q, 1),
			       .attempt = (uint32_t)gt_db_int(q, 2),
			       .size = (size_t)gt_db_int(q, 6),
			       .hooked = gt_db_int(q, 7) };
	gt_strcopy(ret->id, sizeof(ret->id), gt_db_text(q, 3));
	gt_strcopy(ret->function, sizeof(ret->function), gt_db_text(q, 4));
	gt_strcopy(ret->gateway, sizeof(ret->gateway), gt_db_text(q, 5));
}

/* Those of n results. Returns how many there are. */
static int leases_read(struct gt_tasks_db *t, const struct gt_task_result *results, size_t n,
		       struct lease ret[GT_SQL_GROUP], struct gt_err *err)
{
	uint64_t seqs[GT_SQL_GROUP];
	int r, found = 0;

	for (size_t i = 0; i < n; i++)
		seqs[i] = results[i].seq;
	gt_auto(query) struct gt_query *q = gt_sql_group(t->db, err, GT_SQL_LEASED, seqs, n, "");
	while ((r = gt_db_step(q, err)) > 0 && found < GT_SQL_GROUP)
		lease_row(q, &ret[found++]);
	return r < 0 ? r : found;
}

static struct lease *lease_of(struct lease *leases, int n, uint64_t seq)
{
	for (int i = 0; i < n; i++)
		if (leases[i].seq == seq)
			return &leases[i];
	return NULL;
}

static int row_finish(struct gt_tasks_db *t, const struct gt_task_op *op,
		      const struct gt_task_result *res, struct gt_err *err)
{
	bool ends = gt_task_ended(res->next);

	return gt_db_finish(gt_sql(t->db, err, GT_SQL_FINISH, "iiiiiiiti", (int64_t)res->seq,
				   (int64_t)res->next, (int64_t)res->counts, (int64_t)res->due_ms,
				   (int64_t)(ends ? op->now_ms : 0),
				   (int64_t)(ends ? op->now_ms + GT_TASK_KEEP_MS : 0),
				   (int64_t)res->status, res->slug[0] ? res->slug : NULL,
				   (int64_t)res->attempt),
			    err);
}

static int attempt_put(struct gt_tasks_db *t, const struct gt_task_op *op,
		       const struct gt_task_result *res, const char *gateway, struct gt_err *err)
{
	return gt_db_finish(gt_sql(t->db, err, GT_SQL_ATTEMPT_PUT, "iiittiittiiii",
				   (int64_t)res->seq, (int64_t)res->attempt, (int64_t)op->epoch,
				   gateway, res->replica[0] ? res->replica : NULL,
				   (int64_t)res->revision, (int64_t)res->status,
				   res->slug[0] ? res->slug : NULL, res->detail,
				   (int64_t)res->started_ms, (int64_t)res->ended_ms,
				   (int64_t)res->wait_ms, (int64_t)res->start_ms),
			    err);
}

static int result_put(struct gt_tasks_db *t, const struct gt_task_op *op,
		      const struct gt_task_result *res, const char *file, struct gt_err *err)
{
	bool inside = res->body.len && !file;

	return gt_db_finish(gt_sql(t->db, err, GT_SQL_RESULT_PUT, "iiiitibt", (int64_t)res->seq,
				   (int64_t)res->attempt, (int64_t)op->epoch, (int64_t)res->status,
				   res->content_type, (int64_t)res->body.len,
				   inside ? res->body.data : NULL,
				   inside ? res->body.len : (size_t)0, file),
			    err);
}

/* The result's own lease is in force: all that becomes of the call, but for an input in a row. */
static int finish(struct gt_tasks_db *t, const struct gt_task_op *op, struct gt_task_result *res,
		  const struct lease *lease, const char *file, struct gt_err *err)
{
	bool ends = gt_task_ended(res->next);
	int r = row_finish(t, op, res, err);

	if (r == 0 && res->counts)
		r = attempt_put(t, op, res, lease->gateway, err);
	if (r == 0 && ends)
		r = result_put(t, op, res, file, err);
	if (r == 0 && ends && lease->hooked)
		r = gt_task_hook_arm(t, res->seq, op->now_ms, 0, err);
	if (r == 0 && res->next == GT_TASK_SUCCEEDED && lease->size > GT_TASK_INLINE_MAX)
		r = gt_task_drop_body(t, GT_SQL_INPUT_TAKE, res->seq, err);
	return r;
}

/* lease: NULL = there is no such call. */
static int result_take(struct gt_tasks_db *t, const struct gt_task_op *op,
		       struct gt_task_result *res, struct lease *lease, const char *file,
		       struct gt_err *err)
{
	res->stale = !lease || lease->state != GT_TASK_RUNNING || lease->attempt != res->attempt;
	if (lease) {
		res->state = res->stale ? lease->state : res->next;
		gt_strcopy(res->id, sizeof(res->id), lease->id);
		gt_strcopy(res->function, sizeof(res->function), lease->function);
	}
	if (file && (res->stale || !gt_task_ended(res->next)))
		gt_body_list_add(&t->unused, file);
	if (res->stale)
		return 0;
	lease->state = res->next; /* should the same result come twice */
	return finish(t, op, res, lease, file, err);
}

/* Of those that succeeded now; what is small lies in its row. */
static int inputs_drop(struct gt_tasks_db *t, const struct gt_task_result *results, size_t n,
		       struct lease *leases, int n_leases, struct gt_err *err)
{
	uint64_t seqs[GT_SQL_GROUP];
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		const struct lease *l = lease_of(leases, n_leases, results[i].seq);

		if (!results[i].stale && results[i].next == GT_TASK_SUCCEEDED && l->size &&
		    l->size <= GT_TASK_INLINE_MAX)
			seqs[found++] = l->seq;
	}
	return found ? gt_db_finish(gt_sql_group(t->db, err, GT_SQL_INPUT_DROP, seqs, found, ""),
				    err)
		     : 0;
}

/* At most GT_SQL_GROUP of them. */
static int group_finish(struct gt_tasks_db *t, struct gt_task_op *op, size_t from, size_t n,
			const struct gt_body_list *files, struct gt_err *err)
{
	struct gt_task_result *results = &op->results[from];
	struct lease leases[GT_SQL_GROUP];
	int found = leases_read(t, results, n, leases, err), r = GT_MIN(found, 0);

	for (size_t i = 0; i < n && r == 0; i++)
		r = result_take(t, op, &results[i], lease_of(leases, found, results[i].seq),
				gt_body_list_at(files, from + i), err);
	return r < 0 ? r : inputs_drop(t, results, n, leases, found, err);
}

int gt_task_finish(struct gt_tasks_db *t, struct gt_task_op *op, const struct gt_body_list *files,
		   struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; i < op->n_results && r == 0; i += GT_SQL_GROUP)
		r = group_finish(t, op, i, GT_MIN(op->n_results - i, (size_t)GT_SQL_GROUP), files,
				 err);
	return r;
}
