/* gpu_reset.c - a GPU whose health is `reset` is given to the operator's program (gpu_reset) once
 * nobody has it: no replica, no other process, and not gpud, which is ended meanwhile. Replicas are
 * not parked and not brought back as long as that lasts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/gpu/helper.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#include "agent_impl.h"

#define EVENT    "gpu.reset"
#define LOOK_MS  500           /* while one waits to be free */
#define LATE_MS  (60 * 1000)   /* of the program */
#define GPUD_MS  (10 * 1000)   /* of gpud's end */
#define AGAIN_MS (3600 * 1000) /* between two tries at one GPU */
#define SAID_MAX (64 * GT_KIB) /* of its output; more can not be written */
#define TOLD_MAX 200           /* the end of that, in the event */

enum step { IDLE, ENDING_GPUD, RUNNING };

struct gpu_reset {
	struct agent *agent;
	const char *program;
	enum step step;
	struct gt_gpu gpu; /* that it is about */
	struct gt_timer look, late;
	struct gt_watch *watch;
	int pidfd, output;
	size_t n_tried;
	struct {
		char uuid[GT_GPU_UUID_MAX + 1];
		uint64_t at_ns;
	} tried[GT_NODE_GPUS_MAX];
};

bool gt_gpu_reset_runs(const struct agent *a)
{
	return a->reset && a->reset->step != IDLE;
}

/* ---- which, and when ---- */

static bool was_tried(const struct gpu_reset *x, const char *uuid)
{
	uint64_t now = gt_loop_clock_ns(x->agent->loop);

	for (size_t i = 0; i < x->n_tried; i++)
		if (strcmp(x->tried[i].uuid, uuid) == 0 &&
		    now - x->tried[i].at_ns < AGAIN_MS * GT_NS_PER_MS)
			return true;
	return false;
}

/* The oldest gives way: a node has no more GPUs than that at a time. */
static void note_try(struct gpu_reset *x, const char *uuid)
{
	size_t at = x->n_tried;

	for (size_t i = 0; i < x->n_tried; i++)
		if (strcmp(x->tried[i].uuid, uuid) == 0)
			at = i;
	if (at == GT_LEN(x->tried)) {
		at = 0;
		for (size_t i = 1; i < x->n_tried; i++)
			at = x->tried[i].at_ns < x->tried[at].at_ns ? i : at;
	}
	x->n_tried = GT_MAX(x->n_tried, at + 1);
	gt_strcopy(x->tried[at].uuid, sizeof(x->tried[at].uuid), uuid);
	x->tried[at].at_ns = gt_loop_clock_ns(x->agent->loop);
}

/* What is parked has nothing there, and comes back to what was reset. */
static bool has_it(const struct replica *r, const char *uuid)
{
	if (gt_replica_state_ended(r->state) || r->state == GT_REPLICA_PARKED)
		return false;
	for (size_t i = 0; i < r->n_gpus; i++)
		if (strcmp(r->gpus[i].uuid, uuid) == 0)
			return true;
	return false;
}

static bool is_free(const struct agent *a, const struct gt_gpu *gpu)
{
	const struct replica *r;

	if (gpu->foreign_bytes > 0)
		return false;
	for (r = a->replicas; r; r = r->hh.next)
		if (r->parking.busy || has_it(r, gpu->uuid))
			return false;
	return true;
}

/* Of an instance it is the card that would be reset, under all its other instances. */
static bool may_be_reset(const struct gpu_reset *x, const struct gt_gpu *gpu)
{
	return gpu->health == GT_GPU_RESET && gpu->gi < 0 && !was_tried(x, gpu->uuid);
}

/* ---- the end ---- */

static void told(struct gpu_reset *x, const char *cause, const char *text)
{
	struct gt_told_event e = { .type = EVENT };

	gt_strcopy(e.cause, sizeof(e.cause), cause);
	snprintf(e.text, sizeof(e.text), "GPU %s: %.300s", x->gpu.uuid, text);
	gt_warn("%s", e.text);
	gt_report_event(x->agent, &e);
}

/* The last of what it said, in one line. */
static void said(const struct gpu_reset *x, char ret[TOLD_MAX])
{
	off_t end = lseek(x->output, 0, SEEK_END);
	off_t from = end > TOLD_MAX - 1 ? end - (TOLD_MAX - 1) : 0;
	ssize_t n = pread(x->output, ret, TOLD_MAX - 1, from);

	n = n > 0 ? n : 0;
	while (n > 0 && ret[n - 1] == '\n')
		n--;
	ret[n] = '\0';
	for (char *p = ret; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
			*p = ' ';
}

static void finish(struct gpu_reset *x)
{
	struct agent *a = x->agent;
	struct replica *r, *next;

	gt_timer_clear(a->loop, &x->late);
	gt_watch_close(gt_steal(&x->watch));
	x->pidfd = gt_close(x->pidfd);
	x->output = gt_close(x->output);
	x->step = IDLE;
	gt_gpu_helper_resume(gt_gpus_helper(a->gpus));
	HASH_ITER (hh, a->replicas, r, next)
		gt_park_pursue(r); /* what was ordered meanwhile */
	gt_gpu_reset_look(a);
}

static void on_end(struct gt_watch *w, unsigned events, void *arg)
{
	struct gpu_reset *x = arg;
	siginfo_t info = { 0 };
	char words[TOLD_MAX], text[TOLD_MAX + 64];

	(void)w;
	(void)events;
	waitid(P_PIDFD, (id_t)x->pidfd, &info, WEXITED | WNOHANG);
	said(x, words);
	if (info.si_code == CLD_EXITED && info.si_status == 0) {
		(void)!gt_gpus_clear(x->agent->gpus, x->gpu.uuid, NULL); /* or it is gone */
		snprintf(text, sizeof(text), "it was reset%s%s", words[0] ? ": " : "", words);
		told(x, "", text);
	} else {
		snprintf(text, sizeof(text), "it was not reset: %s %d%s%s",
			 info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status,
			 words[0] ? ": " : "", words);
		told(x, "gpu_reset_failed", text);
	}
	finish(x);
}

static void on_late(void *arg)
{
	struct gpu_reset *x = arg;

	if (x->step == RUNNING) {
		gt_os_pidfd_signal(x->pidfd, SIGKILL, NULL); /* on_end follows */
		return;
	}
	told(x, "gpu_reset_failed", "it was not reset: the driver's process does not end");
	finish(x);
}

/* ---- the program ---- */

static void become_program(void *arg)
{
	const struct gpu_reset *x = arg;
	const struct rlimit most = { SAID_MAX, SAID_MAX };
	gt_auto(free) char *uuid = gt_asprintf("GANTRY_GPU_UUID=%s", x->gpu.uuid);
	gt_auto(free) char *pci = gt_asprintf("GANTRY_GPU_PCI=%s", x->gpu.pci);
	gt_auto(free) char *minor = gt_asprintf("GANTRY_GPU_MINOR=%d", x->gpu.minor);
	gt_auto(free) char *why = gt_asprintf("GANTRY_GPU_REASON=%s", x->gpu.reason);
	char *env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			uuid,
			pci,
			minor,
			why,
			NULL };
	char *argv[] = { (char *)x->program, (char *)x->gpu.uuid, NULL };

	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN);
	if (dup2(GT_OS_CHILD_FD, 1) < 0 || dup2(GT_OS_CHILD_FD, 2) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &most) < 0)
		_exit(GT_OS_CHILD_UNFIT);
	execve(x->program, argv, env);
	dprintf(2, "%s: %s", x->program, strerror(errno));
	_exit(126);
}

/* It runs as root: nobody else may have written it. */
static int program_check(const char *program, struct gt_err *err)
{
	struct stat st;

	if (stat(program, &st) < 0)
		return gt_err_errno(err, errno, "gpu_reset: %s", program);
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return gt_err_set(err, EPERM, "bad_config",
				  "gpu_reset: %s must be a file that belongs to root and that "
				  "nobody else may write",
				  program);
	return 0;
}

static int spawn(struct gpu_reset *x, struct gt_err *err)
{
	int r = program_check(x->program, err);
	pid_t pid;

	if (r < 0)
		return r;
	x->output = memfd_create("gantry-gpu-reset", MFD_CLOEXEC);
	if (x->output < 0)
		return gt_err_errno(err, errno, "a file for what it says");
	r = gt_os_child(&x->output, 1, become_program, x, &pid, &x->pidfd, err);
	if (r < 0)
		return r;
	r = gt_loop_watch(x->agent->loop, x->pidfd, GT_EV_READ, on_end, x, &x->watch, err);
	if (r == 0)
		return 0;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static void start(struct gpu_reset *x)
{
	char text[320];
	struct gt_err err = { 0 };

	x->step = RUNNING;
	gt_info("gpus: %s is reset by %s", x->gpu.uuid, x->program);
	gt_timer_set(x->agent->loop, &x->late, LATE_MS, on_late, x);
	if (spawn(x, &err) == 0)
		return;
	snprintf(text, sizeof(text), "it was not reset: %.280s", err.text);
	told(x, "gpu_reset_failed", text);
	finish(x);
}

/* ---- looking ---- */

static void on_look(void *arg)
{
	struct gpu_reset *x = arg;
	struct agent *a = x->agent;

	if (x->step == ENDING_GPUD && gt_gpu_helper_pid(gt_gpus_helper(a->gpus)) == 0)
		start(x);
	else
		gt_gpu_reset_look(a);
}

void gt_gpu_reset_look(struct agent *a)
{
	struct gpu_reset *x = a->reset;
	const struct gt_gpu *gpus;
	bool waits = false;
	size_t n;

	if (!x || x->step == RUNNING || a->stopping)
		return;
	n = x->step == IDLE ? gt_gpus_list(a->gpus, &gpus) : 0;
	for (size_t i = 0; i < n && x->step == IDLE; i++) {
		if (!may_be_reset(x, &gpus[i]))
			continue;
		waits = true;
		if (!is_free(a, &gpus[i]))
			continue;
		x->gpu = gpus[i];
		note_try(x, x->gpu.uuid);
		x->step = ENDING_GPUD;
		gt_timer_set(a->loop, &x->late, GPUD_MS, on_late, x);
		gt_gpu_helper_pause(gt_gpus_helper(a->gpus));
	}
	if (waits || x->step == ENDING_GPUD)
		gt_timer_set(a->loop, &x->look, LOOK_MS, on_look, x);
}

void gt_gpu_reset_open(struct agent *a, const char *program)
{
	if (!program || !*program || !gt_gpus_helper(a->gpus))
		return;
	a->reset = gt_alloc(sizeof(*a->reset));
	a->reset->agent = a;
	a->reset->program = program;
	a->reset->pidfd = a->reset->output = -EBADF;
	gt_gpu_reset_look(a);
}

void gt_gpu_reset_close(struct agent *a)
{
	struct gpu_reset *x = gt_steal(&a->reset);

	if (!x)
		return;
	gt_timer_clear(a->loop, &x->look);
	gt_timer_clear(a->loop, &x->late);
	gt_watch_close(x->watch);
	if (x->pidfd >= 0) {
		gt_os_pidfd_signal(x->pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)x->pidfd, &(siginfo_t){ 0 }, WEXITED);
	}
	gt_close(x->pidfd);
	gt_close(x->output);
	free(x);
}
