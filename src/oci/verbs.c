/* verbs.c - the commands on one container. Each is a process of its own: what they know of each
 * other is in the container's directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/units.h>
#include <gantry/os/os.h>

#include "oci.h"

#define END_WAIT_MS 10000 /* for a killed container's last control group */

/* ---- create, run ---- */

struct birth {
	struct oci_bundle bundle;
	struct oci_plan plan;
	struct oci_dir dir;
};

static void birth_fini(struct birth *b)
{
	oci_plan_fini(&b->plan);
	oci_bundle_fini(&b->bundle);
	oci_dir_fini(&b->dir);
}

static int birth_prepare(const struct oci_args *args, struct birth *b, struct gt_err *err)
{
	int r;

	*b = (struct birth){ .dir = { .fd = -EBADF } };
	r = oci_bundle_load(args->bundle, args->config, &b->bundle, err);
	if (r == 0)
		r = oci_plan_make(args, &b->bundle, &b->plan, err);
	if (r == 0)
		r = oci_dir_make(args->root, args->id, &b->dir, err);
	if (r < 0)
		return r;
	/* The file may change under a living container: its hooks stay what they were. */
	r = oci_file_write(b->dir.fd, "config.json", b->bundle.text, b->bundle.len, err);
	if (r < 0)
		oci_dir_remove(&b->dir);
	return r;
}

/* Where the container is gone, what was promised to its owner is done and its directory goes. */
static void bury(const struct oci_args *args, const struct oci_dir *dir,
		 const struct gt_oci_config *config, const struct gt_oci_state *state)
{
	const struct gt_oci_hook_list *hooks = &config->hooks[GT_OCI_POSTSTOP];

	for (size_t i = 0; i < hooks->n; i++) {
		struct gt_oci_hook_list one = { .v = &hooks->v[i], .n = 1 };
		struct gt_err err;

		if (oci_hooks_run(&one, state, &err) < 0)
			oci_warn(args, "%s", err.text);
	}
	oci_dir_remove(dir);
}

/* The same for one that this process made; what never came as far as a state has no hooks to run.
 */
static void birth_undo(const struct oci_args *args, const struct birth *b)
{
	struct gt_oci_state state = { .id = "" };

	if (oci_state_load(&b->dir, &state, NULL) == 0)
		bury(args, &b->dir, b->bundle.config, &state);
	else
		oci_dir_remove(&b->dir);
	gt_oci_state_fini(&state);
}

/* In a process of its own, which ends with the container. */
static _Noreturn void become_monitor(const struct oci_args *args, struct birth *b, int report)
{
	struct oci_created told = { .pid = 0 };
	struct oci_monitor m = {
		.args = args,
		.dir = &b->dir,
		.bundle = &b->bundle,
		.plan = &b->plan,
		.wait_for_start = true,
		.created_fd = report,
	};
	int r;

	setsid();
	r = oci_monitor_run(&m, &told.err);
	/* Without effect when `create` was answered: its end of the pipe is closed. */
	if (r < 0)
		(void)!write(report, &told, sizeof(told));
	_exit(0);
}

static int wait_created(int report, struct gt_err *err)
{
	struct oci_created told;
	ssize_t n;

	do {
		n = read(report, &told, sizeof(told));
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(told))
		return gt_err_set(err, EPIPE, "system_error", "the container's monitor ended");
	if (told.pid > 0)
		return 0;
	if (err)
		*err = told.err;
	return -told.err.code;
}

int oci_create(const struct oci_args *args, struct gt_err *err)
{
	struct birth b;
	int report[2] = { -EBADF, -EBADF };
	int r = birth_prepare(args, &b, err);
	pid_t pid;

	if (r < 0) {
		birth_fini(&b);
		return r;
	}
	signal(SIGPIPE, SIG_IGN);
	fflush(NULL);
	pid = pipe2(report, O_CLOEXEC) == 0 ? fork() : -1;
	if (pid == 0) {
		gt_close(report[0]);
		become_monitor(args, &b, report[1]);
	}
	if (pid < 0)
		r = gt_err_errno(err, errno, "start a monitor");
	gt_close(report[1]);
	if (r == 0)
		r = wait_created(report[0], err);
	gt_close(report[0]);
	if (r < 0 && oci_lock_wait(&b.dir, END_WAIT_MS, NULL) == 0)
		birth_undo(args, &b);
	birth_fini(&b);
	return r;
}

static int run_here(const struct oci_args *args, struct gt_err *err)
{
	struct birth b;
	int r = birth_prepare(args, &b, err);
	struct oci_monitor m = { .args = args,
				 .dir = &b.dir,
				 .bundle = &b.bundle,
				 .plan = &b.plan,
				 .created_fd = -EBADF };

	if (r == 0 && !b.plan.has_program)
		r = gt_err_set(err, EINVAL, "invalid_spec",
			       "the configuration has no process.args");
	if (r == 0)
		r = oci_monitor_run(&m, err);
	if (b.dir.fd >= 0 && (r < 0 || !args->keep))
		birth_undo(args, &b);
	birth_fini(&b);
	return r;
}

int oci_run(const struct oci_args *args, struct gt_err *err)
{
	struct oci_args undo = *args;
	int r;

	if (!args->detach)
		return run_here(args, err);
	r = oci_create(args, err);
	if (r < 0)
		return r;
	r = oci_start(args, err);
	undo.force = true;
	if (r < 0)
		oci_delete(&undo, NULL);
	return r;
}

/* ---- start, state, kill, delete ---- */

static int load(const struct oci_args *args, struct oci_dir *dir, struct gt_oci_state *state,
		struct gt_err *err)
{
	int r;

	*dir = (struct oci_dir){ .fd = -EBADF };
	r = oci_dir_open(args->root, args->id, dir, err);
	return r < 0 ? r : oci_state_load(dir, state, err);
}

int oci_start(const struct oci_args *args, struct gt_err *err)
{
	struct gt_oci_state state = { .id = "" };
	struct oci_dir dir;
	int r = load(args, &dir, &state, err);

	if (r == 0 && state.status != GT_OCI_CREATED)
		r = gt_err_set(err, EINVAL, "not_created", "container \"%s\" is %s, not created",
			       args->id, gt_oci_status_name(state.status));
	if (r == 0)
		r = oci_control_ask(&dir, OCI_REQUEST_START, err);
	gt_oci_state_fini(&state);
	oci_dir_fini(&dir);
	return r;
}

int oci_state(const struct oci_args *args, struct gt_err *err)
{
	struct gt_oci_state state = { .id = "" };
	struct oci_dir dir;
	int r = load(args, &dir, &state, err);

	if (r == 0) {
		gt_auto(buf) struct gt_buf text = { 0 };

		gt_oci_state_write(&state, false, &text);
		fprintf(args->out, "%s\n", gt_buf_str(&text));
	}
	gt_oci_state_fini(&state);
	oci_dir_fini(&dir);
	return r;
}

/* "TERM", "SIGTERM", "15" */
static int signal_read(const char *text, struct gt_err *err)
{
	uint64_t n = 0;

	if (gt_parse_u64(text, SIGRTMAX, &n) == 0 && n > 0)
		return (int)n;
	if (gt_starts_with(text, "SIG"))
		text += 3;
	for (int signo = 1; signo < NSIG; signo++) {
		if (gt_streq(sigabbrev_np(signo), text))
			return signo;
	}
	return gt_err_set(err, EINVAL, "usage", "\"%s\" is no signal", text);
}

static int pass_signal(const struct oci_dir *dir, const struct gt_oci_state *state, int signo,
		       struct gt_err *err)
{
	gt_auto(fd) int pidfd = -EBADF;
	uint64_t start_time;
	int r;

	/* KILL needs no monitor, which may itself be killed with the request in its hands: all that
	 * runs in the container ends with process 1. */
	if (signo != SIGKILL && oci_lock_wait(dir, 0, NULL) < 0)
		return oci_control_ask(dir, signo, err);
	/* Of a monitor that was killed, too: process 1 passes signals on by itself. */
	r = gt_os_pidfd_open(state->pid, &pidfd, err);
	if (r == 0)
		r = gt_os_start_time(state->pid, &start_time, err);
	if (r < 0 || start_time == state->start_time)
		return r < 0 ? r : gt_os_pidfd_signal(pidfd, signo, err);
	return gt_err_set(err, ESRCH, "not_running", "container \"%s\" has ended", state->id);
}

int oci_kill(const struct oci_args *args, struct gt_err *err)
{
	struct gt_oci_state state = { .id = "" };
	struct oci_dir dir = { .fd = -EBADF };
	int signo = signal_read(args->signal ? args->signal : "TERM", err);
	int r = signo < 0 ? signo : load(args, &dir, &state, err);

	if (r == 0 && state.status != GT_OCI_CREATED && state.status != GT_OCI_RUNNING)
		r = gt_err_set(err, ESRCH, "not_running", "container \"%s\" is %s, not running",
			       args->id, gt_oci_status_name(state.status));
	if (r == 0)
		r = pass_signal(&dir, &state, signo, err);
	gt_oci_state_fini(&state);
	oci_dir_fini(&dir);
	return r;
}

static int end_it(const struct oci_args *args, const struct oci_dir *dir,
		  const struct gt_oci_state *state, struct gt_err *err)
{
	if (state->status != GT_OCI_STOPPED && !args->force)
		return gt_err_set(err, EBUSY, "not_stopped",
				  "container \"%s\" is %s, not stopped; kill it, or delete --force",
				  args->id, gt_oci_status_name(state->status));
	if (state->status != GT_OCI_STOPPED)
		pass_signal(dir, state, SIGKILL, NULL); /* it may end by itself meanwhile */
	return oci_lock_wait(dir, END_WAIT_MS, err);
}

int oci_delete(const struct oci_args *args, struct gt_err *err)
{
	struct gt_oci_state state = { .id = "" };
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(oci_config) struct gt_oci_config *config = NULL;
	struct oci_dir dir;
	int r = load(args, &dir, &state, err);

	/* Forcing makes sure that there is none; also of one whose making was interrupted. */
	if (r < 0 && args->force && dir.fd >= 0) {
		oci_dir_remove(&dir);
		r = 0;
	} else if (r == -ENOENT && args->force) {
		r = 0;
	} else if (r == 0) {
		r = end_it(args, &dir, &state, err);
		if (r == 0)
			r = oci_file_read(dir.fd, "config.json", GT_OCI_CONFIG_MAX, &text, err);
		if (r == 0)
			r = gt_oci_config_read(text.data, text.len, &config, err);
		state.status = GT_OCI_STOPPED;
		state.pid = 0;
		if (r == 0)
			bury(args, &dir, config, &state);
	}
	gt_oci_state_fini(&state);
	oci_dir_fini(&dir);
	return r;
}

int oci_list(const struct oci_args *args, struct gt_err *err)
{
	DIR *dir = opendir(args->root);
	struct dirent *e;

	if (!dir && errno != ENOENT)
		return gt_err_errno(err, errno, "open %s", args->root);
	if (!args->quiet)
		fprintf(args->out, "%-24s %-8s %-8s %s\n", "ID", "PID", "STATUS", "BUNDLE");
	while (dir && (e = readdir(dir))) {
		struct gt_oci_state state = { .id = "" };
		struct oci_args one = *args;
		struct oci_dir at;

		one.id = e->d_name;
		if (!oci_id_ok(e->d_name))
			continue;
		if (load(&one, &at, &state, NULL) == 0) {
			if (args->quiet)
				fprintf(args->out, "%s\n", state.id);
			else
				fprintf(args->out, "%-24s %-8d %-8s %s\n", state.id, state.pid,
					gt_oci_status_name(state.status), state.bundle);
		}
		oci_dir_fini(&at);
		gt_oci_state_fini(&state);
	}
	if (dir)
		closedir(dir);
	return 0;
}
