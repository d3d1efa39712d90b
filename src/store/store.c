/* store/store.c - the front door: opens the database and its connections, loads what control keeps
 * in memory, queues the rest.
 *
 * Two locks: `lock` guards the queues and is held for moments; `db_lock` is held while the writer's
 * connection is used, over a whole transaction. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "hosts.h"
#include "keys.h"
#include "members.h"
#include "store_priv.h"

#define QUEUE_MAX 16384 /* jobs of a lane; more are refused */

/* ---- open and close ------------------------------------------------------------------------- */

static const char epoch_sql[] =
	"UPDATE leader SET epoch = 1 + (SELECT max(x) FROM (SELECT value AS x FROM meta"
	" WHERE key = 'epoch' UNION ALL SELECT epoch FROM leader) n), expires_ms = 0"
	" RETURNING epoch";

/* Also where older programs look for it. */
static int epoch_advance(struct gt_store *s, struct gt_db *db, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(db, err, epoch_sql, "");
	int r = gt_db_step(q, err);

	if (r <= 0)
		return r < 0 ? r : gt_err_set(err, EBADMSG, "internal", "no row of a leader");
	s->epoch = (uint64_t)gt_db_int(q, 0);
	return gt_db_finish(gt_db_query(db, err, "UPDATE meta SET value = ?1 WHERE key = 'epoch'",
					"i", (int64_t)s->epoch),
			    err);
}

static int number_read(struct gt_db *db, enum gt_sql which, const char *types, int64_t arg,
		       uint64_t *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_sql(db, err, which, types, arg);
	int r = gt_db_step(q, err);

	if (r < 0)
		return r;
	if (r == 0)
		return gt_err_set(err, ESTALE, "unavailable", "another control has taken over");
	*ret = (uint64_t)gt_db_int(q, 0);
	return 0;
}

static int begin_in(struct gt_store *s, struct gt_tasks_db *t, struct gt_err *err)
{
	uint64_t mark = 0;
	int r = s->config.epoch ? 0 : epoch_advance(s, t->db, err);

	t->epoch = s->epoch;
	if (r == 0)
		r = number_read(t->db, GT_SQL_COMMITS, "i", (int64_t)s->epoch, &s->commits, err);
	if (r == 0) /* one more, under the fence: it is ours */
		r = gt_fence(t, (mark = ++s->commits, &mark), err);
	if (r == 0)
		r = number_read(t->db, GT_SQL_SEQ_GET, "", 0, &t->seq_next, err);
	t->seq_last = ++t->seq_next;
	return r < 0 ? r : gt_bodies_sweep(t, err);
}

/* The epoch, and what goes with it, in one transaction. */
static int begin(struct gt_store *s, struct gt_err *err)
{
	struct gt_tasks_db *t = &s->lanes[GT_LANE_WRITER].tasks;
	int r = gt_db_begin(t->db, err);

	s->epoch = s->config.epoch;
	if (r == 0)
		r = begin_in(s, t, err);
	if (r == 0)
		r = gt_db_commit(t->db, err);
	if (r < 0)
		gt_db_rollback(t->db);
	return r;
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
	return 0;
}

static int connect_lane(struct gt_store *s, int which, struct gt_err *err)
{
	struct gt_tasks_db *t = &s->lanes[which].tasks;
	struct gt_db_config config = { .path = s->path,
				       .patience_ms = s->config.patience_ms,
				       .reads = which != GT_LANE_WRITER &&
						which != GT_LANE_BODIES };

	if (which == GT_LANE_WRITER)
		config.pages_max = s->config.pages_max;
	t->bodies_fd = s->bodies_fd;
	t->bodies_in_rows = gt_db_is_url(s->path);
	t->epoch = s->epoch;
	if (which == GT_LANE_BODIES && !t->bodies_in_rows)
		return 0;
	return gt_db_open(&config, &t->db, err);
}

static void on_trouble(void *arg, const struct gt_err *err)
{
	if (gt_is_trouble(err))
		gt_trouble_note(arg, err);
}

/* Has the lane work to do here? */
static bool lane_needed(const struct gt_store *s, int which)
{
	if (which == GT_LANE_BODIES)
		return s->bodies_fd >= 0 || gt_db_is_url(s->path);
	return which != GT_LANE_CHECK || !gt_db_is_url(s->path);
}

static int store_prepare(struct gt_store *s, struct gt_err *err)
{
	struct gt_tasks_db *writer = &s->lanes[GT_LANE_WRITER].tasks;
	int r = gt_db_is_url(s->path) ? 0 : bodies_open(s, err);

	if (r == 0)
		r = connect_lane(s, GT_LANE_WRITER, err);
	if (r == 0)
		r = gt_db_migrate(writer->db, s->shown, err);
	if (r == 0)
		r = begin(s, err);
	if (r == 0 && !gt_db_is_url(s->path))
		gt_db_on_trouble(writer->db, on_trouble, s);
	for (int i = 0; i < GT_LANES && r == 0; i++)
		if (i != GT_LANE_WRITER && lane_needed(s, i))
			r = connect_lane(s, i, err);
	for (int i = 0; i < GT_LANES && r == 0; i++)
		if (lane_needed(s, i))
			r = gt_lane_start(s, i, err);
	return r;
}

int gt_store_open(const struct gt_store_config *config, struct gt_store **ret, struct gt_err *err)
{
	gt_auto(store) struct gt_store *s = gt_alloc(sizeof(*s));
	int r;

	s->config = *config;
	s->path = gt_strdup(config->path);
	s->shown = gt_strdup(gt_db_is_url(config->path) ? "the state database" : config->path);
	pthread_mutex_init(&s->db_lock, NULL);
	pthread_mutex_init(&s->lock, NULL);
	gt_ballast_open(&s->ballast, config->ballast);
	s->bodies_fd = -1;
	for (int i = 0; i < GT_LANES; i++) {
		s->lanes[i].store = s;
		s->lanes[i].tasks.bodies_fd = -1;
		gt_cond_init(&s->lanes[i].wake);
	}
	r = store_prepare(s, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&s);
	return 0;
}

static void jobs_free(struct gt_job *jobs)
{
	struct gt_job *job, *tmp;

	DL_FOREACH_SAFE (jobs, job, tmp)
		gt_job_free(job);
}

void gt_store_close(struct gt_store *s)
{
	if (!s)
		return;
	gt_lanes_stop(s);
	jobs_free(s->finished);
	jobs_free(s->doubt.held);
	for (int i = GT_LANES - 1; i >= 0; i--) { /* the writer is the last: it empties the log */
		struct gt_lane *l = &s->lanes[i];

		gt_body_list_clear(&l->tasks.unused);
		gt_db_close(l->tasks.db, !s->trouble.code);
		pthread_cond_destroy(&l->wake);
	}
	gt_close(s->bodies_fd);
	gt_ballast_close(&s->ballast);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->db_lock);
	free(s->path);
	free(s->shown);
	free(s);
}

uint64_t gt_store_epoch(const struct gt_store *s)
{
	return s->epoch;
}

int gt_store_failed(struct gt_store *s, struct gt_err *err)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->trouble.code == EIO || s->trouble.code == ESTALE) {
		*err = s->trouble;
		r = -err->code;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

bool gt_store_recount(struct gt_store *s)
{
	bool r;

	pthread_mutex_lock(&s->lock);
	r = s->recount;
	s->recount = false;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- what blocks ---------------------------------------------------------------------------- */

static int load_locked(struct gt_store *s, gt_store_row_fn *fn, void *arg, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		s->lanes[GT_LANE_WRITER].tasks.db, err,
		"SELECT f.name, f.revision, r.etag, r.spec, f.created_ms, f.updated_ms"
		" FROM functions f JOIN revisions r"
		" ON r.function = f.name AND r.revision = f.revision ORDER BY f.name",
		"");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		gt_auto(free) char *name = gt_strdup(gt_db_text(q, 0));
		gt_auto(free) char *spec = gt_strdup(gt_db_text(q, 3));
		struct gt_function_row row = {
			.name = name,
			.revision = (uint32_t)gt_db_int(q, 1),
			.spec_json = spec,
			.created_ms = (uint64_t)gt_db_int(q, 4),
			.updated_ms = (uint64_t)gt_db_int(q, 5),
		};

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
	gt_auto(query) struct gt_query *q = gt_db_query(
		s->lanes[GT_LANE_WRITER].tasks.db, err,
		"SELECT name, duty, drain_until_ms FROM nodes ORDER BY name", "");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_node_row row = {
			.duty = gt_db_int(q, 1) == GT_DUTY_DRAINING ? GT_DUTY_DRAINING
								    : GT_DUTY_CORDONED,
			.drain_until_ms = (uint64_t)gt_db_int(q, 2),
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
	r = gt_members_load(s->lanes[GT_LANE_WRITER].tasks.db, fn, arg, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_load_hosts(struct gt_store *s, void (*fn)(const struct gt_host_row *row, void *arg),
			void *arg, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_hosts_load(s->lanes[GT_LANE_WRITER].tasks.db, fn, arg, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_authority(struct gt_store *s, struct gt_buf *key, struct gt_buf *cert,
		       struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_authority_read(s->lanes[GT_LANE_WRITER].tasks.db, key, cert, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_authority_keep(struct gt_store *s, const char *key, const char *cert,
			    struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_authority_keep(s->lanes[GT_LANE_WRITER].tasks.db, key, cert, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_key(struct gt_store *s, const char *name, struct gt_buf *ret, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_key_read(s->lanes[GT_LANE_WRITER].tasks.db, name, ret, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_webhook_keys(struct gt_store *s, struct gt_webhook_keys *ret, struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_webhook_keys_read(s->lanes[GT_LANE_WRITER].tasks.db, ret, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

int gt_store_key_keep(struct gt_store *s, const char *name, const char *value, uint64_t now_ms,
		      struct gt_err *err)
{
	int r;

	pthread_mutex_lock(&s->db_lock);
	r = gt_key_keep(s->lanes[GT_LANE_WRITER].tasks.db, name, value, now_ms, err);
	pthread_mutex_unlock(&s->db_lock);
	return r;
}

/* ---- what is queued ------------------------------------------------------------------------- */

static int lane_of(const struct gt_store *s, const struct gt_job *job)
{
	if (gt_job_reads(job))
		return gt_job_lists(job) ? GT_LANE_LISTER : GT_LANE_READER;
	if (gt_job_has_bodies(job) && lane_needed(s, GT_LANE_BODIES))
		return GT_LANE_BODIES;
	return GT_LANE_WRITER;
}

static void job_queue(struct gt_store *s, struct gt_job *job)
{
	struct gt_lane *l = &s->lanes[lane_of(s, job)];
	bool full, stopped;

	pthread_mutex_lock(&s->lock);
	full = l->n_queued >= QUEUE_MAX;
	stopped = s->trouble.code && !gt_job_reads(job);
	if (stopped) {
		job->err = s->trouble;
		DL_APPEND(s->finished, job);
	} else if (full) {
		gt_err_set(&job->err, EAGAIN, "unavailable", "%d requests wait already", QUEUE_MAX);
		DL_APPEND(s->finished, job);
	} else {
		gt_lane_add(l, job);
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

void gt_store_webhook(void *ctx, struct gt_webhook_op *op)
{
	job_queue(ctx, gt_job_webhook(op));
}

void gt_store_host(void *ctx, struct gt_host_op *op)
{
	job_queue(ctx, gt_job_host(op));
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
	job_queue(ctx, gt_job_task(op));
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
