/* reap.c - process 1 at work: buries orphans, passes signals on, and writes down how the program
 * ended, for an agent that may not even be running at that moment. */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

/* The rest of the container dies with process 1. */
static _Noreturn void finish(int wait_status, int status_fd)
{
	struct gt_init_status st = { .magic = GT_INIT_MAGIC, .code = -1 };
	struct timespec now;
	ssize_t n;

	if (WIFSIGNALED(wait_status))
		st.signal = WTERMSIG(wait_status);
	else
		st.code = WEXITSTATUS(wait_status);
	clock_gettime(CLOCK_REALTIME, &now);
	st.wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	n = write(status_fd, &st, sizeof(st));
	_exit(n == sizeof(st) ? 0 : 1);
}

static void bury(pid_t program, int status_fd)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == program)
			finish(status, status_fd);
	}
}

/* What images name as their stop signal, and what servers take for "reopen" or "reload". */
static bool is_passed_on(int signo)
{
	switch (signo) {
	case SIGTERM:
	case SIGINT:
	case SIGHUP:
	case SIGQUIT:
	case SIGUSR1:
	case SIGUSR2:
	case SIGWINCH:
		return true;
	default:
		return signo >= SIGRTMIN && signo <= SIGRTMAX;
	}
}

/* Only what comes from outside, where no process of the container can be: those inside can signal
 * the program themselves, and have nothing to say to process 1. */
void init_reap(pid_t program, int status_fd)
{
	siginfo_t info;
	sigset_t all;
	int signo;

	sigfillset(&all); /* blocked since the start */
	for (;;) {
		bury(program, status_fd);
		signo = sigwaitinfo(&all, &info);
		if (signo > 0 && info.si_pid == 0 && is_passed_on(signo))
			kill(-program, signo);
	}
}
