/* hooks.c - programs of the bundle's owner, run beside the container on the host: with the
 * environment that the bundle gives them and nothing of the container's, in the root directory. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/os/os.h>

#include "oci.h"

static _Noreturn void become_hook(const struct gt_oci_hook *hook, int input)
{
	char *no_args[] = { hook->path, NULL }, *no_env[] = { NULL };
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);

	/* Standard output may be a pipe that its reader waits on. */
	if (null < 0 || dup2(input, 0) < 0 || dup2(null, 1) < 0 || chdir("/") < 0 ||
	    close_range(3, ~0u, 0) < 0)
		_exit(126);
	execve(hook->path, hook->args.n ? hook->args.v : no_args,
	       hook->env.n ? hook->env.v : no_env);
	_exit(127);
}

static int wait_hook(const struct gt_oci_hook *hook, pid_t pid, struct gt_err *err)
{
	gt_auto(fd) int pidfd = -EBADF;
	int timeout_ms = hook->timeout_s ? (int)GT_MIN(hook->timeout_s, 86400u) * 1000 : -1;
	int status = 0, r = gt_os_pidfd_open(pid, &pidfd, err);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	bool late;

	p.fd = pidfd;
	do {
		late = r == 0 && poll(&p, 1, timeout_ms) == 0;
	} while (!late && r == 0 && p.revents == 0);
	if (late || r < 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (r < 0)
		return r;
	if (late)
		return gt_err_set(err, ETIMEDOUT, "hook_failed", "hook %s: no end within %u s",
				  hook->path, hook->timeout_s);
	if (WIFSIGNALED(status))
		return gt_err_set(err, ECANCELED, "hook_failed", "hook %s: killed by signal %d",
				  hook->path, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return gt_err_set(err, ECANCELED, "hook_failed", "hook %s: exit code %d",
				  hook->path, WEXITSTATUS(status));
	return 0;
}

static int run_hook(const struct gt_oci_hook *hook, int input, struct gt_err *err)
{
	pid_t pid;

	if (lseek(input, 0, SEEK_SET) < 0)
		return gt_err_errno(err, errno, "hook %s", hook->path);
	pid = fork();
	if (pid < 0)
		return gt_err_errno(err, errno, "hook %s", hook->path);
	if (pid == 0)
		become_hook(hook, input);
	return wait_hook(hook, pid, err);
}

int oci_hooks_run(const struct gt_oci_hook_list *list, const struct gt_oci_state *state,
		  struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };

	gt_oci_state_write(state, false, &text);
	for (size_t i = 0; i < list->n; i++) {
		gt_auto(fd) int input = -EBADF;
		int r = gt_os_memfd("state", text.data, text.len, &input, err);

		if (r == 0)
			r = run_hook(&list->v[i], input, err);
		if (r < 0)
			return r;
	}
	return 0;
}
