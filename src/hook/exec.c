/* exec.c - a hook that is a program: started, listened to, and at its end or at the end of its time
 * taken leave of. */
#include "hook_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>

#define LINES_MAX 20 /* in the log, of one call */
#define PATH_ENV  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- what it says --------------------------------------------------------------------------- */

static void line_end(struct hook_call *call)
{
	call->line[call->line_len] = '\0';
	if (call->line_len > 0) {
		gt_strcopy(call->last, sizeof(call->last), call->line);
		if (call->lines++ < LINES_MAX)
			gt_info("provider %s: %s: %s", call->provider,
				gt_hook_verb_name(call->verb), call->line);
	}
	call->line_len = 0;
}

static void line_add(struct hook_call *call, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)data[i];

		if (ch == '\n')
			line_end(call);
		else if (call->line_len < HOOK_LINE_MAX)
			call->line[call->line_len++] = ch < ' ' || ch == 0x7f ? ' ' : (char)ch;
	}
}

static void give_up(struct hook_call *call, int code, const char *why)
{
	if (call->failed.code)
		return;
	gt_err_set(&call->failed, code, "provider_failed", "%s%s%s", why, call->last[0] ? ": " : "",
		   call->last);
	kill(-call->pid,
	     SIGKILL); /* on_end follows; it is not waited for, so the number is its own */
	gt_os_pidfd_signal(call->pidfd, SIGKILL, NULL);
}

/* False: there is no more. */
static bool read_some(struct hook_call *call, int fd)
{
	char data[4096];
	ssize_t n;

	errno = 0; /* at the end it stays so */
	n = read(fd, data, sizeof(data));
	if (n <= 0)
		return n < 0 && errno == EINTR;
	if (fd == call->said)
		line_add(call, data, (size_t)n);
	else if (gt_buf_add(&call->answer, data, (size_t)n) < 0)
		give_up(call, EMSGSIZE, "its answer is longer than 512 KiB");
	return !call->failed.code;
}

static void on_readable(struct gt_watch *watch, unsigned events GT_UNUSED, void *arg)
{
	struct hook_call *call = arg;
	int fd = gt_watch_fd(watch);
	bool more = true;

	for (int i = 0; i < 16 && more; i++)
		more = read_some(call, fd);
	if (more || errno == EAGAIN)
		return;
	gt_watch_close(watch == call->on_out ? gt_steal(&call->on_out) : gt_steal(&call->on_said));
}

/* ---- its end -------------------------------------------------------------------------------- */

static void on_late(void *arg)
{
	struct hook_call *call = arg;
	char text[64];

	snprintf(text, sizeof(text), "no answer within %llu ms",
		 (unsigned long long)call->timeout_ms);
	give_up(call, ETIMEDOUT, text);
}

/* What it left may hold its output open: only what is there already counts. */
static void on_end(struct gt_watch *watch GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	struct hook_call *call = arg;
	siginfo_t info = { 0 };
	struct gt_err why = { 0 };
	char text[80];

	waitid(P_PIDFD, (id_t)call->pidfd, &info, WEXITED | WNOHANG);
	call->pid = 0;
	while (!call->failed.code && read_some(call, call->out))
		continue;
	for (int i = 0; i < 64 && read_some(call, call->said); i++)
		continue;
	line_end(call);
	if (call->failed.code) {
		why = call->failed;
	} else if (info.si_code != CLD_EXITED || info.si_status != 0) {
		snprintf(text, sizeof(text), "%s %d",
			 info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status);
		gt_err_set(&why, EIO, "provider_failed", "%s%s%s", text, call->last[0] ? ": " : "",
			   call->last);
	}
	hook_finish(call, why.code ? &why : NULL);
}

void hook_exec_end(struct hook_call *call)
{
	gt_watch_close(gt_steal(&call->on_end));
	gt_watch_close(gt_steal(&call->on_out));
	gt_watch_close(gt_steal(&call->on_said));
	if (call->pid > 0) {
		kill(-call->pid, SIGKILL);
		kill(call->pid, SIGKILL);
		waitpid(call->pid, NULL, 0);
	}
	call->pid = 0;
	call->pidfd = gt_close(call->pidfd);
	call->out = gt_close(call->out);
	call->said = gt_close(call->said);
}

/* ---- its beginning -------------------------------------------------------------------------- */

struct program {
	const char *path, *provider;
};

static void become(void *arg)
{
	const struct program *p = arg;
	char provider[sizeof("GANTRY_PROVIDER=") + GT_PROVIDER_NAME_MAX];
	char path[] = PATH_ENV, home[] = "HOME=/";
	char *env[] = { path, home, provider, NULL }, *argv[] = { (char *)p->path, NULL };

	snprintf(provider, sizeof(provider), "GANTRY_PROVIDER=%s", p->provider);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	for (int i = 0; i < 3; i++)
		if (dup2(GT_OS_CHILD_FD + i, i) < 0)
			_exit(GT_OS_CHILD_UNFIT);
	execve(p->path, argv, env);
	dprintf(2, "%s: %s\n", p->path, strerror(errno));
	_exit(126);
}

static int watch(struct hook_call *call, struct gt_err *err)
{
	struct gt_loop *loop = call->hooks->config.loop;

	gt_timer_set(loop, &call->late, call->timeout_ms, on_late, call);
	if (gt_loop_watch(loop, call->out, GT_EV_READ, on_readable, call, &call->on_out, err) < 0 ||
	    gt_loop_watch(loop, call->said, GT_EV_READ, on_readable, call, &call->on_said, err) < 0)
		return -err->code;
	return gt_loop_watch(loop, call->pidfd, GT_EV_READ, on_end, call, &call->on_end, err);
}

int hook_exec_start(struct hook_call *call, const char *program, struct gt_err *err)
{
	struct program p = { .path = program, .provider = call->provider };
	gt_auto(fd) int in = -EBADF, out = -EBADF, said = -EBADF;
	int ends[2], r;

	/* No pipe: it may end without having read. */
	r = gt_os_memfd("question", call->ask.data, call->ask.len, &in, err);
	if (r < 0)
		return r;
	if (lseek(in, 0, SEEK_SET) < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "pipes of %s", program);
	call->out = ends[0];
	out = ends[1];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "pipes of %s", program);
	call->said = ends[0];
	said = ends[1];
	if (fcntl(call->out, F_SETFL, O_NONBLOCK) < 0 || fcntl(call->said, F_SETFL, O_NONBLOCK) < 0)
		return gt_err_errno(err, errno, "pipes of %s", program);
	const int fds[] = { in, out, said };

	r = gt_os_child(fds, GT_LEN(fds), become, &p, &call->pid, &call->pidfd, err);
	if (r < 0)
		return r;
	r = watch(call, err);
	if (r < 0)
		hook_exec_end(call);
	return r;
}
