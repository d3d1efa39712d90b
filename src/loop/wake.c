/* wake.c - a bell that other threads and signal handlers may ring. */
#include "loop_impl.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

struct gt_wake {
	int fd; /* eventfd: its counter merges rings */
	struct gt_watch *watch;
	gt_timer_fn *fn;
	void *arg;
};

static void on_ring(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_wake *wake = arg;
	uint64_t rings;

	(void)w;
	(void)events;
	/* Emptied before the call, so that a ring during it is not lost. */
	if (read(wake->fd, &rings, sizeof(rings)) == (ssize_t)sizeof(rings))
		wake->fn(wake->arg); /* may free the wake */
}

int gt_wake_new(struct gt_loop *l, gt_timer_fn *fn, void *arg, struct gt_wake **ret,
		struct gt_err *err)
{
	gt_auto(fd) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return gt_err_errno(err, errno, "eventfd");
	gt_auto(free) struct gt_wake *wake = gt_alloc(sizeof(*wake));

	wake->fn = fn;
	wake->arg = arg;
	int r = gt_loop_watch(l, fd, GT_EV_READ, on_ring, wake, &wake->watch, err);

	if (r < 0)
		return gt_err_wrap(err, "wake-up");
	wake->fd = gt_steal_fd(&fd);
	*ret = gt_steal(&wake);
	return 0;
}

void gt_wake_ring(struct gt_wake *w)
{
	const uint64_t one = 1;
	int saved = errno;
	/* Only a full counter makes this fail, and then the loop is awake anyhow. */
	ssize_t ignored = write(w->fd, &one, sizeof(one));

	(void)ignored;
	errno = saved;
}

void gt_wake_free(struct gt_wake *w)
{
	if (!w)
		return;
	gt_watch_close(w->watch);
	gt_close(w->fd);
	free(w);
}
