/* sandbox.c - one process 1: started ahead, staged, handed a container, watched until it dies. */
#include "runtime_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

const char *gt_init_step_text(uint32_t step)
{
	return step < GT_INIT_STEP_N ? step_texts[step] : "start";
}

/* ---- the child, between clone3 and exec, in our memory: raw system calls only ---- */

struct birth {
	const struct gt_runtime *rt;
	int code; /* why it did not come to executing init */
};

/* The descriptors are the agent's until the low ones of them are copied. */
static void become_init(void *arg)
{
	static char name[] = "gantry-init";
	static char *argv[] = { name, NULL }, *envp[] = { NULL };
	struct birth *b = arg;
	const struct gt_runtime *rt = b->rt;
	long program = -1, sock = -1, null = -1;
	bool ok = syscall(SYS_setns, rt->ground, CLONE_NEWNS) == 0 &&
		  syscall(SYS_close_range, rt->low_fds, ~0u, CLOSE_RANGE_UNSHARE) == 0;

	ok = ok && (program = syscall(SYS_fcntl, rt->init_fd, F_DUPFD_CLOEXEC, HIGH_FD)) >= 0 &&
	     (sock = syscall(SYS_fcntl, rt->door, F_DUPFD_CLOEXEC, HIGH_FD)) >= 0 &&
	     (null = syscall(SYS_fcntl, rt->null_fd, F_DUPFD_CLOEXEC, HIGH_FD)) >= 0;
	for (int fd = 0; ok && fd < GT_INIT_SOCKET; fd++)
		ok = syscall(SYS_dup3, null, fd, 0) >= 0;
	ok = ok && syscall(SYS_dup3, sock, GT_INIT_SOCKET, 0) >= 0 &&
	     syscall(SYS_close_range, GT_INIT_SOCKET + 1, ~0u, CLOSE_RANGE_CLOEXEC) == 0;
	if (ok)
		syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	b->code = errno;
}

/* ---- end of life ---- */

static void close_control(struct sandbox *box)
{
	gt_watch_close(box->control_watch);
	box->control_watch = NULL;
	box->control = gt_close(box->control);
}

static void grow_old(struct sandbox *box)
{
	if (box->young)
		DL_DELETE2(box->rt->young, box, young_prev, young_next);
	box->young = false;
}

void gt_sandbox_forget(struct sandbox *box)
{
	gt_timer_clear(box->rt->loop, &box->timer);
	close_control(box);
	gt_watch_close(box->pid_watch);
	gt_close(box->pidfd);
	gt_close(box->netns);
	gt_sandbox_net_release(box->rt, &box->net);
	if (box->id_base)
		gt_idrange_put(&box->rt->ids, box->id_base);
	gt_pool_shrink(box->rt);
	if (box->hot)
		gt_hot_on_lost(box, NULL);
	if (box->owner)
		box->owner->box = NULL;
	grow_old(box);
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

bool gt_sandbox_is_idle(const struct sandbox *box)
{
	return box->state <= SANDBOX_PREPARED;
}

/* From here on its death is all that is waited for. Returns whose it was. */
static struct gt_container *dying(struct sandbox *box)
{
	struct gt_container *owner = box->owner;

	grow_old(box);
	box->state = SANDBOX_DYING;
	box->owner = NULL;
	if (owner)
		owner->box = NULL;
	close_control(box);
	gt_timer_clear(box->rt->loop, &box->timer);
	return owner;
}

void gt_sandbox_drop(struct sandbox *box)
{
	dying(box);
	gt_sandbox_kill(box);
}

/* The owner hears it now; the process is killed and removed behind its back. */
static void give_up(struct sandbox *box, const struct gt_err *why)
{
	struct gt_container *owner = dying(box);

	gt_sandbox_kill(box);
	if (box->hot)
		gt_hot_on_lost(box, why);
	if (owner)
		gt_container_on_failed(owner, why);
	if (!box->staged)
		gt_pool_staged(box->rt, box->net.kind, why);
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
	struct gt_err err;
	int userns, r;

	/* It has a network of its own only now, after it visited the host's. A short program may
	 * even have ended already; then nobody will want to call it. */
	r = box->netns >= 0 ? 0 : gt_os_ns_open(box->where.pid, "net", &box->netns, &err);
	if (r < 0 && r != -ENOENT) {
		gt_cause_set(&err, r);
		give_up(box, &err);
		return;
	}
	box->staged = true;
	if (box->state == SANDBOX_STAGING) {
		gt_timer_clear(box->rt->loop, &box->timer);
		box->state = SANDBOX_STAGED;
		/* Here it costs no start anything; if it fails, PREPARE tries again. */
		gt_idrange_userns(&box->rt->ids, box->id_base, &userns, NULL);
	}
	gt_pool_staged(box->rt, box->net.kind, NULL);
}

static void on_failed(struct sandbox *box, const struct gt_init_answer *a)
{
	struct gt_err err;

	if (box->owner && box->owner->plan) {
		gt_plan_failure(box->owner->plan, a, &err);
	} else if (box->hot) {
		gt_plan_failure(box->hot->plan, a, &err);
	} else {
		gt_err_set(&err, a->code, "sandbox_failed", "the sandbox could not %s: %s (%u)",
			   gt_init_step_text(a->step), strerror(a->code), a->index);
	}
	give_up(box, &err);
}

static void on_answer(struct sandbox *box, const struct gt_init_answer *a)
{
	if (a->type == GT_INIT_STAGED) {
		on_staged(box);
	} else if (a->type == GT_INIT_PREPARED) {
		if (box->state != SANDBOX_PREPARING)
			return; /* taken meanwhile */
		gt_timer_clear(box->rt->loop, &box->timer);
		box->state = SANDBOX_PREPARED;
	} else if (a->type == GT_INIT_RUNS && box->state == SANDBOX_STARTING) {
		gt_timer_clear(box->rt->loop, &box->timer);
		grow_old(box);
		box->state = SANDBOX_RUNNING;
		close_control(box);
		if (box->owner)
			gt_container_on_answer(box->owner, a);
	} else {
		on_failed(box, a);
	}
}

/* False: there is nothing more to read. */
static bool read_answer(struct sandbox *box)
{
	struct gt_init_answer a = { 0 };
	size_t len;
	int r = gt_os_recv(box->control, &a, sizeof(a), &len, NULL, 0, NULL, NULL);

	if (r == -EAGAIN || r == -ENOMEM || r == -ENOBUFS) /* it is still there, and told again */
		return false;
	if (r < 0 || len != sizeof(a))
		close_control(box); /* its death tells the rest */
	else
		on_answer(box, &a);
	return box->control >= 0;
}

static void on_control(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	(void)events;
	read_answer(arg);
}

static void on_death(struct gt_watch *w, unsigned events, void *arg)
{
	struct sandbox *box = arg;
	struct gt_err err;

	(void)w;
	(void)events;
	gt_watch_close(box->pid_watch);
	box->pid_watch = NULL;
	/* Its last words may wait beside its death. */
	while (box->control >= 0 && read_answer(box))
		;
	gt_os_pidfd_reap(box->pidfd, NULL); /* adopted ones are reaped by somebody else */
	if (gt_sandbox_is_idle(box) || box->state == SANDBOX_STARTING) {
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
	box->young = true;
	DL_APPEND(rt->sandboxes, box);
	DL_APPEND2(rt->young, box, young_prev, young_next);
	return box;
}

/* `fds`: of the control groups, with room for one more. */
static int send_stage(struct sandbox *box, int *fds, size_t n_fds, struct gt_err *err)
{
	struct gt_init_stage m = {
		.type = GT_INIT_STAGE,
		.id_base = box->id_base,
		.cgroup2 = box->rt->cgroups.unified,
	};
	int r = gt_sandbox_net_stage(box->rt, &box->net, box->netns >= 0, &m, err);

	if (r < 0)
		return r;
	if (m.net.flags & GT_INIT_NET_EGRESS)
		fds[n_fds++] = box->rt->netns;
	if (m.net.flags & GT_INIT_NET_MADE)
		fds[n_fds++] = box->netns;
	return gt_os_send(box->control, &m, sizeof(m), fds, n_fds, err);
}

/* cgroup: the directory of a group to begin in, or < 0. */
static int clone_init(struct sandbox *box, int cgroup, struct gt_err *err)
{
	struct gt_runtime *rt = box->rt;
	struct birth birth = { rt, 0 };
	const struct gt_os_spawn spawn = {
		.flags = CLONE_NEWPID,
		.cgroup = cgroup,
		.fn = become_init,
		.arg = &birth,
	};
	int pair[2], r;

	r = gt_os_socketpair(pair, err);
	if (r < 0)
		return r;
	dup3(pair[1], rt->door, O_CLOEXEC);
	gt_close(pair[1]);
	r = gt_os_spawn(&spawn, &box->where.pid, &box->pidfd, err);
	dup3(rt->null_fd, rt->door, O_CLOEXEC);
	if (r < 0) {
		gt_close(pair[0]);
		return r;
	}
	box->control = pair[0];
	return birth.code ? gt_err_errno(err, birth.code, "execute process 1") : 0;
}

static int watch_init(struct sandbox *box, struct gt_err *err)
{
	struct gt_loop *loop = box->rt->loop;
	int r = gt_os_start_time(box->where.pid, &box->where.start_time, err);

	if (r == 0)
		r = gt_loop_watch(loop, box->pidfd, GT_EV_READ, on_death, box, &box->pid_watch,
				  err);
	return r;
}

/* The process and its groups; `fds` are of those that it has yet to join. It is begun in the one of
 * version 2. Version 1 has no such thing: there the process comes first and begins to run while we
 * make its groups. */
static int clone_in_groups(struct sandbox *box, int *fds, size_t *n_fds, struct gt_err *err)
{
	const struct gt_cgroups *g = &box->rt->cgroups;
	int (*const make)(const struct gt_cgroups *, const char *, int *, size_t *,
			  struct gt_err *) = box->where.again ? gt_cgroup_reopen : gt_cgroup_make;
	gt_auto(fd) int dir = -EBADF;
	int r;

	if (!g->unified) {
		r = clone_init(box, -EBADF, err);
		return r < 0 ? r : make(g, box->where.sandbox, fds, n_fds, err);
	}
	r = make(g, box->where.sandbox, fds, n_fds, err);
	if (r < 0)
		return r;
	gt_close(fds[0]);
	memmove(fds, fds + 1, --*n_fds * sizeof(*fds));
	r = gt_cgroup_dir(g, box->where.sandbox, &dir, err);
	return r < 0 ? r : clone_init(box, dir, err);
}

/* The name tells the ids: whoever finds the groups later knows whose they are, with a process in
 * them or not. */
static void name_new(struct sandbox *box, enum gt_network network)
{
	box->net.kind = network;
	snprintf(box->where.sandbox, sizeof(box->where.sandbox), "%x-%llx-%llx-%x",
		 (unsigned)getpid(), (unsigned long long)gt_mono_ns(&gt_clock_system),
		 (unsigned long long)++box->rt->sandbox_n, box->id_base);
}

void gt_sandbox_hold_ids(struct sandbox *box)
{
	unsigned base;

	/* Those of earlier versions have no such part, and the first range's ids. */
	box->id_base = sscanf(box->where.sandbox, "%*x-%*x-%*x-%x", &base) == 1 ? base
										: box->rt->ids.base;
	gt_idrange_hold(&box->rt->ids, box->id_base);
}

static void move_in(struct sandbox *box, struct vessel *from)
{
	box->id_base = from->id_base;
	gt_strcopy(box->where.sandbox, sizeof(box->where.sandbox), from->leaf);
	box->where.again = true;
	gt_cgroup_usage(&box->rt->cgroups, from->leaf, &box->before);
	box->netns = from->netns;
	box->net = from->net;
	free(from);
}

/* A sandbox with its ids, groups and network, maybe of earlier. */
static int spawn(struct sandbox *box, struct sandbox **ret, struct gt_err *err)
{
	struct gt_runtime *rt = box->rt;
	int cgroups[GT_CGROUP_CTL_N + 1], r;
	size_t n_cgroups = 0;

	r = clone_in_groups(box, cgroups, &n_cgroups, err);
	if (r == 0)
		r = watch_init(box, err);
	if (r == 0)
		r = send_stage(box, cgroups, n_cgroups, err);
	box->where.slot = gt_sandbox_net_slot(&box->net);
	if (r == 0)
		r = gt_loop_watch(rt->loop, box->control, GT_EV_READ, on_control, box,
				  &box->control_watch, err);
	while (n_cgroups > 0)
		gt_close(cgroups[--n_cgroups]);
	if (r == 0) {
		gt_timer_set(rt->loop, &box->timer, DEADLINE_MS, on_deadline, box);
		*ret = box;
		return 0;
	}
	if (box->pidfd >= 0) {
		gt_os_pidfd_signal(box->pidfd, SIGKILL, NULL);
		waitpid(box->where.pid, NULL, 0);
	}
	grow_old(box);
	gt_sandbox_remove(box);
	return gt_cause_set(err, r);
}

int gt_sandbox_spawn(struct gt_runtime *rt, enum gt_network network, struct sandbox **ret,
		     struct gt_err *err)
{
	struct sandbox *box;
	uint32_t id_base;
	int r = gt_idrange_take(&rt->ids, &id_base, err);

	if (r < 0)
		return r;
	box = sandbox_new(rt);
	box->id_base = id_base;
	name_new(box, network);
	return spawn(box, ret, err);
}

int gt_sandbox_spawn_for(struct gt_runtime *rt, const struct plan *p, struct vessel *from,
			 struct sandbox **ret, struct gt_err *err)
{
	struct sandbox *box;

	if (!from && !p->shared_ids)
		return gt_sandbox_spawn(rt, p->network, ret, err);
	box = sandbox_new(rt);
	if (from) {
		move_in(box, from);
	} else {
		box->id_base = rt->ids.base;
		gt_idrange_hold(&rt->ids, box->id_base);
		name_new(box, p->network);
	}
	return spawn(box, ret, err);
}

/* One that has failed already does not read any more; its last word or its death tells why. */
static int unless_failed(int r)
{
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

int gt_sandbox_prepare(struct sandbox *box, const struct plan *p, bool answer, struct gt_err *err)
{
	struct gt_runtime *rt = box->rt;
	int userns, r = gt_idrange_userns(&rt->ids, box->id_base, &userns, err);

	/* Before its process makes the nodes. Groups of another one's of this plan have them. */
	if (r == 0 && p->n_devices > 0 && !box->where.again)
		r = gt_cgroup_device_allow(&rt->cgroups, box->where.sandbox, p->devices,
					   p->n_devices, err);
	if (r == 0)
		r = unless_failed(gt_plan_send(rt, p, box->control, userns, answer, err));
	/* While it works: limits are for the program. */
	if (r == 0)
		r = box->where.again
			    ? gt_cgroup_refill(&rt->cgroups, box->where.sandbox, &p->limits, err)
			    : gt_cgroup_limit(&rt->cgroups, box->where.sandbox, &p->limits, err);
	if (r < 0)
		return gt_cause_set(err, r);
	gt_timer_set(rt->loop, &box->timer, DEADLINE_MS, on_deadline, box);
	return 0;
}

/* To the container's root, who gives them to the program's user: that may be a name of the image.
 * Whatever else an operator's output is, it keeps its owner. */
static int give_fifo(int fd, uint32_t id, struct gt_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || (S_ISFIFO(st.st_mode) && fchown(fd, id, id) < 0))
		return gt_err_errno(err, errno, "standard output and error");
	return 0;
}

int gt_sandbox_go(struct sandbox *box, const struct gt_container *c, struct gt_err *err)
{
	const struct gt_init_status_here status = { .type = GT_INIT_STATUS };
	const int fds[] = { c->out, c->err };
	int r = give_fifo(c->out, box->id_base, err);

	if (r == 0)
		r = give_fifo(c->err, box->id_base, err);
	if (r == 0)
		r = gt_os_send(box->control, c->go, sizeof(*c->go), fds, GT_LEN(fds), err);
	if (r == 0)
		r = gt_os_send(box->control, &status, sizeof(status), &c->status, 1, err);
	r = unless_failed(r);
	if (r < 0)
		return gt_cause_set(err, r);
	gt_timer_set(box->rt->loop, &box->timer, DEADLINE_MS, on_deadline, box);
	return 0;
}

struct sandbox *gt_sandbox_adopt(struct gt_runtime *rt, const struct gt_container_where *where,
				 int pidfd, struct gt_err *err)
{
	struct sandbox *box = sandbox_new(rt);

	grow_old(box);
	box->state = SANDBOX_RUNNING;
	box->where = *where;
	box->pidfd = pidfd;
	gt_sandbox_hold_ids(box);
	if (where->again)
		gt_cgroup_usage(&rt->cgroups, where->sandbox, &box->before);
	if (gt_os_ns_open(where->pid, "net", &box->netns, err) == 0 && watch_init(box, err) == 0)
		return box;
	box->pidfd = -EBADF; /* stays the caller's */
	gt_sandbox_forget(box);
	return NULL;
}
