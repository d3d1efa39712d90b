/* store/store.c - the front door, and its threads: the writer with its group commit, the reader
 * with a connection of its own, and one that writes large bodies into files.
 *
 * Two locks: `lock` guards the queues and is held for moments; `db_lock` is held while the writer's
 * connection is used, over a whole transaction. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/store/store.h>

#include "job.h"
#include "members.h"

#define BATCH_MAX 256   /* jobs a transaction */
#define QUEUE_MAX 16384 /* jobs; more are refused */
#define LOG_PAGES 4000  /* of the write-ahead log: then it is moved into the database */

enum { WRITER, READER, FILES, CHECK, LANES };

/* Jobs in their order, and the thread that does them. */
struct lane {
	struct gt_store *store;
	struct gt_job *queue;
	pthread_cond_t wake;
	pthread_t thread;
	bool has_thread, stopping;
};

struct gt_store {
	struct gt_store_config config;
	char *path;
	uint64_t epoch;
	pthread_mutex_t db_lock;
	sqlite3 *db, *reader, *checker;
	int bodies_fd;
	struct gt_tasks_db tasks, tasks_read;
	pthread_mutex_t lock; /* of all below */
	struct lane lanes[LANES];
	struct gt_job *finished;
	size_t n_queued;
	struct gt_err trouble; /* why nothing is written any more: EIO or EBADMSG */
};

/* ---- trouble -------------------------------------------------------------------------------- */

static bool is_trouble(const struct gt_err *err)
{
	return err->code == EIO || err->code == EBADMSG;
}

/* What failed to reach the disk is not tried again: the system may have forgotten the pages, and
 * would say that all is well. Nor is anything built on a damaged database. */
static void trouble_note(struct gt_store *s, const struct gt_err *why)
{
	struct gt_err err = { 0 };
	bool first;

	if (why->code == EIO)
		gt_err_set(&err, EIO, "unavailable",
			   "the state disk failed, nothing more is written: %s", why->text);
	else
		gt_err_set(&err, EBADMSG, "unavailable",
			   "the state database %s is damaged, nothing more is written to it: stop "
			   "the daemon and restore control/ from its backup (%s)",
			   s->path, why->text);
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

int gt_store_failed(struct gt_store *s, struct gt_err *err)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->trouble.code == EIO) {
		*err = s->trouble;
		r = -EIO;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* True when nothing is written any more; then each has its answer. */
static bool refuse(struct gt_store *s, struct gt_job *jobs)
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

/* ---- the writer thread ---------------------------------------------------------------------- */

/* SQLite's own hook passes over a sync of the database that failed. The commit itself is in the
 * log, durably. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct gt_store *s = arg;
	struct gt_err err = { 0 };

	if (pages < LOG_PAGES ||
	    sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK)
		return SQLITE_OK;
	gt_db_error(db, &err, "move the log into the database");
	if (is_trouble(&err))
		trouble_note(s, &err);
	return SQLITE_OK;
}

/* One job inside its own savepoint, so that its failure takes nothing else along. False when SQLite
 * gave up the whole transaction (a full disk may do that). */
static bool job_run(sqlite3 *db, struct gt_job *job)
{
	size_t unused = job->tasks ? job->tasks->unused.n : 0;

	gt_err_clear(&job->err);
	if (gt_db_exec(db, "SAVEPOINT job", &job->err) < 0)
		return false;
	if (job->run(job, db, &job->err) < 0) {
		if (is_trouble(&job->err))
			return false;
		sqlite3_exec(db, "ROLLBACK TO job", NULL, NULL, NULL);
		if (job->tasks) /* what it dropped is still there */
			job->tasks->unused.n = unused;
	}
	if (sqlite3_get_autocommit(db))
		return false;
	return sqlite3_exec(db, "RELEASE job", NULL, NULL, NULL) == SQLITE_OK;
}

/* 0 when each job of the batch has its own outcome; else nothing of it is in the database. */
static int transaction_run(struct gt_store *s, struct gt_job *batch, struct gt_err *err)
{
	sqlite3 *db = s->db;
	struct gt_job *job;
	int r = gt_db_exec(db, "BEGIN IMMEDIATE", err);

	if (r < 0)
		return r;
	DL_FOREACH (batch, job) {
		if (!job_run(db, job)) {
			r = job->err.code ? -job->err.code : gt_db_error(db, &job->err, "write");
			*err = job->err;
			break;
		}
	}
	if (r == 0)
		r = gt_db_exec(db, "COMMIT", err);
	if (r < 0 && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	if (r == 0)
		gt_body_list_remove(&s->tasks.unused, s->bodies_fd);
	else
		gt_body_list_clear(&s->tasks.unused);
	return r;
}

static void rows_forget(struct gt_job *job)
{
	for (size_t i = 0; i < job->n_rows; i++)
		free(job->rows[i].spec_json);
	job->n_rows = 0;
}

/* Whether they are in the log after all is only known when it is read anew: they are told to have
 * failed, and files that their rows may name stay until the next start. */
static void batch_fail(struct gt_store *s, struct gt_job *batch, const struct gt_err *err)
{
	struct gt_job *job;

	DL_FOREACH (batch, job) {
		rows_forget(job);
		job->err = *err;
	}
	trouble_note(s, err);
}

/* All in one transaction; when that fails as a whole, one by one, so that only those fail that
 * must. After an I/O error nothing is tried again. */
static void batch_run(struct gt_store *s, struct gt_job **batch)
{
	struct gt_err err = { 0 }, trouble = { 0 };
	struct gt_job *job, *tmp, *done = NULL;

	pthread_mutex_lock(&s->db_lock);
	if (transaction_run(s, *batch, &err) < 0 && !is_trouble(&err)) {
		DL_FOREACH_SAFE (*batch, job, tmp) {
			DL_DELETE(*batch, job);
			job->prev = job;
			job->next = NULL;
			rows_forget(job);
			gt_err_clear(&err);
			if (is_trouble(&trouble) || transaction_run(s, job, &err) < 0)
				job->err = is_trouble(&trouble) ? trouble : err;
			if (is_trouble(&job->err))
				trouble = job->err;
			DL_APPEND(done, job);
		}
		*batch = done;
	} else if (is_trouble(&err)) {
		batch_fail(s, *batch, &err);
	}
	pthread_mutex_unlock(&s->db_lock);
	if (is_trouble(&trouble))
		trouble_note(s, &trouble);
	DL_FOREACH (*batch, job)
		if (job->err.code && !is_trouble(&job->err)) /* no row names them */
			gt_body_list_remove(&job->files, s->bodies_fd);
}

/* Waits for work; at most so many. NULL = the store ends. */
static struct gt_job *lane_take(struct lane *l, int most)
{
	struct gt_store *s = l->store;
	struct gt_job *batch = NULL;

	pthread_mutex_lock(&s->lock);
	while (!l->queue && !l->stopping)
		pthread_cond_wait(&l->wake, &s->lock);
	for (int n = 0; l->queue && n < most; n++) {
		struct gt_job *job = l->queue;

		DL_DELETE(l->queue, job);
		s->n_queued--;
		DL_APPEND(batch, job);
	}
	pthread_mutex_unlock(&s->lock);
	return batch;
}

static void finish(struct gt_store *s, struct gt_job *jobs)
{
	pthread_mutex_lock(&s->lock);
	DL_CONCAT(s->finished, jobs);
	pthread_mutex_unlock(&s->lock);
	s->config.notify(s->config.notify_arg);
}

static void *writer_main(void *arg)
{
	struct lane *l = arg;
	struct gt_job *batch;

	while ((batch = lane_take(l, BATCH_MAX))) {
		if (!refuse(l->store, batch))
			batch_run(l->store, &batch);
		finish(l->store, batch);
	}
	return NULL;
}

/* ---- the other two -------------------------------------------------------------------------- */

static void *reader_main(void *arg)
{
	struct lane *l = arg;
	struct gt_job *job;

	while ((job = lane_take(l, 1))) {
		if (job->run(job, l->store->reader, &job->err) < 0 && !job->err.code)
			gt_err_set(&job->err, EAGAIN, "unavailable", "the state database");
		if (is_trouble(&job->err))
			trouble_note(l->store, &job->err);
		finish(l->store, job);
	}
	return NULL;
}

static void lane_add(struct lane *l, struct gt_job *job)
{
	DL_APPEND(l->queue, job);
	l->store->n_queued++;
	pthread_cond_signal(&l->wake);
}

/* Large bodies are synced one after the other; meanwhile the writer commits what is small. */
static void *files_main(void *arg)
{
	struct lane *l = arg;
	struct gt_store *s = l->store;
	struct gt_job *job;

	while ((job = lane_take(l, 1))) {
		if (refuse(s, job) || gt_job_write_files(job) < 0) {
			if (is_trouble(&job->err))
				trouble_note(s, &job->err);
			finish(s, job);
			continue;
		}
		pthread_mutex_lock(&s->lock);
		lane_add(&s->lanes[WRITER], job);
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

/* Once, beside all else: what is damaged is better known before it is needed. */
static void *check_main(void *arg)
{
	struct lane *l = arg;
	struct gt_err err = { 0 };

	if (gt_db_check(l->store->checker, &err) == 0 || !is_trouble(&err))
		return NULL;
	err.code = EBADMSG; /* a page that can not be read stays so, however often we start */
	trouble_note(l->store, &err);
	return NULL;
}

static int lane_start(struct gt_store *s, int which, struct gt_err *err)
{
	static void *(*const mains[LANES])(void *) = { writer_main, reader_main, files_main,
						       check_main };
	static const char *const names[LANES] = { "store", "store-read", "store-files",
						  "store-check" };
	struct lane *l = &s->lanes[which];
	sigset_t all, before;
	int r;

	sigfillset(&all); /* signals belong to the loop's thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, mains[which], l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return gt_err_errno(err, r, "start a thread of the store");
	pthread_setname_np(l->thread, names[which]);
	l->has_thread = true;
	return 0;
}

static void lane_join(struct gt_store *s, struct lane *l)
{
	const uint64_t pause_ns = 10 * GT_NS_PER_MS;

	if (l != &s->lanes[CHECK]) {
		pthread_join(l->thread, NULL);
		return;
	}
	for (;;) { /* an interruption before its statement has begun is lost */
		uint64_t until_ns = gt_wall_ms(&gt_clock_system) * GT_NS_PER_MS + pause_ns;
		struct timespec until = { (time_t)(until_ns / GT_NS_PER_S),
					  (long)(until_ns % GT_NS_PER_S) };

		sqlite3_interrupt(s->checker);
		if (pthread_timedjoin_np(l->thread, NULL, &until) != ETIMEDOUT)
			return;
	}
}

/* The files' thread gives the writer work, so it ends before. */
static void lanes_stop(struct gt_store *s)
{
	static const int order[] = { CHECK, FILES, READER, WRITER };

	for (size_t i = 0; i < GT_LEN(order); i++) {
		struct lane *l = &s->lanes[order[i]];

		if (!l->has_thread)
			continue;
		pthread_mutex_lock(&s->lock);
		l->stopping = true;
		pthread_cond_signal(&l->wake);
		pthread_mutex_unlock(&s->lock);
		lane_join(s, l);
		l->has_thread = false;
	}
}

/* ---- open and close ------------------------------------------------------------------------- */

static int epoch_advance(struct gt_store *s, struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(
		s->db, err, "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value",
		"");
	int r = q ? gt_db_step(q, err) : -EIO;

	if (r < 0)
		return r;
	s->epoch = (uint64_t)sqlite3_column_int64(q, 0);
	return gt_db_step(q, err); /* the row comes before the commit */
}

static int bodies_open(struct gt_store *s, struct gt_err *err)
{
	const char *dir = s->config.bodies_dir;

	if (!dir)
		return 0;
	bool made = mkdir(dir, 0700) == 0;
	gt_auto(fd) int parent = -EBADF;

	if (!made && errno != EEXIST)
		return gt_err_errno(err, errno, "%s", dir);
	s->bodies_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->bodies_fd < 0)
		return gt_err_errno(err, errno, "%s", dir);
	if (made) { /* what is synced in it is only found when its own name is, too */
		parent = openat(s->bodies_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0 || fsync(parent) < 0)
			return gt_err_errno(err, errno, "the directory of %s", dir);
	}
	s->tasks.bodies_fd = s->tasks_read.bodies_fd = s->bodies_fd;
	return gt_bodies_sweep(&s->tasks, err);
}

static int store_prepare(struct gt_store *s, struct gt_err *err)
{
	int r = gt_db_open(s->path, s->config.pages_max, &s->db, err);

	if (r == 0)
		r = gt_db_wal_empty(s->db, err);
	if (r == 0)
		r = gt_db_migrate(s->db, s->path, err);
	if (r == 0)
		r = epoch_advance(s, err);
	if (r == 0)
		sqlite3_wal_hook(s->db, on_commit, s);
	if (r == 0)
		r = gt_db_open(s->path, 0, &s->reader, err);
	if (r == 0)
		r = gt_db_exec(s->reader, "PRAGMA query_only=1", err);
	if (r == 0)
		r = gt_db_open(s->path, 0, &s->checker, err);
	if (r == 0)
		r = gt_db_exec(s->checker, "PRAGMA query_only=1", err);
	s->tasks.db = s->db;
	s->tasks_read.db = s->reader;
	if (r == 0)
		r = bodies_open(s, err);
	for (int i = 0; i < LANES && r == 0; i++)
		r = lane_start(s, i, err);
	return r;
}

int gt_store_open(const struct gt_store_config *config, struct gt_store **ret, struct gt_err *err)
{
	gt_auto(store) struct gt_store *s = gt_alloc(sizeof(*s));
	int r;

	s->config = *config;
	s->path = gt_strdup(config->path);
	pthread_mutex_init(&s->db_lock, NULL);
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < LANES; i++) {
		s->lanes[i].store = s;
		pthread_cond_init(&s->lanes[i].wake, NULL);
	}
	s->bodies_fd = s->tasks.bodies_fd = s->tasks_read.bodies_fd = -1;
	r = store_prepare(s, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&s);
	return 0;
}

/* The last one to close moves the log into the database, unless it can not be trusted. */
static void db_close(const struct gt_store *s, sqlite3 *db)
{
	if (db && s->trouble.code)
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close_v2(db);
}

void gt_store_close(struct gt_store *s)
{
	struct gt_job *job, *tmp;

	if (!s)
		return;
	lanes_stop(s);
	DL_FOREACH_SAFE (s->finished, job, tmp)
		gt_job_free(job);
	gt_tasks_db_fini(&s->tasks);
	gt_tasks_db_fini(&s->tasks_read);
	db_close(s, s->checker);
	db_close(s, s->reader);
	db_close(s, s->db);
	gt_close(s->bodies_fd);
	for (int i = 0; i < LANES; i++)
		pthread_cond_destroy(&s->lanes[i].wake);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->db_lock);
	free(s->path);
	free(s);
}

uint64_t gt_store_epoch(const struct gt_store *s)
{
	return s->epoch;
}

/* ---- what blocks ---------------------------------------------------------------------------- */

static int load_locked(struct gt_store *s, gt_store_row_fn *fn, void *arg, struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(
		s->db, err,
		"SELECT f.name, f.revision, r.etag, r.spec, f.created_ms, f.updated_ms"
		" FROM functions f JOIN revisions r"
		" ON r.function = f.name AND r.revision = f.revision ORDER BY f.name",
		"");
	int r = q ? 0 : -EIO;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		gt_auto(free) char *spec = gt_strdup(gt_db_text(q, 3));
		struct gt_function_row row = {
			.revision = (uint32_t)sqlite3_column_int64(q, 1),
			.spec_json = spec,
			.created_ms = (uint64_t)sqlite3_column_int64(q, 4),
			.updated_ms = (uint64_t)sqlite3_column_int64(q, 5),
		};

		gt_strcopy(row.name, sizeof(row.name), gt_db_text(q, 0));
		gt_strcopy(row.etag, sizeof(row.etag), gt_db_text(q, 2));
		fn(&row, arg);
	}
	return r;
}

int gt_store_load(struct gt_store *s, gt_store_row_fn *fn, void *arg, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = load_locked(s, fn, arg, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

static int load_nodes_locked(struct gt_store *s,
			     void (*fn)(const struct gt_node_row *row, void *arg), void *arg,
			     struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(
		s->db, err, "SELECT name, duty, drain_until_ms FROM nodes ORDER BY name", "");
	int r = q ? 0 : -EIO;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_node_row row = {
			.duty = sqlite3_column_int64(q, 1) == GT_DUTY_DRAINING ? GT_DUTY_DRAINING
									       : GT_DUTY_CORDONED,
			.drain_until_ms = (uint64_t)sqlite3_column_int64(q, 2),
		};

		gt_strcopy(row.name, sizeof(row.name), gt_db_text(q, 0));
		fn(&row, arg);
	}
	return r;
}

int gt_store_load_nodes(struct gt_store *s, void (*fn)(const struct gt_node_row *row, void *arg),
			void *arg, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = load_nodes_locked(s, fn, arg, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_load_members(struct gt_store *s, void (*fn)(const struct gt_member *m, void *arg),
			  void *arg, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_members_load(s->db, fn, arg, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

/* ---- what is queued ------------------------------------------------------------------------- */

static int lane_of(const struct gt_job *job)
{
	if (gt_job_reads(job))
		return READER;
	return gt_job_has_files(job) ? FILES : WRITER;
}

static void job_queue(struct gt_store *s, struct gt_job *job)
{
	bool full, stopped;

	pthread_mutex_lock(&s->lock);
	full = s->n_queued >= QUEUE_MAX;
	stopped = s->trouble.code && !gt_job_reads(job);
	if (stopped) {
		job->err = s->trouble;
		DL_APPEND(s->finished, job);
	} else if (full) {
		gt_err_set(&job->err, EAGAIN, "unavailable", "%d writes wait already", QUEUE_MAX);
		DL_APPEND(s->finished, job);
	} else {
		lane_add(&s->lanes[lane_of(job)], job);
	}
	pthread_mutex_unlock(&s->lock);
	if (full || stopped)
		s->config.notify(s->config.notify_arg);
}

void gt_store_put(void *ctx, const struct gt_function_row *row,
		  void (*done)(const struct gt_err *err, void *arg), void *arg)
{
	struct gt_job *job = gt_job_put(row);

	job->done = done;
	job->arg = arg;
	job_queue(ctx, job);
}

void gt_store_drop(void *ctx, const char *function,
		   void (*done)(const struct gt_err *err, void *arg), void *arg)
{
	struct gt_job *job = gt_job_drop(function);

	job->done = done;
	job->arg = arg;
	job_queue(ctx, job);
}

void gt_store_put_node(void *ctx, const struct gt_node_row *row,
		       void (*done)(const struct gt_err *err, void *arg), void *arg)
{
	struct gt_job *job = gt_job_node(row);

	job->done = done;
	job->arg = arg;
	job_queue(ctx, job);
}

void gt_store_member(void *ctx, struct gt_member_op *op)
{
	job_queue(ctx, gt_job_member(op));
}

void gt_store_revisions(void *ctx, const char *function,
			void (*done)(const struct gt_err *err, const struct gt_function_row *rows,
				     size_t n, void *arg),
			void *arg)
{
	struct gt_job *job = gt_job_revisions(function);

	job->done_rows = done;
	job->arg = arg;
	job_queue(ctx, job);
}

void gt_store_task(void *ctx, struct gt_task_op *op)
{
	struct gt_store *s = ctx;
	bool reads = op->verb >= GT_TASK_GET;

	job_queue(s, gt_job_task(op, reads ? &s->tasks_read : &s->tasks));
}

void gt_store_poll(struct gt_store *s)
{
	struct gt_job *finished, *job, *tmp;

	pthread_mutex_lock(&s->lock);
	finished = s->finished;
	s->finished = NULL;
	pthread_mutex_unlock(&s->lock);
	DL_FOREACH_SAFE (finished, job, tmp)
		gt_job_complete(job);
}
