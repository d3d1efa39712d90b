/* container.c - the public handle of one container. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/os/os.h>

#include "runtime_impl.h"

static void drop_start(struct gt_container *c)
{
	for (size_t i = 0; i < c->n_fds; i++) {
		if (i != GT_INIT_FD_STATUS)
			c->fds[i] = gt_close(c->fds[i]);
	}
	for (char **p = c->mount_paths; p && *p; p++)
		free(*p);
	free(gt_steal(&c->mount_paths));
	free(gt_steal(&c->command));
	free(gt_steal(&c->workdir));
	free(gt_steal(&c->image));
}

static void container_free(struct gt_container *c)
{
	drop_start(c);
	gt_close(c->fds[GT_INIT_FD_STATUS]);
	free(c);
}

static struct gt_container *container_new(struct gt_runtime *rt,
					  const struct gt_container_events *events)
{
	struct gt_container *c = gt_alloc(sizeof(*c));

	c->rt = rt;
	c->events = *events;
	c->n_fds = GT_INIT_FD_N;
	for (size_t i = 0; i < GT_LEN(c->fds); i++)
		c->fds[i] = -EBADF;
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

/* Causes are for users: what has none yet is the node's trouble. */
static int with_cause(struct gt_err *err, int r)
{
	if (r < 0 && err && gt_streq(err->slug, "system_error"))
		gt_strcopy(err->slug, sizeof(err->slug), "sandbox_failed");
	return r;
}

static int prepare(struct gt_runtime *rt, const struct gt_container_args *args,
		   struct gt_container *c, struct gt_err *err)
{
	int r = gt_image_open(rt, args->spec, &c->fds[GT_INIT_FD_IMAGE], err);

	if (r == 0)
		r = gt_spec_encode(rt, args, c, err);
	if (r == 0)
		r = copy_fd(args->stdout_fd, &c->fds[GT_INIT_FD_STDOUT], err);
	if (r == 0)
		r = copy_fd(args->stderr_fd, &c->fds[GT_INIT_FD_STDERR], err);
	if (r == 0)
		r = copy_fd(args->status_fd, &c->fds[GT_INIT_FD_STATUS], err);
	return with_cause(err, r);
}

int gt_container_start(struct gt_runtime *rt, const struct gt_container_args *args,
		       const struct gt_container_events *events, struct gt_container **ret,
		       struct gt_err *err)
{
	const struct gt_spec *spec = args->spec;
	struct gt_container *c = container_new(rt, events);
	int r = prepare(rt, args, c, err);

	if (r < 0) {
		container_free(c);
		return r;
	}
	c->limits = (struct gt_cgroup_limits){
		.memory_bytes = spec->resources.memory_bytes,
		.cpu_milli = spec->resources.cpu_milli,
		.pids = spec->resources.pids,
	};
	c->command = gt_strdup(spec->command[0]);
	c->workdir = gt_strdup(spec->workdir);
	c->image = gt_strdup(spec->image);
	c->waiting = true;
	DL_APPEND(rt->waiting, c);
	gt_pool_pump(rt);
	*ret = c;
	return 0;
}

int gt_container_adopt(struct gt_runtime *rt, const struct gt_container_where *where, int status_fd,
		       const struct gt_container_events *events, struct gt_container **ret,
		       struct gt_exit *ret_exit, struct gt_err *err)
{
	struct gt_container *c;
	gt_auto(fd) int pidfd = -EBADF, status = -EBADF;
	uint64_t start_time = 0;
	int r = copy_fd(status_fd, &status, err);

	if (r < 0)
		return r;
	/* The descriptor first: then the start time is of the process that it stands for. */
	if (gt_os_pidfd_open(where->pid, &pidfd, NULL) < 0 ||
	    gt_os_start_time(where->pid, &start_time, NULL) < 0 ||
	    start_time != where->start_time || gt_os_pidfd_ended(pidfd)) {
		gt_exit_read(status, ret_exit);
		ret_exit->oom = gt_cgroup_oom_kills(&rt->cgroups, where->sandbox) > 0 &&
				ret_exit->code != 0;
		return gt_err_set(err, ESRCH, "exited", "the container's process %d is gone",
				  (int)where->pid);
	}
	c = container_new(rt, events);
	c->box = gt_sandbox_adopt(rt, where, pidfd, err);
	if (!c->box) {
		container_free(c);
		return err ? -err->code : -EIO;
	}
	gt_steal_fd(&pidfd);
	c->box->owner = c;
	c->fds[GT_INIT_FD_STATUS] = gt_steal_fd(&status);
	*ret = c;
	return 0;
}

/* ---- what its sandbox tells ---- */

static void failure_text(const struct gt_container *c, const struct gt_init_answer *a,
			 struct gt_err *err)
{
	static const char *const steps[] = {
#define X(name, text) text,
		GT_INIT_STEPS(X)
#undef X
	};
	const char *reason = strerror(a->code);

	switch (a->step) {
	case GT_INIT_STEP_LOOKUP:
		gt_err_set(err, a->code, "command_missing",
			   "command \"%s\" does not exist in the image %s", c->command, c->image);
		break;
	case GT_INIT_STEP_INTERPRETER:
		gt_err_set(err, a->code, "exec_failed",
			   "command \"%s\" is in the image %s, but its interpreter or dynamic "
			   "loader is not",
			   c->command, c->image);
		break;
	case GT_INIT_STEP_EXEC:
		gt_err_set(err, a->code, "exec_failed", "command \"%s\" can not be executed: %s",
			   c->command, reason);
		break;
	case GT_INIT_STEP_WORKDIR:
		gt_err_set(err, a->code, "exec_failed",
			   "the working directory %s can not be entered: %s", c->workdir, reason);
		break;
	case GT_INIT_STEP_TARGET:
	case GT_INIT_STEP_MOUNT:
		gt_err_set(err, a->code, "sandbox_failed", "mount at %s in the container: %s",
			   a->index > 0 && c->mount_paths ? c->mount_paths[a->index - 1]
							  : "/dev, /proc or /sys",
			   reason);
		break;
	default:
		gt_err_set(err, a->code, "sandbox_failed", "the sandbox could not %s: %s (%u)",
			   steps[a->step], reason, a->index);
	}
}

void gt_container_on_answer(struct gt_container *c, const struct gt_init_answer *a)
{
	struct gt_err err;

	if (a->type == GT_INIT_RUNS) {
		drop_start(c);
		c->events.on_started(c, a->root_us, a->exec_us, c->events.arg);
		return;
	}
	failure_text(c, a, &err);
	gt_container_on_failed(c, &err);
}

void gt_container_on_failed(struct gt_container *c, const struct gt_err *err)
{
	struct gt_err copy = *err;

	drop_start(c);
	c->ended = true;
	with_cause(&copy, -1);
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

static int running(const struct gt_container *c, struct gt_err *err)
{
	if (!c->box || c->box->state != SANDBOX_RUNNING)
		return gt_err_set(err, ENOENT, "replica_lost", "the container does not run");
	return 0;
}

int gt_container_freeze(struct gt_container *c, struct gt_err *err)
{
	int r = running(c, err);

	return r < 0 ? r : gt_cgroup_freeze(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_thaw(struct gt_container *c, struct gt_err *err)
{
	int r = running(c, err);

	return r < 0 ? r : gt_cgroup_thaw(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_frozen(const struct gt_container *c, struct gt_err *err)
{
	int r = running(c, err);

	return r < 0 ? r : gt_cgroup_frozen(&c->rt->cgroups, c->box->where.sandbox, err);
}

int gt_container_usage(const struct gt_container *c, struct gt_usage *ret, struct gt_err *err)
{
	int r = running(c, err);

	if (r == 0)
		gt_cgroup_usage(&c->rt->cgroups, c->box->where.sandbox, ret);
	return r;
}

int gt_container_dial(struct gt_container *c, uint16_t port, int *ret, struct gt_err *err)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	gt_auto(fd) int fd = -EBADF;
	int r = running(c, err);

	if (r < 0)
		return r;
	r = gt_os_socket_in(c->box->netns, c->rt->netns, &fd, err);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return gt_err_errno(err, errno, "connect to port %u of the container", port);
	*ret = gt_steal_fd(&fd);
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
	if (c->box)
		gt_sandbox_kill(c->box);
	gt_container_leave(c);
}
