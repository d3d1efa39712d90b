/* monitor.c - the one process that holds a container's sandbox: from before `create` answers until
 * the container has ended. While the container is created it waits inside the engine's on_sandbox
 * callback: the sandbox is staged, and nothing of the bundle has run. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/os/os.h>
#include <gantry/runtime/runtime.h>

#include "oci.h"

struct monitor {
	const struct oci_monitor *m;
	struct gt_loop *loop;
	struct gt_runtime *rt;
	struct gt_container *c;
	struct gt_oci_state state;
	struct gt_watch *watch;
	struct gt_err refusal; /* why it did not run; code 0 = it ran */
	int lock, listener, status, starter;
	bool ended;
	int exit_code;
};

static int save(struct monitor *mon, enum gt_oci_status status, struct gt_err *err)
{
	mon->state.status = status;
	if (status == GT_OCI_STOPPED)
		mon->state.pid = 0;
	return oci_state_save(mon->m->dir, &mon->state, err);
}

/* Hooks whose failure must not stop anything. */
static void hooks_all(struct monitor *mon, enum gt_oci_hook_point point)
{
	const struct gt_oci_hook_list *list = &mon->m->bundle->config->hooks[point];

	for (size_t i = 0; i < list->n; i++) {
		struct gt_oci_hook_list one = { .v = &list->v[i], .n = 1 };
		struct gt_err err;

		if (oci_hooks_run(&one, &mon->state, &err) < 0)
			oci_warn(mon->m->args, "%s", err.text);
	}
}

/* ---- created: until somebody says start ---- */

static int write_pid_file(const struct monitor *mon, struct gt_err *err)
{
	const char *path = mon->m->args->pid_file;
	char pid[16];
	int len = snprintf(pid, sizeof(pid), "%d", mon->state.pid);

	return path ? oci_file_write(AT_FDCWD, path, pid, (size_t)len, err) : 0;
}

static int be_created(struct monitor *mon, const struct gt_container_where *where,
		      struct gt_err *err)
{
	const struct gt_oci_hook_list *hooks = mon->m->bundle->config->hooks;
	struct oci_created told = { .pid = where->pid };
	int r;

	mon->state.pid = where->pid;
	mon->state.start_time = where->start_time;
	r = save(mon, GT_OCI_CREATING, err);
	/* These came with the first specification, which knew no status before "created". */
	mon->state.status = GT_OCI_CREATED;
	if (r == 0)
		r = oci_hooks_run(&hooks[GT_OCI_PRESTART], &mon->state, err);
	mon->state.status = GT_OCI_CREATING;
	if (r == 0)
		r = oci_hooks_run(&hooks[GT_OCI_CREATE_RUNTIME], &mon->state, err);
	if (r == 0)
		r = write_pid_file(mon, err);
	if (r == 0)
		r = save(mon, GT_OCI_CREATED, err);
	if (r == 0 && mon->m->created_fd >= 0 &&
	    write(mon->m->created_fd, &told, sizeof(told)) != sizeof(told))
		return gt_err_errno(err, EPIPE, "tell that the container is created");
	return r;
}

/* Nothing that could handle a signal runs yet: what ends a program by default ends the container.
 */
static bool ends_created(int signo)
{
	return signo != SIGCHLD && signo != SIGCONT && signo != SIGURG && signo != SIGWINCH &&
	       signo != SIGSTOP && signo != SIGTSTP && signo != SIGTTIN && signo != SIGTTOU;
}

/* 0: start. One request at a time, while the loop stands still: it has nothing else to do. */
static int wait_for_start(struct monitor *mon, int pidfd, struct gt_err *err)
{
	struct pollfd p[] = { { .fd = mon->listener, .events = POLLIN },
			      { .fd = pidfd, .events = POLLIN } };

	for (;;) {
		gt_auto(fd) int conn = -EBADF;
		int request = 0;

		if (poll(p, GT_LEN(p), -1) < 0 && errno != EINTR)
			return gt_err_errno(err, errno, "wait for the start");
		if (gt_os_pidfd_ended(pidfd))
			return gt_err_set(err, ESRCH, "sandbox_failed", "the sandbox ended");
		if (oci_control_accept(mon->listener, &conn, &request) < 0)
			continue;
		if (request == OCI_REQUEST_START) {
			mon->starter = gt_steal_fd(&conn);
			return mon->m->plan->has_program
				       ? 0
				       : gt_err_set(err, EINVAL, "invalid_spec",
						    "the configuration has no process.args");
		}
		oci_control_answer(conn, NULL);
		if (ends_created(request))
			return gt_err_set(err, ECANCELED, "killed", "killed by signal %d", request);
	}
}

static int on_sandbox(struct gt_container *c GT_UNUSED, const struct gt_container_where *where,
		      void *arg, struct gt_err *err)
{
	struct monitor *mon = arg;
	gt_auto(fd) int pidfd = -EBADF;
	int r = gt_os_pidfd_open(where->pid, &pidfd, err);

	if (r == 0)
		r = be_created(mon, where, err);
	if (r == 0 && mon->m->wait_for_start)
		r = wait_for_start(mon, pidfd, err);
	return r;
}

/* ---- running ---- */

static void on_request(struct gt_watch *w GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	struct monitor *mon = arg;
	gt_auto(fd) int conn = -EBADF;
	struct gt_err err;
	int request = 0;

	if (oci_control_accept(mon->listener, &conn, &request) < 0)
		return;
	if (request == OCI_REQUEST_START) {
		gt_err_set(&err, EINVAL, "not_created",
			   "the container is not created, but running");
		oci_control_answer(conn, &err);
		return;
	}
	if (request == SIGKILL)
		gt_container_kill(mon->c);
	else
		gt_container_signal(mon->c, request);
	oci_control_answer(conn, NULL);
}

static void on_started(struct gt_container *c GT_UNUSED, uint64_t root_us GT_UNUSED,
		       uint64_t exec_us GT_UNUSED, void *arg)
{
	struct monitor *mon = arg;
	struct gt_err err;

	if (save(mon, GT_OCI_RUNNING, &err) < 0)
		oci_warn(mon->m->args, "%s", err.text);
	hooks_all(mon, GT_OCI_POSTSTART);
	if (mon->starter >= 0)
		oci_control_answer(mon->starter, NULL);
	mon->starter = gt_close(mon->starter);
	if (gt_loop_watch(mon->loop, mon->listener, GT_EV_READ, on_request, mon, &mon->watch,
			  &err) < 0)
		oci_warn(mon->m->args, "%s", err.text);
}

static void on_failed(struct gt_container *c GT_UNUSED, const struct gt_err *err, void *arg)
{
	struct monitor *mon = arg;

	mon->refusal = *err;
	mon->ended = true;
}

static void on_end(struct gt_container *c GT_UNUSED, const struct gt_exit *how, void *arg)
{
	struct monitor *mon = arg;

	mon->exit_code = how->signal ? 128 + how->signal : how->code;
	mon->ended = true;
}

static void on_signal(int signo, void *arg)
{
	struct monitor *mon = arg;

	if (mon->c)
		gt_container_signal(mon->c, signo);
}

/* ---- the whole of it ---- */

static int open_parts(struct monitor *mon, struct gt_err *err)
{
	const struct oci_dir *d = mon->m->dir;
	gt_auto(free) char *run = gt_asprintf("%s/run", d->path);
	struct gt_runtime_config config = { .dir = run, .id_base = mon->m->plan->id_base };
	sigset_t set;
	int r = oci_lock_take(d, &mon->lock, err);

	sigemptyset(&set);
	for (size_t i = 0; i < 5; i++)
		sigaddset(&set, (int[]){ SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 }[i]);
	if (r == 0)
		r = save(mon, GT_OCI_CREATING, err);
	if (r == 0)
		r = oci_control_listen(d, &mon->listener, err);
	if (r == 0)
		r = gt_os_mkdir_at(d->fd, "run", 0700, err);
	if (r < 0)
		return r;
	mon->status = openat(d->fd, "status", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (mon->status < 0)
		return gt_err_errno(err, errno, "make %s/status", d->path);
	r = gt_loop_new(&mon->loop, err);
	if (r == 0)
		r = gt_loop_signals(mon->loop, &set, on_signal, mon, err);
	if (r == 0)
		r = gt_runtime_new(mon->loop, &config, &mon->rt, err);
	return r;
}

static int start(struct monitor *mon, struct gt_err *err)
{
	struct gt_container_args args = {
		.function = "oci",
		.replica = mon->m->args->id,
		.spec = mon->m->plan->spec,
		.stdout_fd = STDOUT_FILENO,
		.stderr_fd = STDERR_FILENO,
		.status_fd = mon->status,
		.foreign = &mon->m->plan->foreign,
	};
	struct gt_container_events events = {
		.on_sandbox = on_sandbox,
		.on_started = on_started,
		.on_failed = on_failed,
		.on_exit = on_end,
		.arg = mon,
	};

	return gt_container_start(mon->rt, &args, &events, &mon->c, err);
}

/* The container's copies are made: a reader of a pipe must not wait for this process. */
static void let_go_of_stdio(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	gt_close(null);
}

static void close_parts(struct monitor *mon)
{
	struct gt_err err;

	gt_watch_close(mon->watch);
	if (mon->c)
		gt_container_release(mon->c);
	while (mon->rt && gt_runtime_busy(mon->rt) && gt_loop_step(mon->loop, -1, &err) == 0)
		;
	gt_runtime_free(mon->rt);
	gt_loop_free(mon->loop);
	if (mon->refusal.code == 0 || mon->state.pid > 0) {
		if (save(mon, GT_OCI_STOPPED, &err) < 0)
			oci_warn(mon->m->args, "%s", err.text);
	}
	if (mon->starter >= 0)
		oci_control_answer(mon->starter, &mon->refusal);
	gt_close(mon->starter);
	gt_close(mon->listener);
	gt_close(mon->status);
	gt_close(mon->lock);
}

int oci_monitor_run(const struct oci_monitor *m, struct gt_err *err)
{
	const struct gt_oci_config *config = m->bundle->config;
	struct monitor mon = {
		.m = m,
		.lock = -EBADF,
		.listener = -EBADF,
		.status = -EBADF,
		.starter = -EBADF,
		.state = { .bundle = m->bundle->dir,
			   .annotations = config->annotations,
			   .n_annotations = config->n_annotations },
	};
	int r;

	gt_strcopy(mon.state.id, sizeof(mon.state.id), m->args->id);
	r = open_parts(&mon, &mon.refusal);
	if (r == 0)
		r = start(&mon, &mon.refusal);
	if (r == 0 && m->wait_for_start)
		let_go_of_stdio();
	while (r == 0 && !mon.ended)
		r = gt_loop_step(mon.loop, -1, &mon.refusal);
	close_parts(&mon);
	if (mon.refusal.code == 0)
		return mon.exit_code;
	if (err)
		*err = mon.refusal;
	return -mon.refusal.code;
}
