/* image_chore.c - work on files that takes long, in a child: unpacking, removing. The loop hears of
 * its end; it ends with the agent. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

#define ANSWER_FD 3
#define WORK_FD   4
#define FDS_MAX   2
#define HIGH_FD   16

/* The answer is one struct gt_err, with code 0 when all is well; less than that is a death. */
static _Noreturn void become_chore(pid_t parent, int answer, chore_fn *fn, const int *fds, size_t n)
{
	int high[1 + FDS_MAX], work[FDS_MAX];
	struct gt_err err = { 0 };
	int r;

	prctl(PR_SET_NAME, "gantry-files");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(125);
	/* Copies high up first: one that stands where another goes must not be lost. */
	high[0] = fcntl(answer, F_DUPFD, HIGH_FD);
	for (size_t i = 0; i < n; i++)
		high[1 + i] = fcntl(fds[i], F_DUPFD, HIGH_FD);
	for (size_t i = 0; i <= n; i++) {
		if (dup2(high[i], ANSWER_FD + (int)i) < 0)
			_exit(125);
	}
	close_range(WORK_FD + (unsigned)n, ~0u, 0);
	for (size_t i = 0; i < n; i++)
		work[i] = WORK_FD + (int)i;
	r = fn(work, &err);
	if (r < 0 && err.code == 0)
		err.code = -r;
	r = write(ANSWER_FD, &err, sizeof(err)) == (ssize_t)sizeof(err) ? 0 : 1;
	_exit(r);
}

static void chore_close(struct chore *c)
{
	gt_watch_close(gt_steal(&c->watch));
	c->pidfd = gt_close(c->pidfd);
	c->answer = gt_close(c->answer);
}

static void on_end(struct gt_watch *w, unsigned events, void *arg)
{
	struct chore *c = arg;
	struct gt_err said = { 0 };
	ssize_t n = read(c->answer, &said, sizeof(said));

	(void)w;
	(void)events;
	gt_os_pidfd_reap(c->pidfd, NULL);
	chore_close(c);
	if (n != (ssize_t)sizeof(said))
		gt_err_set(&said, ECHILD, "sandbox_failed", "the process for it was killed");
	c->done(c->images, said.code ? &said : NULL);
}

int gt_chore_start(struct images *im, struct chore *c, chore_fn *fn, const int *fds, size_t n,
		   void (*done)(struct images *im, const struct gt_err *err), struct gt_err *err)
{
	pid_t self = getpid(), pid;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return gt_err_errno(err, errno, "pipe");
	pid = fork();
	if (pid == 0)
		become_chore(self, ends[1], fn, fds, n);
	r = pid < 0 ? gt_err_errno(err, errno, "fork") : gt_os_pidfd_open(pid, &c->pidfd, err);
	gt_close(ends[1]);
	c->answer = ends[0];
	c->images = im;
	c->done = done;
	if (r == 0)
		r = gt_loop_watch(im->agent->loop, c->pidfd, GT_EV_READ, on_end, c, &c->watch, err);
	if (r == 0)
		return 0;
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	chore_close(c);
	return r;
}

void gt_chore_end(struct chore *c)
{
	if (c->pidfd >= 0) {
		gt_os_pidfd_signal(c->pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)c->pidfd, &(siginfo_t){ 0 }, WEXITED);
	}
	chore_close(c);
}
