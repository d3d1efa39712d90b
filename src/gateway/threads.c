/* threads.c - start and end of the threads beside the first, which is the role's own. */
#include "threads.h"
#include "conn.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>

#define STACK_BYTES    (512 * GT_KIB) /* of address space; what is not used costs nothing */
#define HANDSHAKES_MIN 64

static void read_box(void *gw)
{
	gt_shard_read(gw);
}

static int add(struct gt_gateway *first, struct gt_err *err)
{
	struct gt_shards *s = first->shards;
	struct gt_loop *loop = NULL;
	struct gt_gateway *gw = NULL;
	int r = gt_loop_new(&loop, err);

	if (r == 0)
		r = gt_gw_new(loop, first->port, &first->cfg, &gw, err);
	if (r < 0) {
		gt_loop_free(loop);
		return r;
	}
	s->at[s->n].loop = loop;
	gt_shards_add(s, gw);
	return 0;
}

/* That this process may use. */
static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

int gt_threads_new(struct gt_gateway *first, unsigned n, struct gt_err *err)
{
	struct gt_shards *s;
	int r = 0;

	n = n ? n : GT_MIN(processors(), (unsigned)GT_GATEWAY_THREADS_AUTO);
	if (n <= 1)
		return 0;
	if (n > GT_SHARDS_MAX)
		return gt_err_set(err, EINVAL, "bad_parameter", "%u threads: at most %d", n,
				  GT_SHARDS_MAX);
	s = gt_shards_new(first);
	while (r == 0 && s->n < n)
		r = add(first, err);
	for (unsigned i = 0; i < s->n && r == 0; i++) {
		struct gt_gateway *gw = s->at[i].gw;

		gw->handshakes_max = GT_MAX(GT_GW_HANDSHAKES / n, HANDSHAKES_MIN);
		r = gt_wake_new(gw->loop, read_box, gw, &s->at[i].wake, err);
	}
	return r;
}

static void stop(struct gt_gateway *gw)
{
	gt_loop_stop(gw->loop);
}

static void *run(void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_err err = { 0 };
	char name[16];

	snprintf(name, sizeof(name), "gateway/%u", gw->shard);
	pthread_setname_np(pthread_self(), name);
	if (gt_loop_run(gw->loop, &err) < 0) {
		gt_error("gateway: thread %u: %s", gw->shard, err.text);
		gt_shard_tell(gw, 0, stop);
	}
	return NULL;
}

/* Signals are shard 0's. */
int gt_threads_start(struct gt_gateway *first, struct gt_err *err)
{
	struct gt_shards *s = first->shards;
	pthread_attr_t attr;
	sigset_t all, was;
	int r = 0;

	if (!s)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	for (unsigned i = 1; i < s->n && r == 0; i++) {
		r = pthread_create(&s->at[i].thread, &attr, run, s->at[i].gw);
		s->at[i].running = r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	return r ? gt_err_errno(err, r, "a thread of the gateway") : 0;
}

void gt_threads_stop(struct gt_gateway *first)
{
	struct gt_shards *s = first ? first->shards : NULL;

	for (unsigned i = 1; s && i < s->n; i++) {
		if (!s->at[i].running)
			continue;
		gt_shard_tell(first, i, stop);
		pthread_join(s->at[i].thread, NULL);
		s->at[i].running = false;
	}
}
