/* store/writer.c - the writer's thread: everything that waits in one transaction, the epoch at its
 * head, and what becomes of those that fail. */
#include <utlist.h>

#include <gantry/base/log.h>

#include "store_priv.h"

#define BATCH_MAX 256   /* jobs a transaction */
#define SEQ_BLOCK 65536 /* numbers of calls that are taken at once */
#define DOUBT_MS  500   /* between two looks for what became of a transaction */

/* ---- trouble -------------------------------------------------------------------------------- */

bool gt_is_trouble(const struct gt_err *err)
{
	return err->code == EIO || err->code == EBADMSG || err->code == ESTALE;
}

/* What failed to reach the disk is not tried again: the system may have forgotten the pages, and
 * would say that all is well. Nor is anything built on a damaged database, or by a control that
 * another one has replaced. */
void gt_trouble_note(struct gt_store *s, const struct gt_err *why)
{
	struct gt_err err = *why;
	bool first;

	if (why->code == EIO)
		gt_err_set(&err, EIO, "unavailable",
			   "the state disk failed, nothing more is written: %s", why->text);
	else if (why->code == EBADMSG)
		gt_err_set(&err, EBADMSG, "unavailable",
			   "the state database %s is damaged, nothing more is written to it: stop "
			   "the daemon and restore control/ from its backup (%s)",
			   s->shown, why->text);
	pthread_mutex_lock(&s->lock);
	first = !s->trouble.code; /* another process does no better with a damaged one */
	if (first)
		s->trouble = err;
	pthread_mutex_unlock(&s->lock);
	if (!first)
		return;
	gt_error("store: %s", err.text);
	s->config.notify(s->config.notify_arg);
}

bool gt_store_refuses(struct gt_store *s, struct gt_job *jobs)
{
	struct gt_err err;
	struct gt_job *job;

	pthread_mutex_lock(&s->lock);
	err = s->trouble;
	pthread_mutex_unlock(&s->lock);
	if (!err.code)
		return false;
	DL_FOREACH (jobs, job)
		job->err = err;
	return true;
}

/* ---- one transaction ------------------------------------------------------------------------ */

int gt_fence(struct gt_tasks_db *t, const uint64_t *mark, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q =
		mark ? gt_sql(t->db, err, GT_SQL_FENCE, "ii", (int64_t)t->epoch, (int64_t)*mark)
		     : gt_sql(t->db, err, GT_SQL_FENCE_LIGHT, "i", (int64_t)t->epoch);
	int r = gt_db_step(q, err);

	if (r != 0)
		return r < 0 ? r : 0;
	return gt_err_set(err, ESTALE, "unavailable",
			  "another control has taken over: epoch %llu is over",
			  (unsigned long long)t->epoch);
}

/* Numbers are never used twice, whatever becomes of the transaction: they only grow here, and what
 * was taken in one that failed is taken anew. */
static int numbers_take(struct gt_tasks_db *t, const struct gt_job *batch, struct gt_err *err)
{
	const struct gt_job *job;
	size_t n = 0;

	DL_FOREACH (batch, job)
		n += gt_job_new_calls(job);
	if (t->seq_last - t->seq_next >= n)
		return 0;
	t->seq_last = t->seq_next + GT_MAX(n, (size_t)SEQ_BLOCK);
	return gt_db_finish(gt_sql(t->db, err, GT_SQL_SEQ_SET, "i", (int64_t)t->seq_last), err);
}

/* One that may refuse runs inside its own savepoint, so that it takes nothing else along. False
 * when the transaction can not go on. */
static bool job_run(struct gt_tasks_db *t, struct gt_job *job)
{
	bool alone = gt_job_may_refuse(job);
	size_t unused = t->unused.n;

	gt_err_clear(&job->err);
	if (alone && gt_db_savepoint(t->db, &job->err) < 0)
		return false;
	if (job->run(job, t, &job->err) < 0) {
		if (!alone || gt_is_trouble(&job->err) || gt_db_broken(t->db))
			return false;
		gt_db_savepoint_undo(t->db);
		t->unused.n = unused; /* what it dropped is still there */
	}
	if (gt_db_broken(t->db))
		return false;
	return !alone || gt_db_savepoint_end(t->db, &job->err) == 0;
}

static int jobs_run(struct gt_tasks_db *t, struct gt_job *batch, struct gt_err *err)
{
	struct gt_job *job;

	DL_FOREACH (batch, job) {
		if (job_run(t, job))
			continue;
		if (!job->err.code)
			gt_err_set(&job->err, EAGAIN, "unavailable", "the state database");
		*err = job->err;
		return -err->code;
	}
	return 0;
}

/* 0 when each job of the batch has its own outcome; else nothing of it is in the database. */
static int transaction_run(struct gt_store *s, struct gt_job *batch, struct gt_err *err)
{
	struct gt_tasks_db *t = &s->lanes[GT_LANE_WRITER].tasks;
	int r = gt_db_begin(t->db, err);

	s->commits++;
	if (r == 0)
		r = gt_fence(t, &s->commits, err);
	if (r == 0)
		r = numbers_take(t, batch, err);
	if (r == 0)
		r = jobs_run(t, batch, err);
	if (r == 0 && t->bodies_in_rows)
		r = gt_body_list_drop(t, &t->unused, err);
	if (r == 0)
		r = gt_db_commit(t->db, err);
	if (r == 0) {
		gt_body_list_remove(&t->unused, t->bodies_fd);
		return 0;
	}
	gt_db_rollback(t->db);
	gt_body_list_clear(&t->unused);
	t->seq_last = t->seq_next;
	return r;
}

static void rows_forget(struct gt_job *job)
{
	for (size_t i = 0; i < job->n_rows; i++)
		free(job->rows[i].spec_json);
	job->n_rows = 0;
	if (job->member)
		job->member->n_tokens = 0;
}

/* ---- a full disk ---------------------------------------------------------------------------- */

bool gt_job_unwelcome(struct gt_store *s, struct gt_job *job)
{
	if (!gt_job_grows(job) || gt_ballast_ready(&s->ballast))
		return false;
	gt_err_set(&job->err, ENOSPC, "storage_full",
		   "the state disk is full; free some space and try again");
	return true;
}

/* What is owed gets the room that was kept for it. */
static int transaction_try(struct gt_store *s, struct gt_job *job, struct gt_err *err)
{
	int r = transaction_run(s, job, err);

	if (err->code != ENOSPC || gt_job_grows(job) || !gt_ballast_drop(&s->ballast))
		return r;
	gt_err_clear(err);
	gt_err_clear(&job->err);
	return transaction_run(s, job, err);
}

/* ---- doubt ---------------------------------------------------------------------------------- */

/* Calls are told that they were not taken; whoever made them says them again, and the numbers of
 * those that wait are counted anew. Of a function or a node control holds what it has asked for, so
 * it must hear what is. */
static void doubt_begin(struct gt_store *s, struct gt_job **batch, const struct gt_err *err)
{
	struct gt_job *job, *tmp;

	s->doubt.open = true;
	s->doubt.commits = s->commits;
	s->doubt.why = *err;
	DL_FOREACH_SAFE (*batch, job, tmp) {
		rows_forget(job);
		job->err = *err;
		if (job->op)
			continue;
		DL_DELETE(*batch, job);
		DL_APPEND(s->doubt.held, job);
	}
}

/* True when there is none. */
static bool doubt_end(struct gt_store *s)
{
	struct gt_tasks_db *t = &s->lanes[GT_LANE_WRITER].tasks;
	struct gt_query *q;
	struct gt_err err = { 0 };
	struct gt_job *job;
	bool made;
	int r;

	if (!s->doubt.open)
		return true;
	if (gt_db_ready(t->db, &err) < 0)
		return false;
	q = gt_sql(t->db, &err, GT_SQL_COMMITS, "i", (int64_t)s->epoch);
	r = gt_db_step(q, &err);
	made = r > 0 && (uint64_t)gt_db_int(q, 0) == s->doubt.commits;
	gt_query_release(q);
	if (r < 0)
		return false;
	if (r == 0) {
		gt_err_set(&err, ESTALE, "unavailable", "another control has taken over");
		gt_trouble_note(s, &err);
	}
	DL_FOREACH (s->doubt.held, job)
		job->err = made ? (struct gt_err){ 0 } : s->doubt.why;
	s->doubt.open = false;
	pthread_mutex_lock(&s->lock);
	s->recount = true;
	pthread_mutex_unlock(&s->lock);
	gt_store_finish(s, s->doubt.held);
	s->doubt.held = NULL;
	return true;
}

/* ---- a batch -------------------------------------------------------------------------------- */

/* Whether they are in the log after all is only known when it is read anew: they are told to have
 * failed, and files that their rows may name stay until the next start. */
static void batch_fail(struct gt_store *s, struct gt_job *batch, const struct gt_err *err)
{
	struct gt_job *job;

	DL_FOREACH (batch, job) {
		rows_forget(job);
		job->err = *err;
	}
	if (gt_is_trouble(err))
		gt_trouble_note(s, err);
}

/* What was made for rows that are not there. Of a database that is lost the next start sweeps. */
static void bodies_drop(struct gt_store *s, struct gt_job *batch)
{
	struct gt_tasks_db *t = &s->lanes[GT_LANE_WRITER].tasks;
	struct gt_err err = { 0 };
	struct gt_job *job;

	DL_FOREACH (batch, job) {
		if (!job->err.code || gt_is_trouble(&job->err) || job->err.code == ENOTCONN)
			continue;
		if (t->bodies_in_rows && job->files.n)
			(void)!gt_body_list_drop(t, &job->files, &err);
		else
			gt_body_list_remove(&job->files, t->bodies_fd);
	}
}

/* One by one, so that only those fail that must. After trouble nothing is tried again. */
static void one_by_one(struct gt_store *s, struct gt_job **batch)
{
	struct gt_job *job, *tmp, *done = NULL;
	struct gt_err stop = { 0 };

	DL_FOREACH_SAFE (*batch, job, tmp) {
		struct gt_err err = stop;
		int r = 0;

		DL_DELETE(*batch, job);
		job->prev = job;
		job->next = NULL;
		rows_forget(job);
		if (!err.code && gt_db_ready(s->lanes[GT_LANE_WRITER].tasks.db, &err) == 0)
			r = transaction_try(s, job, &err);
		if (err.code)
			job->err = err;
		if (gt_is_trouble(&err) || err.code == ENOTCONN)
			stop = err;
		if (r == -EINPROGRESS)
			doubt_begin(s, &job, &err);
		if (job)
			DL_APPEND(done, job);
	}
	*batch = done;
	if (gt_is_trouble(&stop))
		gt_trouble_note(s, &stop);
}

/* All in one transaction, tried again at once when the connection was found to be a dead one. */
static void batch_run(struct gt_store *s, struct gt_job **batch)
{
	struct gt_tasks_db *t = &s->lanes[GT_LANE_WRITER].tasks;
	struct gt_err err = { 0 };
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_db_ready(t->db, &err);
	if (r == 0)
		r = transaction_run(s, *batch, &err);
	if (r == -ENOTCONN && gt_db_ready(t->db, &err) == 0)
		r = transaction_run(s, *batch, &err);
	if (r == -EINPROGRESS)
		doubt_begin(s, batch, &err);
	else if (gt_is_trouble(&err) || r == -ENOTCONN)
		batch_fail(s, *batch, &err);
	else if (r < 0)
		one_by_one(s, batch);
	bodies_drop(s, *batch);
	pthread_mutex_unlock(&s->db_lock);
}

static bool settled(struct gt_store *s)
{
	bool r;

	pthread_mutex_lock(&s->db_lock);
	r = doubt_end(s);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

/* Those that there is room for; the others have their answer. */
static struct gt_job *welcome(struct gt_store *s, struct gt_job *batch)
{
	struct gt_job *job, *tmp, *refused = NULL;

	DL_FOREACH_SAFE (batch, job, tmp) {
		if (!gt_job_unwelcome(s, job))
			continue;
		DL_DELETE(batch, job);
		DL_APPEND(refused, job);
	}
	bodies_drop(s, refused);
	gt_store_finish(s, refused);
	return batch;
}

void *gt_writer_main(void *arg)
{
	struct gt_lane *l = arg;
	struct gt_store *s = l->store;

	while (!gt_lane_ends(l)) {
		struct gt_job *batch = gt_lane_take(l, BATCH_MAX, s->doubt.open ? DOUBT_MS : 0);

		if (!settled(s) && batch) /* nothing is built on what nobody knows */
			batch_fail(s, batch, &s->doubt.why);
		else if (batch && !gt_store_refuses(s, batch) && (batch = welcome(s, batch)))
			batch_run(s, &batch);
		if (batch)
			gt_store_finish(s, batch);
	}
	return NULL;
}
