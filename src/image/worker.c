/* worker.c - the process: its birth, its rights, its orders. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#include "work.h"

#define PROGRESS_MS 100
#define SOCKET_FD   GT_OS_CHILD_FD
#define DIR_FD      (GT_OS_CHILD_FD + 1)
#define LAYERS_FD   (GT_OS_CHILD_FD + 2)

/* ---- telling ---- */

void gt_work_tell(struct worker *w, const struct gt_image_event *e)
{
	/* One packet, whole or not at all: threads need no lock for it. */
	while (send(w->socket, e, sizeof(*e), MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			_exit(0); /* the agent is gone */
	}
}

/* Under the lock. */
static void tell_progress(struct job *j)
{
	const struct gt_pull_progress now = { j->done_bytes, j->total_bytes, j->done_layers,
					      j->total_layers };
	struct gt_image_event e = { .word = GT_IMAGE_PROGRESS, .id = j->order.id, .pull = now };

	if (memcmp(&now, &j->told, sizeof(now)) == 0)
		return;
	j->told = now;
	gt_work_tell(j->w, &e);
}

void gt_work_progress(struct job *j)
{
	pthread_mutex_lock(&j->w->lock);
	tell_progress(j);
	pthread_mutex_unlock(&j->w->lock);
}

static void tell_failed(struct job *j, const struct gt_err *err)
{
	struct gt_image_event e = { .word = GT_IMAGE_FAILED,
				    .id = j->order.id,
				    .code = err->code ? err->code : EIO };

	gt_strcopy(e.slug, sizeof(e.slug),
		   gt_streq(err->slug, "system_error") ? "sandbox_failed" : err->slug);
	gt_strcopy(e.text, sizeof(e.text), err->text);
	gt_work_tell(j->w, &e);
}

/* ---- orders ---- */

static void begin_next(struct worker *w);

static void job_end(struct job *j)
{
	struct worker *w = j->w;

	pthread_mutex_lock(&w->lock);
	DL_DELETE(w->jobs, j);
	w->working--;
	pthread_mutex_unlock(&w->lock);
	free(j);
}

static void *run_job(void *arg)
{
	struct job *j = arg;
	struct gt_err err = { 0 };
	int r = j->order.op == GT_IMAGE_IMPORT ? gt_work_import(j, &err) : gt_work_pull(j, &err);

	struct worker *w = j->w;

	if (r < 0)
		tell_failed(j, &err);
	job_end(j);
	begin_next(w);
	return NULL;
}

static void begin_job(struct job *j)
{
	pthread_t thread;
	struct gt_err err;
	int r = pthread_create(&thread, NULL, run_job, j);

	if (r == 0) {
		pthread_detach(thread);
		return;
	}
	gt_err_errno(&err, r, "start a thread for an image");
	tell_failed(j, &err);
	job_end(j);
}

/* The one that has waited longest, if there is room for it. */
static struct job *take_job(struct worker *w)
{
	struct job *j;

	pthread_mutex_lock(&w->lock);
	DL_FOREACH (w->jobs, j) {
		if (w->working < GT_WORK_JOBS && !j->begun)
			break;
	}
	if (j) {
		j->begun = true;
		w->working++;
	}
	pthread_mutex_unlock(&w->lock);
	return j;
}

static void begin_next(struct worker *w)
{
	struct job *j;

	while ((j = take_job(w)))
		begin_job(j);
}

static void add_job(struct worker *w, const struct gt_image_order *o)
{
	struct job *j = gt_alloc(sizeof(*j));

	j->w = w;
	j->order = *o;
	j->order.text[sizeof(j->order.text) - 1] = '\0';
	pthread_mutex_lock(&w->lock);
	DL_APPEND(w->jobs, j);
	pthread_mutex_unlock(&w->lock);
	begin_next(w);
}

static void cancel_job(struct worker *w, uint32_t id)
{
	struct job *j;

	pthread_mutex_lock(&w->lock);
	DL_FOREACH (w->jobs, j) {
		if (j->order.id == id)
			j->cancel = true;
	}
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* Removes what was thrown away; at the start also what a predecessor left unfinished. Uploads are
 * the agent's. */
static void sweep(const struct worker *w, bool all)
{
	DIR *d = gt_os_list(w->dir_fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || gt_starts_with(e->d_name, GT_IMAGE_UPLOAD))
			continue;
		if (all || gt_starts_with(e->d_name, GT_IMAGE_TRASH))
			unlinkat(w->dir_fd, e->d_name, 0);
	}
	if (d)
		closedir(d);
}

static void obey(struct worker *w, const struct gt_image_order *o)
{
	switch (o->op) {
	case GT_IMAGE_RESOLVE:
	case GT_IMAGE_PULL:
	case GT_IMAGE_IMPORT:
		add_job(w, o);
		break;
	case GT_IMAGE_CANCEL:
		cancel_job(w, o->id);
		break;
	case GT_IMAGE_KEPT:
		gt_work_kept(w, o);
		break;
	case GT_IMAGE_SWEEP:
		sweep(w, false);
		break;
	default:
		break;
	}
}

/* Also of a job that gets no bytes just now: what is told last is how far it is. */
static bool tell_all_progress(struct worker *w)
{
	struct job *j;
	bool any;

	pthread_mutex_lock(&w->lock);
	DL_FOREACH (w->jobs, j)
		tell_progress(j);
	any = w->jobs != NULL;
	pthread_mutex_unlock(&w->lock);
	return any;
}

/* Until there is an order. */
static void wait_order(struct worker *w, uint64_t *tell_ns)
{
	struct pollfd p = { .fd = w->socket, .events = POLLIN };
	bool working = true;

	do {
		uint64_t now = gt_mono_ns(&gt_clock_system);

		if (now >= *tell_ns) {
			working = tell_all_progress(w);
			*tell_ns = now + PROGRESS_MS * GT_NS_PER_MS;
		}
	} while (poll(&p, 1, working ? PROGRESS_MS : -1) == 0);
}

static _Noreturn void serve(struct worker *w)
{
	struct gt_image_order o;
	uint64_t tell_ns = 0;
	ssize_t n;

	sweep(w, true);
	for (;;) {
		wait_order(w, &tell_ns);
		n = recv(w->socket, &o, sizeof(o), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			_exit(0); /* with the agent; files that are not complete are nobody's */
		if (n == sizeof(o))
			obey(w, &o);
	}
}

/* ---- birth ---- */

/* Irrevocable. What is left is the work directory, reading complete layers, and the network. */
static void give_up_rights(const struct gt_image_worker_config *c)
{
	struct rlimit none = { 0, 0 };

	if (setgroups(0, NULL) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
	    setresuid(c->uid, c->uid, c->uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    (c->uid != 0 && setuid(0) == 0))
		_exit(125);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NAME, "gantry-images");
	gt_os_child_tie();
}

static void become_worker(void *arg)
{
	const struct gt_image_worker_config *c = arg;
	struct worker *w = gt_alloc(sizeof(*w));
	const struct gt_registry_config rc = { .docker_config = c->docker_config,
					       .insecure = c->insecure,
					       .ca_file = c->ca_file };
	struct gt_err err;

	give_up_rights(c);
	if (gt_work_confine(DIR_FD) < 0)
		gt_debug("images: this kernel has no Landlock; only the user id confines");
	w->socket = SOCKET_FD;
	w->dir_fd = DIR_FD;
	w->layers_fd = LAYERS_FD;
	w->limits.bytes = c->layer_bytes;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	if (gt_registry_new(&rc, &w->registry, &err) < 0) {
		gt_error("images: %s", err.text);
		_exit(1);
	}
	serve(w);
}

int gt_image_worker_start(const struct gt_image_worker_config *config, pid_t *ret_pid,
			  int *ret_pidfd, int *ret_socket, struct gt_err *err)
{
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	const int fds[] = { pair[1], config->dir_fd, config->layers_fd };

	r = gt_os_child(fds, GT_LEN(fds), become_worker, (void *)config, ret_pid, ret_pidfd, err);
	gt_close(pair[1]);
	if (r == 0)
		*ret_socket = pair[0];
	else
		gt_close(pair[0]);
	return r;
}
