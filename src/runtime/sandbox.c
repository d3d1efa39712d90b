/* sandbox.c - one process 1: started ahead, staged, handed a container, watched until it dies. */
#include "runtime_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

/* Staging and starting are our own code; only a machine in great trouble needs this long. */
#define DEADLINE_MS 30000
#define HIGH_FD     16 /* above every descriptor that the child puts in place */

static const char *const step_texts[] = {
#define X(name, text) text,
	GT_INIT_STEPS(X)
#undef X
};

/* ---- the child, between clone3 and exec: raw system calls only ---- */

static _Noreturn void become_init(const struct gt_runtime *rt, int control)
{
	char *argv[] = { "gantry-init", NULL }, *envp[] = { NULL };
	int program = fcntl(rt->init_fd, F_DUPFD_CLOEXEC, HIGH_FD);
	int sock = fcntl(control, F_DUPFD_CLOEXEC, HIGH_FD);
	int null = fcntl(rt->null_fd, F_DUPFD_CLOEXEC, HIGH_FD);

	if (program < 0 || sock < 0 || null < 0 || chdir(rt->mnt_path) < 0)
		_exit(1);
	for (int fd = 0; fd < GT_INIT_SOCKET; fd++) {
		if (dup2(null, fd) < 0)
			_exit(1);
	}
	if (dup2(sock, GT_INIT_SOCKET) < 0 ||
	    syscall(SYS_close_range, GT_INIT_SOCKET + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(1);
	/* What this process ignores, a program would go on ignoring. */
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	_exit(1);
}

/* ---- end of life ---- */

static void close_control(struct sandbox *box)
{
	gt_watch_close(box->control_watch);
	box->control_watch = NULL;
	box->control = gt_close(box->control);
}

void gt_sandbox_forget(struct sandbox *box)
{
	gt_timer_clear(box->rt->loop, &box->timer);
	close_control(box);
	gt_watch_close(box->pid_watch);
	gt_close(box->pidfd);
	gt_close(box->netns);
	if (box->owner)
		box->owner->box = NULL;
	DL_DELETE(box->rt->sandboxes, box);
	free(box);
}

void gt_sandbox_kill(struct sandbox *box)
{
	if (box->state == SANDBOX_REMOVING)
		return;
	gt_os_pidfd_signal(box->pidfd, SIGKILL, NULL);
	/* A frozen process of control groups version 1 does not even die. */
	gt_cgroup_thaw(&box->rt->cgroups, box->where.sandbox, NULL);
}

/* The owner hears it now; the process is killed and removed behind its back. */
static void give_up(struct sandbox *box, const struct gt_err *why)
{
	struct gt_container *owner = box->owner;
	bool staging = box->state == SANDBOX_STAGING;

	box->state = SANDBOX_DYING;
	box->owner = NULL;
	if (owner)
		owner->box = NULL;
	close_control(box);
	gt_timer_clear(box->rt->loop, &box->timer);
	gt_sandbox_kill(box);
	if (owner)
		gt_container_on_failed(owner, why);
	if (staging)
		gt_pool_staged(box->rt, why);
}

static void on_deadline(void *arg)
{
	struct sandbox *box = arg;
	struct gt_err err;

	gt_err_set(&err, ETIMEDOUT, "sandbox_failed", "the sandbox did not answer within %d s",
		   DEADLINE_MS / 1000);
	give_up(box, &err);
}

/* ---- messages ---- */

static void on_staged(struct sandbox *box)
{
	gt_timer_clear(box->rt->loop, &box->timer);
	box->state = SANDBOX_STAGED;
	gt_pool_staged(box->rt, NULL);
}

static void on_answer(struct sandbox *box, const struct gt_init_answer *a)
{
	struct gt_container *owner = box->owner;
	struct gt_err err;

	if (a->type == GT_INIT_STAGED && box->state == SANDBOX_STAGING) {
		on_staged(box);
	} else if (a->type == GT_INIT_RUNS && box->state == SANDBOX_STARTING) {
		gt_timer_clear(box->rt->loop, &box->timer);
		box->state = SANDBOX_RUNNING;
		close_control(box);
		if (owner)
			gt_container_on_answer(owner, a);
	} else if (a->type == GT_INIT_FAILED && owner && a->step < GT_INIT_STEP_N) {
		box->state = SANDBOX_DYING;
		box->owner = NULL;
		owner->box = NULL;
		close_control(box);
		gt_timer_clear(box->rt->loop, &box->timer);
		gt_container_on_answer(owner, a);
	} else {
		gt_err_set(&err, a->code, "sandbox_failed", "the sandbox could not %s: %s (%u)",
			   a->step < GT_INIT_STEP_N ? step_texts[a->step] : "start",
			   strerror(a->code), a->index);
		give_up(box, &err);
	}
}

static void on_control(struct gt_watch *w, unsigned events, void *arg)
{
	struct sandbox *box = arg;
	struct gt_init_answer a = { 0 };
	size_t len;
	int r;

	(void)w;
	(void)events;
	r = gt_os_recv(box->control, &a, sizeof(a), &len, NULL, 0, NULL, NULL);
	if (r == -EAGAIN)
		return;
	if (r < 0 || len != sizeof(a))
		close_control(box); /* its death tells the rest */
	else
		on_answer(box, &a);
}

static void on_death(struct gt_watch *w, unsigned events, void *arg)
{
	struct sandbox *box = arg;
	struct gt_err err;

	(void)w;
	(void)events;
	gt_watch_close(box->pid_watch);
	box->pid_watch = NULL;
	/* Its last word may wait beside its death. */
	if (box->control >= 0)
		on_control(box->control_watch, GT_EV_READ, box);
	gt_os_pidfd_reap(box->pidfd, NULL); /* adopted ones are reaped by somebody else */
	if (box->state == SANDBOX_STAGING || box->state == SANDBOX_STARTING) {
		gt_err_set(&err, ECHILD, "sandbox_failed", "the sandbox's first process died");
		give_up(box, &err);
	}
	gt_pool_pump(box->rt);
	gt_sandbox_remove(box);
}

/* ---- birth ---- */

static struct sandbox *sandbox_new(struct gt_runtime *rt)
{
	struct sandbox *box = gt_alloc(sizeof(*box));

	box->rt = rt;
	box->pidfd = box->control = box->netns = -EBADF;
	DL_APPEND(rt->sandboxes, box);
	return box;
}

static int send_stage(struct sandbox *box, const int *cgroups, size_t n_cgroups, struct gt_err *err)
{
	struct gt_init_stage m = {
		.type = GT_INIT_STAGE,
		.id_base = box->rt->id_base,
		.cgroup2 = box->rt->cgroups.unified,
	};

	return gt_os_send(box->control, &m, sizeof(m), cgroups, n_cgroups, err);
}

static int clone_init(struct sandbox *box, struct gt_err *err)
{
	int pair[2], r;

	r = gt_os_socketpair(pair, err);
	if (r < 0)
		return r;
	r = gt_os_clone(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC,
			&box->where.pid, &box->pidfd, err);
	if (r == 0 && box->where.pid == 0)
		become_init(box->rt, pair[1]);
	gt_close(pair[1]);
	box->control = pair[0];
	return r;
}

static int watch_init(struct sandbox *box, struct gt_err *err)
{
	struct gt_loop *loop = box->rt->loop;
	int r = gt_os_start_time(box->where.pid, &box->where.start_time, err);

	if (r == 0)
		r = gt_os_ns_open(box->where.pid, "net", &box->netns, err);
	if (r == 0)
		r = gt_loop_watch(loop, box->pidfd, GT_EV_READ, on_death, box, &box->pid_watch,
				  err);
	return r;
}

int gt_sandbox_spawn(struct gt_runtime *rt, struct gt_err *err)
{
	struct sandbox *box = sandbox_new(rt);
	int cgroups[GT_CGROUP_CTL_N], r;
	size_t n_cgroups = 0;

	snprintf(box->where.sandbox, sizeof(box->where.sandbox), "%d-%llx-%llu", (int)getpid(),
		 (unsigned long long)gt_mono_ns(&gt_clock_system),
		 (unsigned long long)++rt->sandbox_n);
	r = gt_cgroup_make(&rt->cgroups, box->where.sandbox, cgroups, &n_cgroups, err);
	if (r == 0)
		r = clone_init(box, err);
	if (r == 0)
		r = watch_init(box, err);
	if (r == 0)
		r = gt_loop_watch(rt->loop, box->control, GT_EV_READ, on_control, box,
				  &box->control_watch, err);
	if (r == 0)
		r = send_stage(box, cgroups, n_cgroups, err);
	while (n_cgroups > 0)
		gt_close(cgroups[--n_cgroups]);
	if (r == 0) {
		gt_timer_set(rt->loop, &box->timer, DEADLINE_MS, on_deadline, box);
		return 0;
	}
	if (box->pidfd >= 0) {
		gt_os_pidfd_signal(box->pidfd, SIGKILL, NULL);
		waitpid(box->where.pid, NULL, 0);
	}
	gt_sandbox_remove(box);
	return r;
}

/* The container's own descriptors go with the message and are closed here but for the status. */
int gt_sandbox_begin(struct sandbox *box, struct gt_container *c, struct gt_err *err)
{
	struct gt_init_start m = { .type = GT_INIT_START, .spec_len = c->spec_len };
	int r;

	box->state = SANDBOX_STARTING;
	c->fds[GT_INIT_FD_USERNS] = box->rt->userns;
	r = gt_os_send(box->control, &m, sizeof(m), c->fds, c->n_fds, err);
	c->fds[GT_INIT_FD_USERNS] = -EBADF; /* the runtime's */
	if (r < 0)
		return r;
	gt_timer_set(box->rt->loop, &box->timer, DEADLINE_MS, on_deadline, box);
	return 0;
}

struct sandbox *gt_sandbox_adopt(struct gt_runtime *rt, const struct gt_container_where *where,
				 int pidfd, struct gt_err *err)
{
	struct sandbox *box = sandbox_new(rt);

	box->state = SANDBOX_RUNNING;
	box->where = *where;
	box->pidfd = pidfd;
	if (watch_init(box, err) == 0)
		return box;
	box->pidfd = -EBADF; /* stays the caller's */
	gt_sandbox_forget(box);
	return NULL;
}
