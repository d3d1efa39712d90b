/* fn.h - policy of one function: who waits, which replica has a free slot, who is refused. Pure: no
 * I/O and no clock; the time comes in as an argument.
 *
 * One queue for all replicas with late binding: nothing is assigned ahead, a freed slot takes the
 * oldest waiter that is able to run. Of the replicas with a free slot the one with the fewest calls
 * is taken, of equals the one used last: load spreads, and when there is little of it the others
 * stay idle for scale-in to find. */
#ifndef GANTRY_GATEWAY_FN_H
#define GANTRY_GATEWAY_FN_H

#include <gantry/model/msg.h>

struct gt_up;
struct gt_fn;

/* A replica as the gateway sees it. */
struct gt_target {
	struct gt_target *prev, *next;
	struct gt_fn *fn;
	char id[GT_REPLICA_ID_SIZE];
	uint32_t revision;
	uint32_t in_flight; /* slots taken */
	bool draining;
	bool gone; /* left the route; freed when nothing is in flight */
	bool seen; /* in the route being applied */
	uint64_t used_ns;
	uint64_t rest_until_ns; /* it dropped a call: gets none before that */
	struct gt_up *idle;     /* open connections without a call, last used first */
	unsigned n_idle;
};

struct gt_waiter {
	struct gt_waiter *prev, *next;
	bool queued;
	bool able; /* its body has come far enough to hold a slot */
	uint64_t since_ns, cold_at_ns;
	char avoid[GT_REPLICA_ID_SIZE]; /* replica that just failed it: taken only if no other is
					   free */
};

/* A replica that drops a connection mid-call is most likely ending; the route says so within a few
 * milliseconds. Calls that would fail in between wait instead. */
#define GT_FN_REST_MS 20

enum gt_admit { GT_ADMIT, GT_ADMIT_FULL, GT_ADMIT_FAILING };

struct gt_fn {
	struct gt_route route;
	bool gone, seen;
	struct gt_target *targets;
	uint32_t n_ready, n_waiting, in_flight;
	uint32_t peak; /* most calls in flight since demand was last told: short ones count, too */
	struct gt_waiter *waiters; /* oldest first */
	uint64_t fail_until_ns;    /* starts fail: refuse until then while none is ready */
	uint64_t cold_since_ns;    /* no replica is ready since; 0 = one is */
	uint64_t cold_total_ns;    /* before that */
	double service_ms;         /* moving mean of how long a slot is held; 0 = never measured */
	struct gt_demand_function stats;
	bool dirty;                          /* demand changed since it was last told */
	void (*retire)(struct gt_target *t); /* closes t's idle connections; may be NULL */
};

/* What gt_fn_apply found. */
enum {
	GT_FN_FREED = 1 << 0,   /* waiters may have a slot now */
	GT_FN_FAILED = 1 << 1,  /* a start failed and no replica is ready: refuse all waiters */
	GT_FN_DRAINED = 1 << 2, /* a draining replica has nothing in flight */
};

void gt_fn_init(struct gt_fn *fn, const char *name, uint64_t now_ns);
void gt_fn_fini(struct gt_fn *fn); /* nobody waits, nothing is in flight */
/* Takes what `route` holds and leaves it empty. */
unsigned gt_fn_apply(struct gt_fn *fn, struct gt_route *route, uint64_t now_ns);
/* The function left the routes: no replica takes a call any more. */
void gt_fn_retire(struct gt_fn *fn, uint64_t now_ns);
bool gt_fn_unused(const struct gt_fn *fn); /* gone and empty: may be freed */

enum gt_admit gt_fn_admit(const struct gt_fn *fn, uint64_t now_ns);
bool gt_fn_failing(const struct gt_fn *fn, uint64_t now_ns);
void gt_fn_join(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns);
/* Back to the front, still waiting since it first came. */
void gt_fn_rejoin(struct gt_fn *fn, struct gt_waiter *w);
void gt_fn_leave(struct gt_fn *fn, struct gt_waiter *w); /* fine when not queued */
/* The next waiter and its slot; both are taken. false = nobody can run now. */
bool gt_fn_next(struct gt_fn *fn, uint64_t now_ns, struct gt_waiter **w, struct gt_target **t);
/* Gives the slot back; frees the target when it is gone. held_ns 0 = the call did not run. Returns
 * GT_FN_FREED and GT_FN_DRAINED as they apply. */
unsigned gt_fn_release(struct gt_fn *fn, struct gt_target *t, uint64_t held_ns);

void gt_fn_rest(struct gt_target *t, uint64_t now_ns); /* pump again after GT_FN_REST_MS */

uint32_t gt_fn_free_slots(const struct gt_fn *fn);
uint64_t gt_fn_cold_ns(const struct gt_fn *fn, uint64_t now_ns); /* total time without a replica */
/* When a refused caller may come again, in seconds, 1..300. */
uint32_t gt_fn_retry_after_s(const struct gt_fn *fn, uint64_t now_ns);

#endif
