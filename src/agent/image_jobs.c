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
#define SYNC_ROUNDS        60 /* of them, for a slow disk; then a sync has failed */
#define INSECURE_MAX       32
#define DOCKER_CONFIG_MAX  (1024 * 1024)
#define DOCKER_CONFIG_PATH "/etc/gantry/registry.json"

/* One order to the worker. Who asks for the same meanwhile waits for it too: a hundred replicas of
 * one image are one pull. */
struct errand {
	struct images *im;
	struct errand *prev, *next;
	struct gt_image_order order;
	struct image_job *jobs; /* who waits */
	bool settled;           /* they are being told */
	bool again;             /* it was ordered a second time */
	struct gt_timer late;   /* a refusal at once is told later */
	struct gt_pull_progress pull;
	struct gt_err err;
};

struct image_job {
	struct errand *errand;
	struct image_job *prev, *next;
	struct image_want want;
};

/* What the worker's socket had no room for. As many as there are errands, and layers that it
 * offers, which are few: it waits for each answer. */
struct outgoing {
	struct outgoing *prev, *next;
	struct gt_image_order order;
};

static void errand_free(struct errand *e)
{
	gt_timer_clear(e->im->agent->loop, &e->late);
	DL_DELETE(e->im->errands, e);
	free(e);
}

static struct image_want job_end(struct image_job *job)
{
	struct image_want want = job->want;

	DL_DELETE(job->errand->jobs, job);
	free(job);
	return want;
}

/* Callbacks may cancel others of the errand, and order anew. */
static void settle(struct errand *e, struct gt_image_record *record, const struct gt_err *err)
{
	e->settled = true;
	while (e->jobs) {
		struct image_want want = job_end(e->jobs);

		if (record)
			want.on_done(record, want.arg);
		else
			want.on_failed(err, want.arg);
	}
	errand_free(e);
}

static void on_late(void *arg)
{
	struct errand *e = arg;
	struct gt_err err = e->err;

	settle(e, NULL, &err);
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
	im->unsynced = im->idle_rounds = 0;
	while (im->outbox) {
		struct outgoing *out = im->outbox;

		DL_DELETE(im->outbox, out);
		free(out);
	}
}

static void on_death(struct gt_watch *w, unsigned events, void *arg)
{
	struct images *im = arg;
	struct gt_err died = { 0 };
	uint32_t last = im->next_id;

	(void)w;
	(void)events;
	gt_os_pidfd_reap(im->worker_pidfd, NULL);
	close_worker(im);
	gt_err_set(&died, ECHILD, "sandbox_failed", "the image worker died");
	/* What is ordered meanwhile goes to the next worker. */
	while (im->errands && im->errands->order.id <= last) {
		struct gt_err err = im->errands->err.code ? im->errands->err : died;

		settle(im->errands, NULL, &err);
	}
}

static void on_idle(void *arg)
{
	struct images *im = arg;

	/* It syncs layers after it told that they are there. */
	if (im->errands || (im->unsynced > 0 && im->idle_rounds++ < SYNC_ROUNDS)) {
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
	while (im->errands) {
		while (im->errands->jobs)
			job_end(im->errands->jobs);
		errand_free(im->errands);
	}
}

/* ---- what it is told ---- */

static int post(struct images *im, const struct gt_image_order *o, struct gt_err *err)
{
	struct outgoing *out;
	int r = im->outbox ? -EAGAIN : gt_os_send(im->worker_fd, o, sizeof(*o), NULL, 0, err);

	if (r != -EAGAIN)
		return r;
	r = gt_watch_set(im->worker_watch, GT_EV_READ | GT_EV_WRITE, err);
	if (r < 0)
		return r;
	out = gt_alloc(sizeof(*out));
	out->order = *o;
	DL_APPEND(im->outbox, out);
	return 0;
}

static void flush(struct images *im)
{
	while (im->outbox) {
		struct outgoing *out = im->outbox;

		if (gt_os_send(im->worker_fd, &out->order, sizeof(out->order), NULL, 0, NULL) ==
		    -EAGAIN)
			return;
		DL_DELETE(im->outbox, out); /* any other failure is its death */
		free(out);
	}
	if (gt_watch_set(im->worker_watch, GT_EV_READ, NULL) < 0)
		gt_warn("the image worker's socket can not be watched");
}

static void send_order(struct images *im, const struct gt_image_order *o)
{
	struct gt_err err = { 0 };

	if (im->worker_watch && post(im, o, &err) < 0)
		gt_debug("images: %s", err.text); /* it is dead, which is noticed soon */
}

/* ---- what it tells ---- */

static void keep_layer(struct images *im, const struct gt_image_event *e)
{
	struct gt_image_order o = { .op = GT_IMAGE_KEPT };
	struct gt_err err = { 0 };

	gt_strcopy(o.name, sizeof(o.name), e->name);
	if (gt_image_layer_keep(im, e->file, e->name, &err) < 0) {
		gt_warn("%s", err.text);
		o.code = err.code;
	} else {
		im->unsynced++;
		im->idle_rounds = 0;
	}
	send_order(im, &o);
}

static void done(struct errand *e, const struct gt_image_event *ev)
{
	gt_auto(image_record) struct gt_image_record *record = NULL;
	struct images *im = e->im;
	struct image *image = NULL;
	struct gt_err err = { 0 };
	int r = gt_image_record_take(im, ev->file, &record, &err);

	if (r == 0 && e->order.op != GT_IMAGE_RESOLVE)
		r = gt_image_record_keep(im, e->order.text, &record, &image, &err);
	if (r == -ESTALE && e->order.op == GT_IMAGE_PULL && !e->again) {
		e->again = true; /* a removal came between: the worker gets what is missing */
		r = post(im, &e->order, &err);
		if (r == 0)
			return;
	}
	settle(e, r < 0 ? NULL : image ? image->record : record, &err);
}

static void progress(struct errand *e, const struct gt_image_event *ev)
{
	struct image_job *job, *next;

	e->pull = ev->pull;
	DL_FOREACH_SAFE (e->jobs, job, next) {
		if (job->want.on_progress)
			job->want.on_progress(&e->pull, job->want.arg);
	}
}

static void on_event(struct images *im, struct gt_image_event *ev)
{
	struct errand *e;
	struct gt_err err = { 0 };

	ev->name[sizeof(ev->name) - 1] = ev->file[sizeof(ev->file) - 1] = '\0';
	ev->slug[sizeof(ev->slug) - 1] = ev->text[sizeof(ev->text) - 1] = '\0';
	if (ev->word == GT_IMAGE_LAYER) {
		keep_layer(im, ev);
		return;
	}
	if (ev->word == GT_IMAGE_SYNCED) {
		if (gt_image_layer_synced(im, ev->name) && im->unsynced > 0)
			im->unsynced--;
		return;
	}
	DL_FOREACH (im->errands, e) {
		if (e->order.id == ev->id)
			break;
	}
	if (!e) {
		if (ev->word == GT_IMAGE_DONE && !strchr(ev->file, '/'))
			unlinkat(im->work_fd, ev->file, 0); /* cancelled too late */
		return;
	}
	if (ev->word == GT_IMAGE_PROGRESS) {
		progress(e, ev);
	} else if (ev->word == GT_IMAGE_DONE) {
		done(e, ev);
	} else if (ev->word == GT_IMAGE_FAILED) {
		gt_err_set(&err, ev->code > 0 ? ev->code : EIO, ev->slug, "%s", ev->text);
		settle(e, NULL, &err);
	}
}

static void on_word(struct gt_watch *w, unsigned events, void *arg)
{
	struct images *im = arg;
	struct gt_image_event e;
	size_t len;
	int r;

	(void)w;
	if (events & GT_EV_WRITE)
		flush(im);
	r = gt_os_recv(im->worker_fd, &e, sizeof(e), &len, NULL, 0, NULL, NULL);
	if (r == -EAGAIN)
		return;
	if (r < 0 || len != sizeof(e)) {
		/* Its death tells the rest; what talks like this must not live on. */
		gt_watch_close(gt_steal(&im->worker_watch));
		gt_os_pidfd_signal(im->worker_pidfd, SIGKILL, NULL);
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
		struct errand *errands = gt_steal(&im->errands);

		gt_image_jobs_end(im);
		im->errands = errands;
	}
	return r;
}

/* One that listens. */
static int need_worker(struct images *im, struct gt_err *err)
{
	if (im->worker_watch)
		return 0;
	if (im->worker_pid > 0) {
		/* It is about to end; do not wait for that. */
		gt_os_pidfd_signal(im->worker_pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)im->worker_pidfd, &(siginfo_t){ 0 }, WEXITED);
		close_worker(im);
	}
	return start_worker(im, err);
}

static int submit(struct errand *e, struct gt_err *err)
{
	struct images *im = e->im;
	int r;

	if (im->worker_pid > 0 && !im->worker_watch && im->errands != e)
		return gt_err_set(err, ECHILD, "sandbox_failed",
				  "the image worker broke down"); /* others wait to hear of it */
	r = need_worker(im, err);
	if (r == 0)
		r = post(im, &e->order, err);
	if (r == 0)
		gt_timer_set(im->agent->loop, &im->idle, IDLE_MS, on_idle, im);
	return r;
}

static struct errand *find_errand(const struct images *im, enum gt_image_op op, const char *text)
{
	struct errand *e;

	DL_FOREACH (im->errands, e) {
		if (!e->settled && e->order.op == op && gt_streq(e->order.text, text))
			return e;
	}
	return NULL;
}

static struct errand *errand_new(struct images *im, enum gt_image_op op, const char *text,
				 const char *file)
{
	struct errand *e = gt_alloc(sizeof(*e));

	e->im = im;
	e->order.op = op;
	e->order.id = ++im->next_id;
	gt_strcopy(e->order.text, sizeof(e->order.text), text);
	gt_strcopy(e->order.name, sizeof(e->order.name), file ? file : "");
	DL_APPEND(im->errands, e);
	if (submit(e, &e->err) < 0)
		gt_timer_set(im->agent->loop, &e->late, 0, on_late, e);
	return e;
}

struct image_job *gt_image_order(struct images *im, enum gt_image_op op, const char *text,
				 const char *file, const struct image_want *want)
{
	struct image_job *job = gt_alloc(sizeof(*job));

	job->errand = find_errand(im, op, text);
	if (!job->errand)
		job->errand = errand_new(im, op, text, file);
	job->want = *want;
	DL_APPEND(job->errand->jobs, job);
	return job;
}

const struct gt_pull_progress *gt_image_progress(const struct image_job *job)
{
	return &job->errand->pull;
}

bool gt_image_ordered(const struct images *im, enum gt_image_op op, const char *text)
{
	return find_errand(im, op, text) != NULL;
}

void gt_image_cancel(struct image_job *job)
{
	struct gt_image_order o = { .op = GT_IMAGE_CANCEL };
	struct errand *e;

	if (!job)
		return;
	e = job->errand;
	job_end(job);
	if (e->jobs || e->settled)
		return;
	o.id = e->order.id;
	send_order(e->im, &o);
	errand_free(e);
}

void gt_image_sweep(struct images *im)
{
	struct gt_err err = { 0 };

	/* One that was about to end may have swept already. */
	if (im->errands == NULL && need_worker(im, &err) < 0) {
		gt_warn("images: %s", err.text);
		return;
	}
	send_order(im, &(struct gt_image_order){ .op = GT_IMAGE_SWEEP });
	gt_timer_set(im->agent->loop, &im->idle, IDLE_MS, on_idle, im);
}
