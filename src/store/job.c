/* store/job.c - the operations on functions, as SQL. */
#include "job.h"

static int put_run(struct gt_job *job, sqlite3 *db, struct gt_err *err)
{
	const struct gt_function_row *row = &job->row;
	int r = gt_db_finish(gt_db_query(db, err,
					 "INSERT INTO functions VALUES(?1, ?2, ?3, ?4)"
					 " ON CONFLICT(name) DO UPDATE SET revision = ?2,"
					 " created_ms = ?3, updated_ms = ?4",
					 "tiii", row->name, (int64_t)row->revision,
					 (int64_t)row->created_ms, (int64_t)row->updated_ms),
			     err);
	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err,
					     "INSERT INTO revisions VALUES(?1, ?2, ?3, ?4, ?5)",
					     "titti", row->name, (int64_t)row->revision, row->etag,
					     row->spec_json, (int64_t)row->updated_ms),
				 err);
	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err,
					     "DELETE FROM revisions WHERE function = ?1"
					     " AND revision <= ?2",
					     "ti", row->name,
					     (int64_t)row->revision - GT_REVISIONS_KEPT),
				 err);
	return r;
}

static int drop_run(struct gt_job *job, sqlite3 *db, struct gt_err *err)
{
	return gt_db_finish(
		gt_db_query(db, err, "DELETE FROM functions WHERE name = ?1", "t", job->row.name),
		err);
}

static int node_run(struct gt_job *job, sqlite3 *db, struct gt_err *err)
{
	const struct gt_node_row *row = &job->node;

	if (row->duty == GT_DUTY_ALL)
		return gt_db_finish(
			gt_db_query(db, err, "DELETE FROM nodes WHERE name = ?1", "t", row->name),
			err);
	return gt_db_finish(gt_db_query(db, err,
					"INSERT INTO nodes VALUES(?1, ?2, ?3)"
					" ON CONFLICT(name) DO UPDATE SET duty = ?2,"
					" drain_until_ms = ?3",
					"tii", row->name, (int64_t)row->duty,
					(int64_t)row->drain_until_ms),
			    err);
}

static int revisions_run(struct gt_job *job, sqlite3 *db, struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(
		db, err,
		"SELECT revision, etag, spec, created_ms FROM revisions"
		" WHERE function = ?1 ORDER BY revision DESC",
		"t", job->row.name);
	int r = q ? 0 : -EIO;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_function_row *row;

		job->rows = gt_grow(job->rows, job->n_rows + 1, sizeof(*job->rows));
		row = &job->rows[job->n_rows++];
		*row = (struct gt_function_row){
			.revision = (uint32_t)sqlite3_column_int64(q, 0),
			.spec_json = gt_strdup(gt_db_text(q, 2)),
			.created_ms = (uint64_t)sqlite3_column_int64(q, 3),
			.updated_ms = (uint64_t)sqlite3_column_int64(q, 3),
		};
		gt_strcopy(row->name, sizeof(row->name), job->row.name);
		gt_strcopy(row->etag, sizeof(row->etag), gt_db_text(q, 1));
	}
	return r;
}

static struct gt_job *job_new(const char *function,
			      int (*run)(struct gt_job *, sqlite3 *, struct gt_err *))
{
	struct gt_job *job = gt_alloc(sizeof(*job));

	job->run = run;
	gt_strcopy(job->row.name, sizeof(job->row.name), function);
	return job;
}

struct gt_job *gt_job_put(const struct gt_function_row *row)
{
	struct gt_job *job = job_new(row->name, put_run);

	job->row = *row;
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

struct gt_job *gt_job_revisions(const char *function)
{
	return job_new(function, revisions_run);
}

void gt_job_complete(struct gt_job *job)
{
	const struct gt_err *err = job->err.code ? &job->err : NULL;

	if (job->done_rows)
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
	free(job->row.spec_json);
	free(job);
}
