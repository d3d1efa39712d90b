/* signal.c - signals as ordinary events, through a signalfd. */
#include "loop_impl.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

static void on_signals(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_signals *s = arg;
	struct signalfd_siginfo info;

	(void)w;
	(void)events;
	/* One a call: the descriptor stays readable while more signals wait. */
	if (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		s->fn((int)info.ssi_signo, s->arg);
}

int gt_loop_signals(struct gt_loop *l, const sigset_t *mask, gt_signal_fn *fn, void *arg,
		    struct gt_err *err)
{
	struct gt_signals *s = &l->signals;

	if (s->fd >= 0)
		return gt_err_set(err, EALREADY, "internal_error",
				  "this loop has its signals already");
	gt_auto(fd) int fd = signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK);

	if (fd < 0)
		return gt_err_errno(err, errno, "signalfd");
	s->fn = fn;
	s->arg = arg;
	int r = gt_loop_watch(l, fd, GT_EV_READ, on_signals, s, &s->watch, err);

	if (r < 0)
		return gt_err_wrap(err, "signals");
	/* Last, so that a failure leaves the process as it was. Blocking here reaches the threads
	 * started after it, which is why a role takes its signals first. */
	r = pthread_sigmask(SIG_BLOCK, mask, NULL);
	if (r != 0) {
		gt_watch_close(s->watch);
		return gt_err_errno(err, r, "pthread_sigmask");
	}
	s->fd = gt_steal_fd(&fd);
	return 0;
}

/* The signals stay blocked: a SIGTERM that arrives during the last steps of a shutdown must not
 * cut them short. */
void gt_signals_fini(struct gt_loop *l)
{
	if (l->signals.fd < 0)
		return;
	gt_watch_close(l->signals.watch);
	l->signals.fd = gt_close(l->signals.fd);
}
