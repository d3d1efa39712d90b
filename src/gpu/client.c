/* client.c - this process's end of gpud: starting it, asking it, ending it when it does not answer.
 *
 * One gpud at a time. A packet that its socket has no room for is a gpud that does not read: it is
 * killed like one that does not answer. */
#include <gantry/gpu/helper.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#include "client.h"

#define INIT_MS        60000
#define SAMPLE_MS      1000
#define SILENT_MS      15000
#define ASK_MS         5000
#define COPY_MS        300000
#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 30000
#define FAILED_MS      60000 /* a driver that could not begin is tried again */
#define LIVED_MS       60000 /* one that lived so long was no failure */
#define SOCKET_BYTES   (8 << 20)

/* ---- requests ---- */

static void op_end(struct gt_gpu_op *op, const struct gt_gpu_reply *reply, const struct gt_err *err)
{
	static const struct gt_gpu_reply none;
	gt_gpu_reply_fn *fn = op->fn;
	void *arg = op->arg;

	gt_timer_clear(op->h->loop, &op->deadline);
	DL_DELETE(op->h->ops, op);
	op->h->n_ops--;
	free(op);
	if (fn)
		fn(reply ? reply : &none, err, arg);
}

static void on_op_late(void *arg)
{
	struct gt_gpu_op *op = arg;
	struct gt_gpu_helper *h = op->h;
	struct gt_err err = { 0 };

	if (op->err.code) { /* it was refused at once; this is the first moment to say so */
		err = op->err;
		op_end(op, NULL, &err);
		return;
	}
	gt_err_set(&err, ETIMEDOUT, "gpu_timeout", "the GPU driver did not %s within %llu ms%s%s",
		   gt_gpu_op_name(op->request.kind), (unsigned long long)op->deadline_ms,
		   h->stuck[0] ? "; it is in " : "", h->stuck);
	gt_strcopy(h->why, sizeof(h->why), err.text);
	op_end(op, NULL, &err);
	gpu_helper_kill(h);
}

static uint64_t deadline_ms(const struct gt_gpu_request *rq)
{
	bool copies = rq->kind == GT_GPU_OP_CHECKPOINT || rq->kind == GT_GPU_OP_RESTORE;
	uint64_t ms = rq->deadline_ms ? rq->deadline_ms : copies ? COPY_MS : ASK_MS;

	return rq->kind == GT_GPU_OP_LOCK ? ms + rq->lock_ms : ms;
}

static int check(const struct gt_gpu_request *rq, struct gt_err *err)
{
	bool of_gpu = rq->kind == GT_GPU_OP_PROCESSES || rq->kind == GT_GPU_OP_MEMORY ||
		      rq->kind == GT_GPU_OP_REREAD;

	if (rq->kind >= GT_GPU_OP_N || (of_gpu ? !rq->uuid[0] : rq->pid < 1) ||
	    (rq->kind == GT_GPU_OP_LOCK && rq->lock_ms == 0) || rq->n_moves > GT_NODE_GPUS_MAX)
		return gt_err_set(err, EINVAL, "internal", "gpud: a request that asks for nothing");
	return 0;
}

int gt_gpu_helper_ask(struct gt_gpu_helper *h, const struct gt_gpu_request *request,
		      gt_gpu_reply_fn *fn, void *arg, struct gt_gpu_op **ret, struct gt_err *err)
{
	struct gpud_ask p = { .word = GPUD_ASK, .request = *request };
	struct gt_gpu_op *op;
	int r = check(request, err);

	if (r < 0)
		return r;
	if (h->n_ops == GT_GPU_OPS_MAX)
		return gt_err_set(err, EBUSY, "gpu_busy", "%d requests to the GPU driver wait",
				  GT_GPU_OPS_MAX);
	op = gt_alloc(sizeof(*op));
	op->h = h;
	op->id = p.id = ++h->last_id;
	op->request = *request;
	op->fn = fn;
	op->arg = arg;
	op->deadline_ms = deadline_ms(request);
	DL_APPEND(h->ops, op);
	h->n_ops++;
	if (h->socket < 0)
		gt_err_set(&op->err, ECHILD, "gpu_helper",
			   "the GPU driver's process is not there%s%s", h->why[0] ? ": " : "",
			   h->why);
	else
		gpu_helper_send(h, &p, sizeof(p));
	gt_timer_set(h->loop, &op->deadline, op->err.code ? 0 : op->deadline_ms, on_op_late, op);
	if (ret)
		*ret = op;
	return 0;
}

void gt_gpu_op_cancel(struct gt_gpu_op *op)
{
	if (op)
		op->fn = NULL;
}

static void on_answer(struct gt_gpu_helper *h, struct gpud_answer *p)
{
	struct gt_err err = { 0 };
	struct gt_gpu_op *op;

	DL_FOREACH (h->ops, op) {
		if (op->id == p->id)
			break;
	}
	if (!op || op->err.code)
		return;
	p->slug[sizeof(p->slug) - 1] = p->text[sizeof(p->text) - 1] = '\0';
	p->reply.n_processes = GT_MIN(p->reply.n_processes, (uint32_t)GT_GPU_PROCESSES_MAX);
	gpu_claims_note(h, op, p);
	if (p->code)
		gt_err_set(&err, p->code, p->slug, "%s", p->text);
	op_end(op, &p->reply, p->code ? &err : NULL);
}

/* ---- what it tells ---- */

static void on_retry(void *arg)
{
	struct gt_gpu_helper *h = arg;

	gpu_helper_kill(h);
}

/* Its driver could not begin: another process may, later. */
static void begin_failed(struct gt_gpu_helper *h, const char *why)
{
	gt_strcopy(h->why, sizeof(h->why), why);
	h->told_down = true;
	gt_timer_set(h->loop, &h->init, FAILED_MS, on_retry, h);
}

static void kill_silent(struct gt_gpu_helper *h)
{
	snprintf(h->why, sizeof(h->why), "the driver did not answer for %llu ms%s%.40s",
		 (unsigned long long)h->silent_ms, h->stuck[0] ? ": it hangs in " : "", h->stuck);
	gpu_helper_kill(h);
}

static void on_driver(struct gt_gpu_helper *h, struct gpud_driver *p)
{
	struct gt_gpu_driver *d = &p->driver;

	d->version[GT_GPU_VERSION_MAX] = d->cuda[GT_GPU_REASON_MAX] = d->text[GT_GPU_REASON_MAX] =
		'\0';
	if (d->state >= GT_GPU_DRIVER_N || d->backend >= GT_GPU_BACKEND_N)
		return;
	h->known = true;
	h->begun = d->state == GT_GPU_DRIVER_READY;
	if (h->begun)
		gt_timer_clear(h->loop, &h->init);
	else if (d->state == GT_GPU_DRIVER_FAILED)
		begin_failed(h, d->text);
	if (h->config.events.on_driver)
		h->config.events.on_driver(d, h->config.events.arg);
}

static void on_gpus(struct gt_gpu_helper *h, struct gpud_gpus *p)
{
	size_t n = GT_MIN(p->n, (uint32_t)GT_NODE_GPUS_MAX);

	h->known = true;
	h->has_gpus = n > 0;
	if (h->config.events.on_gpus)
		h->config.events.on_gpus(p->gpus, n, h->config.events.arg);
}

/* Calls of the management library are quick, or something hangs; those of CUDA have a deadline of
 * their own. */
static void on_alive(struct gt_gpu_helper *h, struct gpud_alive *p)
{
	p->call[sizeof(p->call) - 1] = '\0';
	gt_strcopy(h->stuck, sizeof(h->stuck), p->call);
	if (h->begun && p->call_ms > h->silent_ms && gt_starts_with(p->call, "nvml"))
		kill_silent(h);
}

static void on_packet(struct gt_gpu_helper *h, union gpud_packet *p)
{
	const struct gt_gpu_helper_events *ev = &h->config.events;

	h->heard_ns = gt_loop_now_ns(h->loop);
	switch (p->word) {
	case GPUD_DRIVER:
		on_driver(h, &p->driver);
		break;
	case GPUD_GPUS:
		on_gpus(h, &p->gpus);
		break;
	case GPUD_SAMPLE:
		h->sampled_ns = h->heard_ns;
		p->sample.sample.n_processes = GT_MIN(p->sample.sample.n_processes,
						      (uint32_t)GT_GPU_PROCESSES_MAX);
		if (ev->on_sample)
			ev->on_sample(&p->sample.sample, ev->arg);
		break;
	case GPUD_INCIDENT:
		if (ev->on_incident)
			ev->on_incident(&p->incident.incident, ev->arg);
		break;
	case GPUD_ALIVE:
		on_alive(h, &p->alive);
		break;
	case GPUD_ANSWER:
		on_answer(h, &p->answer);
		break;
	default:
		break;
	}
}

/* Returns false when there is nothing to read. */
static bool read_packet(struct gt_gpu_helper *h)
{
	union gpud_packet p;
	size_t len = 0;
	int r = gt_os_recv(h->socket, &p, sizeof(p), &len, NULL, 0, NULL, NULL);

	if (r == -EAGAIN)
		return false;
	if (r < 0 || !gpud_packet_ok(&p, len)) {
		gpu_helper_kill(h);
		return false;
	}
	on_packet(h, &p);
	return true;
}

static void on_socket(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gpu_helper *h = arg;

	(void)w;
	(void)events;
	read_packet(h);
}

/* ---- its life ---- */

static void on_restart(void *arg)
{
	struct gt_err err = { 0 };

	if (gpu_helper_start(arg, &err) < 0)
		gt_warn("gpud: %s", err.text);
}

static void restart_later(struct gt_gpu_helper *h)
{
	uint64_t ms;

	if (gt_loop_now_ns(h->loop) - h->began_ns > LIVED_MS * GT_NS_PER_MS)
		h->failures = 0;
	ms = (uint64_t)RESTART_MIN_MS << GT_MIN(h->failures, 20u);
	h->failures++;
	gt_timer_set(h->loop, &h->restart, GT_MIN(ms, (uint64_t)RESTART_MAX_MS), on_restart, h);
}

/* Once for each gpud. */
static void tell_down(struct gt_gpu_helper *h)
{
	struct gt_gpu_driver d = { .state = GT_GPU_DRIVER_FAILED, .backend = h->backend };

	if (h->told_down)
		return;
	h->told_down = true;
	gt_strcopy(d.text, sizeof(d.text), h->why);
	if (h->config.events.on_driver)
		h->config.events.on_driver(&d, h->config.events.arg);
}

static void close_all(struct gt_gpu_helper *h)
{
	gt_timer_clear(h->loop, &h->init);
	gt_timer_clear(h->loop, &h->watchdog);
	gt_watch_close(gt_steal(&h->watch));
	gt_watch_close(gt_steal(&h->pid_watch));
	h->socket = gt_close(h->socket);
	h->pidfd = gt_close(h->pidfd);
	h->pid = 0;
	h->begun = false;
}

static void fail_ops(struct gt_gpu_helper *h)
{
	uint32_t last = h->last_id;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECHILD, "gpu_helper", "the GPU driver's process died%s%s",
		   h->why[0] ? ": " : "", h->why);
	/* Callbacks may ask anew; these are for the next gpud and fail by themselves. */
	while (h->ops && h->ops->id <= last) {
		struct gt_gpu_op *op = h->ops;

		op_end(op, NULL, &err);
	}
}

/* A process that sits in the kernel may not die when it is killed: nobody waits for it here. It
 * takes no orders any more, and the next one is not started before it is gone. */
void gpu_helper_kill(struct gt_gpu_helper *h)
{
	gt_watch_close(gt_steal(&h->watch));
	h->socket = gt_close(h->socket);
	if (h->pidfd >= 0)
		gt_os_pidfd_signal(h->pidfd, SIGKILL, NULL);
	if (h->why[0])
		tell_down(h);
}

/* Nobody killed it who knows why: then its exit status says it. */
static void say_end(struct gt_gpu_helper *h)
{
	siginfo_t info = { 0 };

	waitid(P_PIDFD, (id_t)h->pidfd, &info, WEXITED | WNOHANG);
	if (h->why[0])
		return;
	if (info.si_code == CLD_EXITED)
		snprintf(h->why, sizeof(h->why), "it exited with code %d", info.si_status);
	else
		snprintf(h->why, sizeof(h->why), "it was killed by signal %d%s%.40s",
			 info.si_status, h->stuck[0] ? " in " : "", h->stuck);
}

static void on_death(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gpu_helper *h = arg;

	(void)w;
	(void)events;
	/* What it said last, a reason perhaps, is still in the socket. */
	while (h->socket >= 0 && read_packet(h))
		;
	say_end(h);
	close_all(h);
	fail_ops(h);
	if (h->paused)
		return;
	tell_down(h);
	restart_later(h);
}

void gt_gpu_helper_pause(struct gt_gpu_helper *h)
{
	h->paused = true;
	gt_timer_clear(h->loop, &h->restart);
	gpu_helper_kill(h);
}

void gt_gpu_helper_resume(struct gt_gpu_helper *h)
{
	h->paused = false;
	h->failures = 0;
	if (h->pid == 0)
		on_restart(h);
}

static void on_init_late(void *arg)
{
	struct gt_gpu_helper *h = arg;

	snprintf(h->why, sizeof(h->why), "the driver did not begin within %llu ms%s%.40s",
		 (unsigned long long)h->init_ms, h->stuck[0] ? ": it hangs in " : "", h->stuck);
	gpu_helper_kill(h);
}

/* Neither alive nor looking: gpud itself, or its look at the GPUs, hangs. */
static void on_watchdog(void *arg)
{
	struct gt_gpu_helper *h = arg;
	uint64_t now = gt_loop_now_ns(h->loop), ms = h->silent_ms;
	bool silent = now - h->heard_ns > ms * GT_NS_PER_MS;

	if (silent || (h->begun && h->has_gpus && now - h->sampled_ns > ms * GT_NS_PER_MS)) {
		kill_silent(h);
		return;
	}
	gt_timer_set(h->loop, &h->watchdog, GT_MAX(ms / 4, (uint64_t)1), on_watchdog, h);
}

/* ---- its start ---- */

static void become_gpud(void *program)
{
	char *argv[] = { "gantryd", GT_GPU_HELPER_ARG, NULL };
	/* The environment of a daemon's role has its configuration; gpud gets its own by packet. */
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

	signal(SIGPIPE, SIG_DFL);
	fcntl(GPUD_FD, F_SETFD, 0);
	execve(program, argv, env);
	_exit(126);
}

static int spawn(struct gt_gpu_helper *h, struct gt_err *err)
{
	int pair[2], r = gt_os_socketpair(pair, err);

	if (r < 0)
		return r;
	r = gt_os_child(&pair[1], 1, become_gpud, (void *)h->config.program, &h->pid, &h->pidfd,
			err);
	gt_close(pair[1]);
	if (r < 0) {
		gt_close(pair[0]);
		return r;
	}
	h->socket = pair[0];
	/* Room for all requests and claims at once, so that a full socket means a gpud that hangs.
	 */
	setsockopt(h->socket, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ SOCKET_BYTES }, sizeof(int));
	return fcntl(h->socket, F_SETFL, O_NONBLOCK) < 0 ? gt_err_errno(err, errno, "gpud") : 0;
}

void gpu_helper_send(struct gt_gpu_helper *h, const void *packet, size_t len)
{
	struct gt_err err = { 0 };

	if (h->socket >= 0 && gt_os_send(h->socket, packet, len, NULL, 0, &err) < 0) {
		snprintf(h->why, sizeof(h->why), "it takes no requests");
		gpu_helper_kill(h);
	}
}

static void send_hello(struct gt_gpu_helper *h)
{
	struct gpud_hello p = { .word = GPUD_HELLO, .sample_ms = h->sample_ms };

	gt_strcopy(p.gpus, sizeof(p.gpus), h->config.gpus);
	gt_strcopy(p.node, sizeof(p.node), h->config.node);
	gt_strcopy(p.driver_root, sizeof(p.driver_root), h->config.driver_root);
	gpu_helper_send(h, &p, sizeof(p));
	gpu_claims_send(h);
}

int gpu_helper_start(struct gt_gpu_helper *h, struct gt_err *err)
{
	int r = spawn(h, err);

	if (r == 0)
		r = gt_loop_watch(h->loop, h->pidfd, GT_EV_READ, on_death, h, &h->pid_watch, err);
	if (r == 0)
		r = gt_loop_watch(h->loop, h->socket, GT_EV_READ, on_socket, h, &h->watch, err);
	if (r < 0) {
		if (h->pid > 0) {
			gt_os_pidfd_signal(h->pidfd, SIGKILL, NULL);
			waitpid(h->pid, NULL, 0);
		}
		close_all(h);
		restart_later(h);
		return r;
	}
	h->starts++;
	h->why[0] = h->stuck[0] = '\0';
	h->told_down = false;
	h->began_ns = h->heard_ns = h->sampled_ns = gt_loop_clock_ns(h->loop);
	gt_timer_set(h->loop, &h->init, h->init_ms, on_init_late, h);
	gt_timer_set(h->loop, &h->watchdog, h->silent_ms, on_watchdog, h);
	send_hello(h);
	return 0;
}

static enum gt_gpu_backend backend_of(const char *gpus)
{
	return gt_starts_with(gpus, "sim:")    ? GT_GPU_SIM
	       : gt_starts_with(gpus, "fake:") ? GT_GPU_FAKE
					       : GT_GPU_NVIDIA;
}

int gt_gpu_helper_new(struct gt_loop *loop, const struct gt_gpu_helper_config *config,
		      struct gt_gpu_helper **ret, struct gt_err *err)
{
	struct gt_gpu_helper *h = gt_alloc(sizeof(*h));
	int r;

	h->loop = loop;
	h->config = *config;
	h->config.program = gt_strdup(config->program);
	h->config.gpus = gt_strdup(config->gpus);
	h->config.node = gt_strdup(config->node ? config->node : "node");
	h->config.driver_root = gt_strdup(config->driver_root ? config->driver_root : "");
	h->backend = backend_of(config->gpus);
	h->init_ms = config->init_ms ? config->init_ms : INIT_MS;
	h->sample_ms = config->sample_ms ? config->sample_ms : SAMPLE_MS;
	h->silent_ms = config->silent_ms ? config->silent_ms : SILENT_MS;
	h->socket = h->pidfd = -EBADF;
	r = gpu_helper_start(h, err);
	if (r < 0)
		gt_gpu_helper_free(h);
	else
		*ret = h;
	return r;
}

void gt_gpu_helper_free(struct gt_gpu_helper *h)
{
	if (!h)
		return;
	gt_timer_clear(h->loop, &h->restart);
	if (h->pidfd >= 0) {
		gt_os_pidfd_signal(h->pidfd, SIGKILL, NULL);
		/* Not one that hangs in the kernel: it dies by itself, and init takes it. */
		for (int i = 0; i < 100 && gt_os_pidfd_reap(h->pidfd, NULL) < 0; i++)
			poll(&(struct pollfd){ .fd = h->pidfd, .events = POLLIN }, 1, 10);
	}
	close_all(h);
	while (h->ops) {
		h->ops->fn = NULL;
		op_end(h->ops, NULL, NULL);
	}
	gpu_claims_free(h);
	free((char *)h->config.program);
	free((char *)h->config.gpus);
	free((char *)h->config.node);
	free((char *)h->config.driver_root);
	free(h);
}

void gt_gpu_helper_await(struct gt_gpu_helper *h, uint64_t most_ms)
{
	uint64_t end = gt_mono_ns(&gt_clock_system) + most_ms * GT_NS_PER_MS;

	while (!h->known && h->socket >= 0) {
		uint64_t now = gt_mono_ns(&gt_clock_system);
		struct pollfd p = { .fd = h->socket, .events = POLLIN };

		if (now >= end || poll(&p, 1, (int)((end - now) / GT_NS_PER_MS) + 1) == 0)
			return;
		read_packet(h);
	}
}

pid_t gt_gpu_helper_pid(const struct gt_gpu_helper *h)
{
	return h->pid;
}

uint64_t gt_gpu_helper_starts(const struct gt_gpu_helper *h)
{
	return h->starts;
}
