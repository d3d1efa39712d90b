/* loop_impl.h - what the files of this room share. All of it belongs to the loop's thread. */
#ifndef GANTRY_LOOP_IMPL_H
#define GANTRY_LOOP_IMPL_H

#include <gantry/loop/loop.h>

struct gt_watch {
	struct gt_loop *loop;
	int fd;
	unsigned events; /* as asked for; 0 = paused, and then epoll does not know the descriptor */
	bool closed;     /* waits in loop->closed for the end of the round */
	gt_watch_fn *fn;
	void *arg;
	struct gt_watch *prev, *next;
};

struct gt_timer_heap { /* binary heap by due_ns */
	struct gt_timer **timers;
	size_t n, cap;
};

struct gt_deferred {
	gt_timer_fn *fn;
	void *arg;
};

struct gt_signals { /* signal.c */
	int fd;
	gt_signal_fn *fn;
	void *arg;
	struct gt_watch *watch;
};

struct gt_loop {
	const struct gt_clock *clock;
	int epoll_fd; /* -EBADF: a virtual loop */
	bool stopping;
	bool dispatching; /* events of this round may still point to a closed watch */
	uint64_t now_ns;
	struct gt_watch *watches, *closed;
	struct gt_timer_heap timers;
	struct gt_deferred *deferred;
	size_t n_deferred, cap_deferred;
	struct gt_signals signals;
};

/* timer.c */
bool gt_timers_next(const struct gt_loop *l, uint64_t *due_ns); /* false: no timer is set */
void gt_timers_run(struct gt_loop *l); /* those due at l->now_ns; each fires once at most */
void gt_timers_fini(struct gt_loop *l);

/* signal.c */
void gt_signals_fini(struct gt_loop *l);

#endif
