/* container.c - the public handle of one container. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/os/os.h>

#include "runtime_impl.h"

static void drop_start(struct gt_container *c)
{
	c->out = gt_close(c->out);
	c->err = gt_close(c->err);
	gt_plan_free(gt_steal(&c->plan));
	free(gt_steal(&c->go));
}

static void container_free(struct gt_container *c)
{
	drop_start(c);
	gt_close(c->status);
	free(c);
}

static struct gt_container *container_new(struct gt_runtime *rt,
					  const struct gt_container_events *events)
{
	struct gt_container *c = gt_alloc(sizeof(*c));

	c->rt = rt;
	c->events = *events;
	c->out = c->err = c->status = -EBADF;
	return c;
}

static int copy_fd(int fd, int *ret, struct gt_err *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return gt_err_set(err, errno, "sandbox_failed", "copy a descriptor: %s",
				  strerror(errno));
	*ret = copy;
	return 0;
}

int gt_container_start(struct gt_runtime *rt, const struct gt_container_args *args,
		       const struct gt_container_events *events, struct gt_container **ret,
		       struct gt_err *err)
{
	struct gt_container *c = container_new(rt, events);
	int r = gt_sandbox_net_allowed(rt, args->spec->network, err);

	if (r == 0)
		r = gt_plan_new(rt, args, &c->plan, err);
	if (r == 0)
		r = gt_go_encode(args, &c->go, err);
	if (r == 0)
		r = copy_fd(args->stdout_fd, &c->out, err);
	if (r == 0)
		r = copy_fd(args->stderr_fd, &c->err, err);
	if (r == 0)
		r = copy_fd(args->status_fd, &c->status, err);
	if (r < 0) {
		container_free(c);
		return r;
	}
	c->hold = args->hold;
	rt->staging[c->plan->network].used = true;
	c->waiting = true;
	DL_APPEND(rt->waiting, c);
	gt_pool_pump(rt);
	*ret = c;
	return 0;
}

int gt_container_go(struct gt_container *c, const char *const *env, size_t n_env,
		    struct gt_err *err)
{
	int r = 0;

	if (!c->hold || !c->go || !c->box || c->box->state != SANDBOX_STARTING)
		return gt_err_set(err, EINVAL, "sandbox_failed", "the container is not held");
	r = gt_go_add(c->go, env, n_env, err);
	if (r < 0)
		return r;
	c->hold = false;
	return gt_sandbox_go(c->box, c, err);
}

enum gt_start_kind gt_container_start_kind(const struct gt_container *c)
{
	return c->kind;
}

static int is_gone(struct gt_runtime *rt, const struct gt_container_where *where, int status,
		   struct gt_exit *ret_exit, struct gt_err *err)
{
	gt_exit_read(status, ret_exit);
	ret_exit->oom = gt_cgroup_oom_kills(&rt->cgroups, where->sandbox) > 0 &&
			ret_exit->code != 0;
	return gt_err_set(err, ESRCH, "exited", "the container's process %d is gone",
			  (int)where->pid);
}

int gt_container_adopt(struct gt_runtime *rt, const struct gt_container_where *where, int status_fd,
		       const struct gt_container_events *events, struct gt_container **ret,
		       struct gt_exit *ret_exit, struct gt_err *err)
{
	struct gt_container *c;
	gt_auto(fd) int pidfd = -EBADF, status = -EBADF;
	uint64_t start_time = 0;
	struct gt_err why = { 0 };
	int r = copy_fd(status_fd, &status, err);

	if (r < 0)
		return r;
	/* The descriptor first: then the start time is of the process that it stands for. */
	if (gt_os_pidfd_open(where->pid, &pidfd, NULL) < 0 ||
	    gt_os_start_time(where->pid, &start_time, NULL) < 0 ||
	    start_time != where->start_time || gt_os_pidfd_ended(pidfd))
		return is_gone(rt, where, status, ret_exit, err);
	c = container_new(rt, events);
	c->box = gt_sandbox_adopt(rt, where, pidfd, &why);
	if (!c->box) {
		container_free(c);
		/* One that is dying has lost its namespaces a moment before it counts as ended. */
		if (why.code == ENOENT || why.code == ESRCH)
			return is_gone(rt, where, status, ret_exit, err);
		if (err)
			*err = why;
		return -why.code;
	}
	gt_steal_fd(&pidfd);
	c->box->owner = c;
	c->status = gt_steal_fd(&status);
	*ret = c;
	return 0;
}

/* ---- what its sandbox tells ---- */

void gt_container_on_answer(struct gt_container *c, const struct gt_init_answer *a)
{
	struct plan *plan = gt_steal(&c->plan);

	drop_start(c);
	c->box->kin = gt_hot_keep(c->rt, plan);
	c->events.on_started(c, a->root_us, a->exec_us, c->events.arg);
}

void gt_container_on_failed(struct gt_container *c, const struct gt_err *err)
{
	struct gt_err copy = *err;

	drop_start(c);
	c->ended = true;
	gt_cause_set(&copy, -1);
	c->events.on_failed(c, &copy, c->events.arg);
}

void gt_container_on_exit(struct gt_container *c, const struct gt_exit *how)
{
	c->ended = true;
	c->events.on_exit(c, how, c->events.arg);
}

/* ---- what its user asks ---- */

void gt_container_signal(struct gt_container *c, int signo)
{
	if (c->box && c->box->state == SANDBOX_RUNNING)
		gt_os_pidfd_signal(c->box->pidfd, signo, NULL);
}

void gt_container_kill(struct gt_container *c)
{
	struct gt_err err;

	if (c->box) {
		gt_sandbox_kill(c->box);
	} else if (c->waiting) {
		DL_DELETE(c->rt->waiting, c);
		c->waiting = false;
		gt_err_set(&err, ECANCELED, "sandbox_failed", "stopped before it was started");
		gt_container_on_failed(c, &err);
	}
}

int gt_container_running(const struct gt_container *c, struct gt_err *err)
{
	if (!c->box || c->box->state != SANDBOX_RUNNING)
		return gt_err_set(err, ENOENT, "replica_lost", "the container does not run");
	return 0;
}

bool gt_runtime_can_freeze(const struct gt_runtime *rt)
{
	return gt_cgroup_can_freeze(&rt->cgroups);
}

int gt_container_freeze(struct gt_container *c, struct gt_err *err)
{
	int r = gt_container_running(c, err);

	if (r == 0)
		c->box->frozen_once = true;
	return r < 0 ? r : gt_cgroup_freeze(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_thaw(struct gt_container *c, struct gt_err *err)
{
	int r = gt_container_running(c, err);

	return r < 0 ? r : gt_cgroup_thaw(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_frozen(const struct gt_container *c, struct gt_err *err)
{
	int r = gt_container_running(c, err);

	return r < 0 ? r : gt_cgroup_frozen(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_memory(struct gt_container *c, uint64_t bytes, struct gt_err *err)
{
	int r = gt_container_running(c, err);

	return r < 0 ? r : gt_cgroup_memory(&c->rt->cgroups, c->box->where.sandbox, bytes, err);
}

int gt_container_usage(const struct gt_container *c, struct gt_usage *ret, struct gt_err *err)
{
	int r = gt_container_running(c, err);

	if (r < 0)
		return r;
	gt_cgroup_usage(&c->rt->cgroups, c->box->where.sandbox, ret);
	if (c->box->where.again)
		gt_usage_since(ret, &c->box->before);
	return 0;
}

void gt_container_leave(struct gt_container *c)
{
	if (c->waiting)
		DL_DELETE(c->rt->waiting, c);
	if (c->box)
		c->box->owner = NULL;
	container_free(c);
}

void gt_container_release(struct gt_container *c)
{
	if (c->box && c->box->state != SANDBOX_REMOVING)
		gt_sandbox_drop(c->box);
	gt_container_leave(c);
}
