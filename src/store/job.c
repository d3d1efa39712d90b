/* store/job.c - the operations on functions, as SQL; those on durable calls are in tasks.c. */
#include "job.h"
#include "hosts.h"
#include "keys.h"
#include "members.h"

static int put_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	const struct gt_function_row *row = &job->row;
	int r = gt_db_finish(
		gt_db_query(t->db, err,
			    "INSERT INTO functions(name, revision, created_ms, updated_ms)"
			    " VALUES(?1, ?2, ?3, ?4)"
			    " ON CONFLICT(name) DO UPDATE SET revision = ?2,"
			    " created_ms = ?3, updated_ms = ?4",
			    "tiii", row->name, (int64_t)row->revision, (int64_t)row->created_ms,
			    (int64_t)row->updated_ms),
		err);
	if (r == 0)
		r = gt_db_finish(
			gt_db_query(
				t->db, err,
				"INSERT INTO revisions(function, revision, etag, spec, created_ms)"
				" VALUES(?1, ?2, ?3, ?4, ?5)",
				"titti", row->name, (int64_t)row->revision, row->etag,
				row->spec_json, (int64_t)row->updated_ms),
			err);
	if (r == 0)
		r = gt_db_finish(gt_db_query(t->db, err,
					     "DELETE FROM revisions WHERE function = ?1"
					     " AND revision <= ?2",
					     "ti", row->name,
					     (int64_t)row->revision - GT_REVISIONS_KEPT),
				 err);
	return r;
}

static int drop_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	return gt_db_finish(gt_db_query(t->db, err, "DELETE FROM functions WHERE name = ?1", "t",
					job->row.name),
			    err);
}

static int node_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	const struct gt_node_row *row = &job->node;

	if (row->duty == GT_DUTY_ALL)
		return gt_db_finish(gt_db_query(t->db, err, "DELETE FROM nodes WHERE name = ?1",
						"t", row->name),
				    err);
	return gt_db_finish(
		gt_db_query(t->db, err,
			    "INSERT INTO nodes(name, duty, drain_until_ms) VALUES(?1, ?2, ?3)"
			    " ON CONFLICT(name) DO UPDATE SET duty = ?2,"
			    " drain_until_ms = ?3",
			    "tii", row->name, (int64_t)row->duty, (int64_t)row->drain_until_ms),
		err);
}

static int revisions_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		t->db, err,
		"SELECT revision, etag, spec, created_ms FROM revisions"
		" WHERE function = ?1 ORDER BY revision DESC",
		"t", job->row.name);
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_function_row *row;

		job->rows = gt_grow(job->rows, job->n_rows + 1, sizeof(*job->rows));
		row = &job->rows[job->n_rows++];
		*row = (struct gt_function_row){
			.name = job->row.name,
			.revision = (uint32_t)gt_db_int(q, 0),
			.spec_json = gt_strdup(gt_db_text(q, 2)),
			.created_ms = (uint64_t)gt_db_int(q, 3),
			.updated_ms = (uint64_t)gt_db_int(q, 3),
		};
		gt_strcopy(row->etag, sizeof(row->etag), gt_db_text(q, 1));
	}
	return r;
}

static struct gt_job *job_new(const char *function,
			      int (*run)(struct gt_job *, struct gt_tasks_db *, struct gt_err *))
{
	struct gt_job *job = gt_alloc(sizeof(*job));

	job->run = run;
	job->row.name = gt_strdup(function);
	return job;
}

struct gt_job *gt_job_put(const struct gt_function_row *row)
{
	struct gt_job *job = job_new(row->name, put_run);

	free(job->row.name);
	job->row = *row;
	job->row.name = gt_strdup(row->name);
	job->row.spec_json = gt_strdup(row->spec_json);
	return job;
}

struct gt_job *gt_job_drop(const char *function)
{
	return job_new(function, drop_run);
}

struct gt_job *gt_job_node(const struct gt_node_row *row)
{
	struct gt_job *job = job_new(row->name, node_run);

	job->node = *row;
	return job;
}

static int member_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	return gt_member_run(job->member, t->db, err);
}

struct gt_job *gt_job_member(struct gt_member_op *op)
{
	struct gt_job *job = job_new("", member_run);

	job->member = op;
	return job;
}

static int host_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	return gt_host_run(job->host, t->db, err);
}

struct gt_job *gt_job_host(struct gt_host_op *op)
{
	struct gt_job *job = job_new("", host_run);

	job->host = op;
	return job;
}

static int webhook_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	return gt_webhook_run(job->webhook, t->db, err);
}

struct gt_job *gt_job_webhook(struct gt_webhook_op *op)
{
	struct gt_job *job = job_new("", webhook_run);

	job->webhook = op;
	return job;
}

struct gt_job *gt_job_revisions(const char *function)
{
	return job_new(function, revisions_run);
}

/* ---- durable calls -------------------------------------------------------------------------- */

static int task_run(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	return gt_job_reads(job) ? gt_task_read(t, job->op, err)
				 : gt_task_write(t, job->op, &job->files, err);
}

struct gt_job *gt_job_task(struct gt_task_op *op GT_TAKES)
{
	struct gt_job *job = job_new("", task_run);

	job->op = op;
	return job;
}

bool gt_job_reads(const struct gt_job *job)
{
	return job->op ? job->op->verb >= GT_TASK_GET : job->run == revisions_run;
}

bool gt_job_lists(const struct gt_job *job)
{
	return job->op && (job->op->verb == GT_TASK_LIST || job->op->verb >= GT_TASK_PLAN_LIST);
}

bool gt_job_may_refuse(const struct gt_job *job)
{
	enum gt_task_verb verb = job->op ? job->op->verb : GT_TASK_CANCEL;

	return verb == GT_TASK_CANCEL || verb == GT_TASK_REPLAY ||
	       (verb >= GT_TASK_PLAN_PUT && verb <= GT_TASK_FIRE);
}

bool gt_job_grows(const struct gt_job *job)
{
	if (!job->op)
		return job->run == put_run;
	return job->op->verb == GT_TASK_ACCEPT || job->op->verb == GT_TASK_PLAN_PUT ||
	       job->op->verb == GT_TASK_FIRE;
}

size_t gt_job_new_calls(const struct gt_job *job)
{
	if (job->op && job->op->verb == GT_TASK_FIRE)
		return job->op->n_dues;
	return job->op && job->op->verb == GT_TASK_ACCEPT ? job->op->n_tasks : 0;
}

static size_t n_bodies(const struct gt_task_op *op)
{
	if (op->verb == GT_TASK_ACCEPT)
		return op->n_tasks;
	return op->verb == GT_TASK_EXCHANGE ? op->n_results : 0;
}

static const struct gt_blob *body_at(const struct gt_task_op *op, size_t i)
{
	return op->verb == GT_TASK_ACCEPT ? &op->tasks[i].body : &op->results[i].body;
}

bool gt_job_has_bodies(const struct gt_job *job)
{
	size_t n = job->op ? n_bodies(job->op) : 0;

	for (size_t i = 0; i < n; i++)
		if (body_at(job->op, i)->len > GT_TASK_INLINE_MAX)
			return true;
	return false;
}

int gt_job_write_bodies(struct gt_job *job, struct gt_tasks_db *t, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; i < n_bodies(job->op) && r == 0; i++) {
		const struct gt_blob *body = body_at(job->op, i);
		char name[GT_BODY_NAME_SIZE] = "";

		if (body->len > GT_TASK_INLINE_MAX)
			r = gt_body_write(t, body, name, err);
		if (r == 0)
			gt_body_list_add(&job->files, name);
	}
	return r;
}

/* ---- the end -------------------------------------------------------------------------------- */

void gt_job_complete(struct gt_job *job)
{
	const struct gt_err *err = job->err.code ? &job->err : NULL;

	if (job->op) {
		struct gt_task_op *op = gt_steal(&job->op);

		op->done(op, err, op->arg);
	} else if (job->member) {
		struct gt_member_op *op = gt_steal(&job->member);

		op->done(op, err, op->arg);
	} else if (job->host) {
		struct gt_host_op *op = gt_steal(&job->host);

		op->done(op, err, op->arg);
	} else if (job->webhook) {
		struct gt_webhook_op *op = gt_steal(&job->webhook);

		op->done(op, err, op->arg);
	} else if (job->done_rows)
		job->done_rows(err, job->rows, err ? 0 : job->n_rows, job->arg);
	else
		job->done(err, job->arg);
	gt_job_free(job);
}

void gt_job_free(struct gt_job *job)
{
	for (size_t i = 0; i < job->n_rows; i++)
		free(job->rows[i].spec_json);
	free(job->rows);
	free(job->row.name);
	free(job->row.spec_json);
	gt_task_op_free(job->op);
	gt_member_op_free(job->member);
	free(job->host);
	gt_webhook_op_free(job->webhook);
	gt_body_list_clear(&job->files);
	free(job);
}
