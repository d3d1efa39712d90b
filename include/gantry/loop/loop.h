/* loop/loop.h - the event loop of a role: descriptors, timers, signals, deferred calls.
 *
 * One loop belongs to one thread, and every callback runs on it; only gt_loop_wake may be called
 * from another thread. A callback must not block. It may close its own or any other watch or
 * timer: the loop never calls a callback whose watch was closed earlier in the same round. */
#ifndef GANTRY_LOOP_LOOP_H
#define GANTRY_LOOP_LOOP_H

#include <signal.h>

#include <gantry/base/clock.h>
#include <gantry/base/err.h>

struct gt_loop;
struct gt_watch;

/* What a descriptor is watched for, and what a callback is told. Level-triggered unless EDGE. */
enum {
	GT_EV_READ = 1 << 0,
	GT_EV_WRITE = 1 << 1,
	GT_EV_HANGUP = 1 << 2, /* peer closed its sending side or the descriptor failed */
	GT_EV_EDGE = 1 << 3,   /* in the request only */
	GT_EV_FAILED = 1 << 4, /* told only, with HANGUP: by an error, a reset mostly */
	/* In the request only: of the loops that watch it so, one of those that wait is woken. Such
	 * a watch may be paused and resumed, and changed in no other way. */
	GT_EV_EXCLUSIVE = 1 << 5,
};

typedef void gt_watch_fn(struct gt_watch *w, unsigned events, void *arg);
typedef void gt_timer_fn(void *arg);
typedef void gt_signal_fn(int signo, void *arg);

GT_MUST_USE int gt_loop_new(struct gt_loop **ret, struct gt_err *err);
/* A loop of timers and deferred calls alone, whose time is `clock`'s (borrowed): it knows no
 * descriptors and its steps never wait. For tests and simulations. */
struct gt_loop *gt_loop_new_virtual(const struct gt_clock *clock);
/* NULL is fine; watches left in it are freed, their descriptors are not closed. */
void gt_loop_free(struct gt_loop *l);
GT_MUST_USE int gt_loop_run(struct gt_loop *l, struct gt_err *err); /* until gt_loop_stop */
void gt_loop_stop(struct gt_loop *l);
/* One round: waits at most max_wait_ms (-1 = as long as needed), dispatches, returns. For tests. */
GT_MUST_USE int gt_loop_step(struct gt_loop *l, int max_wait_ms, struct gt_err *err);
uint64_t gt_loop_now_ns(const struct gt_loop *l); /* monotonic time read once a round */
uint64_t gt_loop_clock_ns(struct gt_loop *l);     /* the same clock, read now */
const struct gt_clock *gt_loop_clock(const struct gt_loop *l);
/* When the next step has something to do on its own: 0 = now, UINT64_MAX = never. */
uint64_t gt_loop_due_ns(const struct gt_loop *l);

/* Watches fd until gt_watch_close. The fd stays the caller's; close the watch before the fd. */
GT_MUST_USE int gt_loop_watch(struct gt_loop *l, int fd, unsigned events, gt_watch_fn *fn,
			      void *arg, struct gt_watch **ret, struct gt_err *err);
GT_MUST_USE int gt_watch_set(struct gt_watch *w, unsigned events, struct gt_err *err);
int gt_watch_fd(const struct gt_watch *w);
void gt_watch_close(struct gt_watch *w); /* NULL is fine */

/* A timer lives inside its owner; zeroed memory is an unset timer. It fires once: set it again to
 * repeat. */
struct gt_timer {
	uint64_t due_ns;
	size_t slot; /* place in the heap + 1; 0 = not set */
	gt_timer_fn *fn;
	void *arg;
};
void gt_timer_set(struct gt_loop *l, struct gt_timer *t, uint64_t delay_ms, gt_timer_fn *fn,
		  void *arg);
void gt_timer_set_at(struct gt_loop *l, struct gt_timer *t, uint64_t due_ns, gt_timer_fn *fn,
		     void *arg);
void gt_timer_clear(struct gt_loop *l, struct gt_timer *t); /* fine when not set */
static inline bool gt_timer_is_set(const struct gt_timer *t)
{
	return t->slot != 0;
}

/* Runs fn(arg) once at the end of this round, after all ready descriptors. */
void gt_loop_defer(struct gt_loop *l, gt_timer_fn *fn, void *arg);

/* Blocks the signals in `mask` for the process and delivers them to fn on the loop. Once a loop. */
GT_MUST_USE int gt_loop_signals(struct gt_loop *l, const sigset_t *mask, gt_signal_fn *fn,
				void *arg, struct gt_err *err);

/* A wake-up that other threads may ring; rings before the callback ran are merged into one. */
struct gt_wake;
GT_MUST_USE int gt_wake_new(struct gt_loop *l, gt_timer_fn *fn, void *arg, struct gt_wake **ret,
			    struct gt_err *err);
void gt_wake_ring(struct gt_wake *w); /* any thread, async-signal-safe */
void gt_wake_free(struct gt_wake *w); /* NULL is fine */

#endif
