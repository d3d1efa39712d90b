/* image_jobs.c - the agent's side of the worker process (image/worker.h): started with the first
 * order, ended when there is nothing to do for a while, started again when it died. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

#define IDLE_MS            10000
#define INSECURE_MAX       32
#define DOCKER_CONFIG_MAX  (1024 * 1024)
#define DOCKER_CONFIG_PATH "/etc/gantry/registry.json"

struct image_job {
	struct images *im;
	struct image_job *prev, *next;
	struct gt_image_order order;
	struct image_want want;
	struct gt_timer late; /* a refusal at once is told later */
	struct gt_err err;
};

static void job_free(struct image_job *job)
{
	gt_timer_clear(job->im->agent->loop, &job->late);
	DL_DELETE(job->im->jobs, job);
	free(job);
}

static void fail(struct image_job *job, const struct gt_err *err)
{
	struct image_want want = job->want;

	job_free(job);
	want.on_failed(err, want.arg);
}

static void on_late(void *arg)
{
	struct image_job *job = arg;
	struct gt_err err = job->err;

	fail(job, &err);
}

/* ---- the end of the worker ---- */

static void close_worker(struct images *im)
{
	gt_timer_clear(im->agent->loop, &im->idle);
	gt_watch_close(gt_steal(&im->worker_watch));
	gt_watch_close(gt_steal(&im->pid_watch));
	im->worker_fd = gt_close(im->worker_fd);
	im->worker_pidfd = gt_close(im->worker_pidfd);
	im->worker_pid = 0;
}

static void on_death(struct gt_watch *w, unsigned events, void *arg)
{
	struct images *im = arg;
	struct image_job *job, *next;
	struct gt_err err = { 0 };

	(void)w;
	(void)events;
	gt_os_pidfd_reap(im->worker_pidfd, NULL);
	close_worker(im);
	gt_err_set(&err, ECHILD, "sandbox_failed", "the image worker died");
	DL_FOREACH_SAFE (im->jobs, job, next) {
		if (!gt_timer_is_set(&job->late))
			fail(job, &err);
	}
}

static void on_idle(void *arg)
{
	struct images *im = arg;

	if (im->jobs) {
		gt_timer_set(im->agent->loop, &im->idle, IDLE_MS, on_idle, im);
		return;
	}
	/* It ends with the socket; its death is waited for like any other. */
	gt_watch_close(gt_steal(&im->worker_watch));
	im->worker_fd = gt_close(im->worker_fd);
}

void gt_image_jobs_end(struct images *im)
{
	if (im->worker_pidfd >= 0) {
		gt_os_pidfd_signal(im->worker_pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)im->worker_pidfd, &(siginfo_t){ 0 }, WEXITED);
	}
	close_worker(im);
	while (im->jobs)
		job_free(im->jobs);
}

/* ---- what it tells ---- */

static void send_order(struct images *im, const struct gt_image_order *o)
{
	if (im->worker_fd >= 0)
		gt_os_send(im->worker_fd, o, sizeof(*o), NULL, 0, NULL);
}

static void keep_layer(struct images *im, const struct gt_image_event *e)
{
	struct gt_image_order o = { .op = GT_IMAGE_KEPT };
	struct gt_err err = { 0 };

	gt_strcopy(o.name, sizeof(o.name), e->name);
	if (gt_image_layer_keep(im, e->file, e->name, &err) < 0) {
		gt_warn("%s", err.text);
		o.code = err.code;
	}
	send_order(im, &o);
}

static void done(struct image_job *job, const struct gt_image_event *e)
{
	gt_auto(image_record) struct gt_image_record *record = NULL;
	struct images *im = job->im;
	struct image_want want = job->want;
	struct gt_err err = { 0 };
	bool keep = job->order.op != GT_IMAGE_RESOLVE;
	char digest[GT_REF_DIGEST_SIZE];
	int r = gt_image_record_take(im, e->file, &record, &err);

	if (r == 0) {
		gt_strcopy(digest, sizeof(digest), record->digest);
		if (keep)
			r = gt_image_record_keep(im, &record, &err);
	}
	if (r < 0) {
		fail(job, &err);
		return;
	}
	job_free(job);
	want.on_done(keep ? gt_image_find(im, digest)->record : record, want.arg);
}

static void on_event(struct images *im, struct gt_image_event *e)
{
	struct image_job *job;
	struct gt_err err = { 0 };

	e->name[sizeof(e->name) - 1] = e->file[sizeof(e->file) - 1] = '\0';
	e->slug[sizeof(e->slug) - 1] = e->text[sizeof(e->text) - 1] = '\0';
	if (e->word == GT_IMAGE_LAYER) {
		keep_layer(im, e);
		return;
	}
	if (e->word == GT_IMAGE_SYNCED) {
		gt_image_layer_synced(im, e->name);
		return;
	}
	DL_FOREACH (im->jobs, job) {
		if (job->order.id == e->id)
			break;
	}
	if (!job) {
		if (e->word == GT_IMAGE_DONE && !strchr(e->file, '/'))
			unlinkat(im->work_fd, e->file, 0); /* cancelled too late */
		return;
	}
	if (e->word == GT_IMAGE_PROGRESS && job->want.on_progress) {
		job->want.on_progress(e, job->want.arg);
	} else if (e->word == GT_IMAGE_DONE) {
		done(job, e);
	} else if (e->word == GT_IMAGE_FAILED) {
		gt_err_set(&err, e->code > 0 ? e->code : EIO, e->slug, "%s", e->text);
		fail(job, &err);
	}
}

static void on_word(struct gt_watch *w, unsigned events, void *arg)
{
	struct images *im = arg;
	struct gt_image_event e;
	size_t len;
	int r;

	(void)w;
	(void)events;
	r = gt_os_recv(im->worker_fd, &e, sizeof(e), &len, NULL, 0, NULL, NULL);
	if (r == -EAGAIN)
		return;
	if (r < 0 || len != sizeof(e)) {
		gt_watch_close(gt_steal(&im->worker_watch)); /* its death tells the rest */
		return;
	}
	gt_timer_set(im->agent->loop, &im->idle, IDLE_MS, on_idle, im);
	on_event(im, &e);
}

/* ---- its start ---- */

/* The file of credentials, read anew with each worker: it may be changed at any time. */
static char *docker_config(const struct images *im)
{
	const char *path = im->registry_config[0] ? im->registry_config : DOCKER_CONFIG_PATH;
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > DOCKER_CONFIG_MAX) {
		if (im->registry_config[0])
			gt_warn("registry_config %s can not be read: no credentials", path);
		return NULL;
	}
	text = gt_alloc((size_t)st.st_size + 1);
	n = read(fd, text, (size_t)st.st_size);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void split(char *list, const char *out[INSECURE_MAX + 1])
{
	char *save = NULL;
	size_t n = 0;

	for (char *word = strtok_r(list, ", ", &save); word && n < INSECURE_MAX;
	     word = strtok_r(NULL, ", ", &save))
		out[n++] = word;
	out[n] = NULL;
}

static int start_worker(struct images *im, struct gt_err *err)
{
	gt_auto(free) char *config = docker_config(im);
	gt_auto(free) char *list = gt_strdup(im->registry_insecure);
	const char *insecure[INSECURE_MAX + 1];
	struct gt_image_worker_config wc = {
		.dir_fd = im->work_fd,
		.layers_fd = im->layers_fd,
		.uid = im->config.uid,
		.gid = im->config.gid,
		.docker_config = config,
		.insecure = insecure,
		.ca_file = im->registry_ca[0] ? im->registry_ca : NULL,
	};
	struct gt_loop *loop = im->agent->loop;
	int r;

	split(list, insecure);
	r = gt_image_worker_start(&wc, &im->worker_pid, &im->worker_pidfd, &im->worker_fd, err);
	if (r < 0)
		return r;
	r = gt_loop_watch(loop, im->worker_pidfd, GT_EV_READ, on_death, im, &im->pid_watch, err);
	if (r == 0)
		r = gt_loop_watch(loop, im->worker_fd, GT_EV_READ, on_word, im, &im->worker_watch,
				  err);
	if (r < 0) {
		struct image_job *jobs = gt_steal(&im->jobs);

		gt_image_jobs_end(im);
		im->jobs = jobs;
	}
	return r;
}

static int submit(struct image_job *job, struct gt_err *err)
{
	struct images *im = job->im;
	int r = 0;

	if (im->worker_pid > 0 && im->worker_fd < 0) {
		/* It is about to end; do not wait for that. */
		gt_os_pidfd_signal(im->worker_pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)im->worker_pidfd, &(siginfo_t){ 0 }, WEXITED);
		close_worker(im);
	}
	if (im->worker_pid == 0)
		r = start_worker(im, err);
	if (r == 0)
		r = gt_os_send(im->worker_fd, &job->order, sizeof(job->order), NULL, 0, err);
	if (r == 0)
		gt_timer_set(im->agent->loop, &im->idle, IDLE_MS, on_idle, im);
	return r;
}

struct image_job *gt_image_order(struct images *im, enum gt_image_op op, const char *text,
				 const char *file, const struct image_want *want)
{
	struct image_job *job = gt_alloc(sizeof(*job));

	job->im = im;
	job->want = *want;
	job->order.op = op;
	job->order.id = ++im->next_id;
	gt_strcopy(job->order.text, sizeof(job->order.text), text);
	gt_strcopy(job->order.name, sizeof(job->order.name), file ? file : "");
	DL_APPEND(im->jobs, job);
	if (submit(job, &job->err) < 0)
		gt_timer_set(im->agent->loop, &job->late, 0, on_late, job);
	return job;
}

void gt_image_cancel(struct image_job *job)
{
	struct gt_image_order o = { .op = GT_IMAGE_CANCEL };

	if (!job)
		return;
	o.id = job->order.id;
	send_order(job->im, &o);
	job_free(job);
}

void gt_image_sweep(struct images *im)
{
	send_order(im, &(struct gt_image_order){ .op = GT_IMAGE_SWEEP });
}
