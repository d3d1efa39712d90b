/* store/lanes.c - the queues and their threads, but for the writer's: readers, the one for large
 * bodies, and the one that looks for damage. */
#include <signal.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "store_priv.h"

struct gt_job *gt_lane_take(struct gt_lane *l, int most, uint64_t wait_ms)
{
	struct gt_store *s = l->store;
	struct timespec until = gt_in_ms(wait_ms);
	struct gt_job *batch = NULL;

	pthread_mutex_lock(&s->lock);
	while (!l->queue && !l->stopping)
		if (!wait_ms)
			pthread_cond_wait(&l->wake, &s->lock);
		else if (pthread_cond_timedwait(&l->wake, &s->lock, &until) == ETIMEDOUT)
			break;
	for (int n = 0; l->queue && n < most; n++) {
		struct gt_job *job = l->queue;

		DL_DELETE(l->queue, job);
		l->n_queued--;
		DL_APPEND(batch, job);
	}
	pthread_mutex_unlock(&s->lock);
	return batch;
}

bool gt_lane_ends(struct gt_lane *l)
{
	bool r;

	pthread_mutex_lock(&l->store->lock);
	r = l->stopping && !l->queue;
	pthread_mutex_unlock(&l->store->lock);
	return r;
}

void gt_lane_add(struct gt_lane *l, struct gt_job *job)
{
	DL_APPEND(l->queue, job);
	l->n_queued++;
	pthread_cond_signal(&l->wake);
}

void gt_store_finish(struct gt_store *s, struct gt_job *jobs)
{
	if (!jobs)
		return;
	pthread_mutex_lock(&s->lock);
	DL_CONCAT(s->finished, jobs);
	pthread_mutex_unlock(&s->lock);
	s->config.notify(s->config.notify_arg);
}

/* ---- readers -------------------------------------------------------------------------------- */

static int read_once(struct gt_lane *l, struct gt_job *job)
{
	int r = gt_db_ready(l->tasks.db, &job->err);

	if (r == 0)
		r = job->run(job, &l->tasks, &job->err);
	if (r < 0 && !job->err.code)
		gt_err_set(&job->err, EAGAIN, "unavailable", "the state database");
	return r;
}

static void *reader_main(void *arg)
{
	struct gt_lane *l = arg;
	struct gt_job *job;

	while ((job = gt_lane_take(l, 1, 0))) {
		bool untouched = !job->n_rows && (!job->op || !job->op->n_tasks);

		/* A connection that ended while nobody used it is found to have by its next use. */
		if (read_once(l, job) < 0 && job->err.code == ENOTCONN && untouched &&
		    !job->n_rows && (!job->op || !job->op->n_tasks)) {
			gt_err_clear(&job->err);
			(void)!read_once(l, job);
		}
		if (gt_is_trouble(&job->err))
			gt_trouble_note(l->store, &job->err);
		gt_store_finish(l->store, job);
	}
	return NULL;
}

/* ---- large bodies --------------------------------------------------------------------------- */

static int bodies_write(struct gt_tasks_db *t, struct gt_job *job, struct gt_err *err)
{
	int r;

	if (!t->bodies_in_rows) {
		r = gt_job_write_bodies(job, t, err);
		if (r < 0)
			gt_body_list_remove(&job->files, t->bodies_fd);
		return r;
	}
	r = gt_db_ready(t->db, err);
	if (r == 0)
		r = gt_db_begin(t->db, err);
	if (r == 0)
		r = gt_fence(t, NULL, err);
	if (r == 0)
		r = gt_job_write_bodies(job, t, err);
	if (r == 0)
		r = gt_db_commit(t->db, err);
	if (r == 0)
		return 0;
	gt_db_rollback(t->db);
	gt_body_list_clear(&job->files);
	return r;
}

static int bodies_try(struct gt_lane *l, struct gt_job *job)
{
	int r = bodies_write(&l->tasks, job, &job->err);

	if (job->err.code != ENOSPC || gt_job_grows(job) || !gt_ballast_drop(&l->store->ballast))
		return r;
	gt_err_clear(&job->err);
	return bodies_write(&l->tasks, job, &job->err);
}

/* They are synced one after the other; meanwhile the writer commits what is small. */
static void *bodies_main(void *arg)
{
	struct gt_lane *l = arg;
	struct gt_store *s = l->store;
	struct gt_job *job;

	while ((job = gt_lane_take(l, 1, 0))) {
		if (gt_store_refuses(s, job) || gt_job_unwelcome(s, job) ||
		    bodies_try(l, job) < 0) {
			if (gt_is_trouble(&job->err))
				gt_trouble_note(s, &job->err);
			gt_store_finish(s, job);
			continue;
		}
		pthread_mutex_lock(&s->lock);
		gt_lane_add(&s->lanes[GT_LANE_WRITER], job);
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

/* ---- damage --------------------------------------------------------------------------------- */

/* Once, beside all else: what is damaged is better known before it is needed. A page that can not
 * be read twice stays so, however often we start. */
static void *check_main(void *arg)
{
	struct gt_lane *l = arg;
	struct gt_err err = { 0 };

	for (int looks = 0; looks < 2; looks++) {
		gt_err_clear(&err);
		if (gt_db_check(l->tasks.db, false, &err) == 0 || !gt_is_trouble(&err))
			return NULL;
	}
	err.code = EBADMSG;
	gt_trouble_note(l->store, &err);
	return NULL;
}

/* ---- start and stop ------------------------------------------------------------------------- */

int gt_lane_start(struct gt_store *s, int which, struct gt_err *err)
{
	static const struct {
		void *(*run)(void *arg);
		const char *name;
	} mains[GT_LANES] = {
		[GT_LANE_WRITER] = { gt_writer_main, "store" },
		[GT_LANE_READER] = { reader_main, "store-read" },
		[GT_LANE_LISTER] = { reader_main, "store-list" },
		[GT_LANE_BODIES] = { bodies_main, "store-bodies" },
		[GT_LANE_CHECK] = { check_main, "store-check" },
	};
	struct gt_lane *l = &s->lanes[which];
	sigset_t all, before;
	int r;

	sigfillset(&all); /* signals belong to the loop's thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, mains[which].run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return gt_err_errno(err, r, "start a thread of the store");
	pthread_setname_np(l->thread, mains[which].name);
	l->has_thread = true;
	return 0;
}

static void lane_join(struct gt_store *s, struct gt_lane *l)
{
	if (l != &s->lanes[GT_LANE_CHECK]) {
		pthread_join(l->thread, NULL);
		return;
	}
	for (;;) { /* an interruption before its statement has begun is lost */
		const struct timespec pause = { .tv_nsec = 5 * GT_NS_PER_MS };

		gt_db_interrupt(l->tasks.db);
		if (pthread_tryjoin_np(l->thread, NULL) != EBUSY)
			return;
		nanosleep(&pause, NULL);
	}
}

/* Those for bodies give the writer work, so they end before. */
void gt_lanes_stop(struct gt_store *s)
{
	static const int order[] = { GT_LANE_CHECK, GT_LANE_BODIES, GT_LANE_READER, GT_LANE_LISTER,
				     GT_LANE_WRITER };

	for (size_t i = 0; i < GT_LEN(order); i++) {
		struct gt_lane *l = &s->lanes[order[i]];

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
