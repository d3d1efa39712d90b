/* child.c - see os/child.h. */
#include <gantry/os/child.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/base.h>
#include <gantry/os/os.h>

static pid_t parent; /* of a child, in the child */

static void must(bool ok)
{
	if (!ok)
		_exit(GT_OS_CHILD_UNFIT);
}

/* Copies above all places first: one that stands where another goes must not be lost. */
static void place_fds(const int *fds, size_t n)
{
	int above = GT_OS_CHILD_FD + (int)n;
	int *high = gt_alloc_array(n + 1, sizeof(*high)), null = open("/dev/null", O_RDWR);

	must(null >= 0);
	high[n] = fcntl(null, F_DUPFD, above);
	for (size_t i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD, above);
	must(dup2(high[n], 0) == 0 && dup2(high[n], 1) == 1);
	for (size_t i = 0; i < n; i++)
		must(dup3(high[i], GT_OS_CHILD_FD + (int)i, O_CLOEXEC) >= 0);
	must(close_range((unsigned)above, ~0u, 0) == 0);
	free(high);
}

void gt_os_child_tie(void)
{
	must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent);
}

static void settle(const int *fds, size_t n)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, signo == SIGPIPE ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	place_fds(fds, n);
	must(chdir("/") == 0);
	gt_os_child_tie();
}

int gt_os_child(const int *fds, size_t n, void (*fn)(void *arg), void *arg, pid_t *ret_pid,
		int *ret_pidfd, struct gt_err *err)
{
	pid_t self = getpid(), pid = fork();
	int r;

	if (pid == 0) {
		parent = self;
		settle(fds, n);
		fn(arg);
		_exit(GT_OS_CHILD_UNFIT);
	}
	if (pid < 0)
		return gt_err_errno(err, errno, "fork");
	r = gt_os_pidfd_open(pid, ret_pidfd, err);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret_pid = pid;
	return 0;
}
