/* store/wait.h - waits of threads, by a clock that nobody sets. */
#ifndef GANTRY_SRC_STORE_WAIT_H
#define GANTRY_SRC_STORE_WAIT_H

#include <pthread.h>

#include <gantry/base/clock.h>

static inline void gt_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t how;

	pthread_condattr_init(&how);
	pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
	pthread_cond_init(c, &how);
	pthread_condattr_destroy(&how);
}

/* For pthread_cond_timedwait of such a condition. */
static inline struct timespec gt_in_ms(uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000 * GT_NS_PER_MS);
	if (t.tv_nsec >= (long)GT_NS_PER_S) {
		t.tv_sec++;
		t.tv_nsec -= (long)GT_NS_PER_S;
	}
	return t;
}

#endif
