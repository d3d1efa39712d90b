/* loop.c - rounds of the event loop over epoll: descriptors, then timers, then deferred calls. */
#include "loop_impl.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <utlist.h>

/* Descriptors a round; the rest are ready again in the next one. What a round defers, the gateway's
 * writes above all, waits for as many: more would save wake-ups and cost delay and cache. */
#define EVENTS_MAX 32

struct gt_loop *gt_loop_new_virtual(const struct gt_clock *clock)
{
	struct gt_loop *l = gt_alloc(sizeof(*l));

	l->clock = clock;
	l->epoll_fd = -EBADF;
	l->signals.fd = -EBADF;
	l->now_ns = gt_mono_ns(clock);
	return l;
}

int gt_loop_new(struct gt_loop **ret, struct gt_err *err)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "epoll_create1");
	*ret = gt_loop_new_virtual(&gt_clock_system);
	(*ret)->epoll_fd = fd;
	return 0;
}

static void free_closed(struct gt_loop *l)
{
	struct gt_watch *w, *next;

	DL_FOREACH_SAFE (l->closed, w, next) {
		DL_DELETE(l->closed, w);
		free(w);
	}
}

void gt_loop_free(struct gt_loop *l)
{
	struct gt_watch *w, *next;

	if (!l)
		return;
	gt_signals_fini(l);
	DL_FOREACH_SAFE (l->watches, w, next)
		gt_watch_close(w);
	free_closed(l);
	gt_timers_fini(l);
	free(l->deferred);
	gt_close(l->epoll_fd);
	free(l);
}

uint64_t gt_loop_now_ns(const struct gt_loop *l)
{
	return l->now_ns;
}

uint64_t gt_loop_clock_ns(struct gt_loop *l)
{
	return gt_mono_ns(l->clock);
}

const struct gt_clock *gt_loop_clock(const struct gt_loop *l)
{
	return l->clock;
}

void gt_loop_stop(struct gt_loop *l)
{
	l->stopping = true;
}

int gt_loop_run(struct gt_loop *l, struct gt_err *err)
{
	int r = 0;

	while (r == 0 && !l->stopping)
		r = gt_loop_step(l, -1, err);
	l->stopping = false;
	return r;
}

/* ---- watches ---- */

static uint32_t to_epoll(unsigned events)
{
	return (events & GT_EV_READ ? EPOLLIN : 0) | (events & GT_EV_WRITE ? EPOLLOUT : 0) |
	       (events & GT_EV_HANGUP ? EPOLLRDHUP : 0) | (events & GT_EV_EDGE ? EPOLLET : 0) |
	       (events & GT_EV_EXCLUSIVE ? EPOLLEXCLUSIVE : 0);
}

/* A failed descriptor is told as readable and writable too, so that a callback that only knows
 * these meets the error in its own read or write instead of being called for ever. */
static unsigned from_epoll(uint32_t got, unsigned wanted)
{
	unsigned events = 0;

	if (got & EPOLLIN)
		events |= GT_EV_READ;
	if (got & EPOLLOUT)
		events |= GT_EV_WRITE;
	if (got & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		events |= GT_EV_HANGUP;
	if (got & (EPOLLHUP | EPOLLERR))
		events |= GT_EV_READ | GT_EV_WRITE;
	if (got & EPOLLERR)
		events |= GT_EV_FAILED;
	return events & (wanted | GT_EV_HANGUP | GT_EV_FAILED);
}

static int watch_apply(struct gt_watch *w, unsigned events, struct gt_err *err)
{
	struct epoll_event ev = { .events = to_epoll(events), .data.ptr = w };
	int op = EPOLL_CTL_MOD;

	/* epoll reports errors even to those who asked for nothing: a paused watch leaves it. */
	if (!w->events && !events)
		return 0;
	if (!w->events)
		op = EPOLL_CTL_ADD;
	else if (!events)
		op = EPOLL_CTL_DEL;
	if (epoll_ctl(w->loop->epoll_fd, op, w->fd, &ev) < 0)
		return gt_err_errno(err, errno, "watch descriptor %d", w->fd);
	w->events = events;
	return 0;
}

int gt_loop_watch(struct gt_loop *l, int fd, unsigned events, gt_watch_fn *fn, void *arg,
		  struct gt_watch **ret, struct gt_err *err)
{
	struct gt_watch *w = gt_alloc(sizeof(*w));

	*w = (struct gt_watch){ .loop = l, .fd = fd, .fn = fn, .arg = arg };
	int r = watch_apply(w, events, err);

	if (r < 0) {
		free(w);
		return r;
	}
	DL_APPEND(l->watches, w);
	*ret = w;
	return 0;
}

int gt_watch_set(struct gt_watch *w, unsigned events, struct gt_err *err)
{
	/* An edge-triggered watch is armed again by each set, so that equal events count too. */
	if (w->events == events && !(events & GT_EV_EDGE))
		return 0;
	return watch_apply(w, events, err);
}

int gt_watch_fd(const struct gt_watch *w)
{
	return w->fd;
}

void gt_watch_close(struct gt_watch *w)
{
	if (!w || w->closed)
		return;
	struct gt_loop *l = w->loop;

	if (w->events)
		epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	DL_DELETE(l->watches, w);
	if (!l->dispatching) {
		free(w);
		return;
	}
	w->closed = true;
	DL_APPEND(l->closed, w);
}

/* ---- rounds ---- */

void gt_loop_defer(struct gt_loop *l, gt_timer_fn *fn, void *arg)
{
	if (l->n_deferred == l->cap_deferred) {
		l->cap_deferred = l->cap_deferred ? l->cap_deferred * 2 : 16;
		l->deferred = gt_grow(l->deferred, l->cap_deferred, sizeof(*l->deferred));
	}
	l->deferred[l->n_deferred++] = (struct gt_deferred){ .fn = fn, .arg = arg };
}

/* Runs what was deferred up to now; what these calls defer themselves waits for the next round,
 * so that descriptors get their turn. */
static void run_deferred(struct gt_loop *l)
{
	size_t n = l->n_deferred;

	for (size_t i = 0; i < n; i++) {
		struct gt_deferred d = l->deferred[i]; /* the array may move during the call */

		d.fn(d.arg);
	}
	for (size_t i = n; i < l->n_deferred; i++)
		l->deferred[i - n] = l->deferred[i];
	l->n_deferred -= n;
}

uint64_t gt_loop_due_ns(const struct gt_loop *l)
{
	uint64_t due_ns;

	if (l->n_deferred)
		return 0;
	return gt_timers_next(l, &due_ns) ? due_ns : UINT64_MAX;
}

/* UINT64_MAX = until something happens. */
static uint64_t round_wait_ns(const struct gt_loop *l, int max_wait_ms)
{
	uint64_t limit_ns = max_wait_ms < 0 ? UINT64_MAX : (uint64_t)max_wait_ms * GT_NS_PER_MS;
	uint64_t due_ns = gt_loop_due_ns(l), now_ns = gt_mono_ns(l->clock);

	if (due_ns == UINT64_MAX)
		return limit_ns;
	return GT_MIN(due_ns <= now_ns ? 0 : due_ns - now_ns, limit_ns);
}

#define FINE_NS (2 * GT_NS_PER_MS)

/* A start is waited for in fractions of a millisecond, which epoll_wait does not know. */
static int round_wait(const struct gt_loop *l, struct epoll_event *events, uint64_t wait_ns)
{
	if (l->epoll_fd < 0)
		return 0;
	if (wait_ns > 0 && wait_ns < FINE_NS) {
		const struct timespec ts = { .tv_nsec = (long)wait_ns };
		int n = epoll_pwait2(l->epoll_fd, events, EVENTS_MAX, &ts, NULL);

		if (n >= 0 || errno != ENOSYS)
			return n;
	}
	if (wait_ns == UINT64_MAX)
		return epoll_wait(l->epoll_fd, events, EVENTS_MAX, -1);
	/* Rounded up: waking early would only mean another round. */
	uint64_t wait_ms = (wait_ns + GT_NS_PER_MS - 1) / GT_NS_PER_MS;

	return epoll_wait(l->epoll_fd, events, EVENTS_MAX, (int)GT_MIN(wait_ms, (uint64_t)INT_MAX));
}

int gt_loop_step(struct gt_loop *l, int max_wait_ms, struct gt_err *err)
{
	struct epoll_event events[EVENTS_MAX];
	int n = round_wait(l, events, round_wait_ns(l, max_wait_ms));

	if (n < 0 && errno != EINTR)
		return gt_err_errno(err, errno, "epoll_wait");
	l->now_ns = gt_mono_ns(l->clock);
	l->dispatching = true;
	for (int i = 0; i < n; i++) {
		struct gt_watch *w = events[i].data.ptr;
		/* The watch may have been closed, or asked for less, since the wait. */
		unsigned got = w->closed || !w->events ? 0
						       : from_epoll(events[i].events, w->events);

		if (got)
			w->fn(w, got, w->arg);
	}
	gt_timers_run(l);
	run_deferred(l);
	l->dispatching = false;
	free_closed(l);
	return 0;
}
