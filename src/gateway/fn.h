/* fn.h - policy of one function: who waits (queue.h), which replica has a free slot (choice.c),
 * which is left alone for a while (health.c), who is refused and when to come again (estimate.c).
 * Pure: no I/O and no clock; the time comes in as an argument.
 *
 * One queue for all replicas with late binding: nothing is assigned ahead, a freed slot takes the
 * waiter whose turn it is. */
#ifndef GANTRY_GATEWAY_FN_H
#define GANTRY_GATEWAY_FN_H

#include "prefix.h"
#include "queue.h"

struct gt_up;
struct gt_fn;

/* Open connections without a call, last used first: up.h. */
struct gt_up_pool {
	struct gt_up *first;
	unsigned n;
};

/* A replica as the gateway sees it. What a choice looks at comes first. */
struct gt_target {
	struct gt_target *prev, *next;
	uint32_t in_flight; /* slots taken */
	uint32_t quota;     /* slots that this gateway may take, when fn->yields: lend.c */
	uint32_t elsewhere; /* slots that calls of other gateways have: held.h */
	bool draining;
	bool gone;                 /* left the route; freed when nothing is in flight */
	bool seen;                 /* in the route being applied */
	bool told_suspect;         /* by the route */
	uint64_t used_ns;          /* last call */
	uint64_t rest_until_ns;    /* it failed: gets no call before that */
	uint64_t suspect_until_ns; /* nor before that, while another one serves */
	uint64_t hash;             /* of id: for affinity and prompts */
	struct gt_fn *fn;
	char id[GT_REPLICA_ID_SIZE];
	char node[GT_NAME_MAX + 1]; /* where it runs; "" = here */
	uint32_t revision;
	unsigned fails; /* in a row: not reached, or dropped a call */
	struct gt_up_pool idle;
};

/* A replica that drops a connection mid-call is most likely ending; the route says so within a few
 * milliseconds. Calls that would fail in between wait instead. The second time in a row it rests
 * longer; the third time it is a suspect for 5 s, 10 s ... 60 s, unless it is the last. */
#define GT_FN_REST_MS    20
#define GT_FN_REST2_MS   200
#define GT_FN_SUSPECT_MS 5000

enum gt_admit {
	GT_ADMIT,
	GT_ADMIT_OWN,   /* full, and the caller has its share of it */
	GT_ADMIT_FULL,  /* full of calls of others */
	GT_ADMIT_BYTES, /* the calls that wait hold too much memory */
	GT_ADMIT_FAILING,
};

struct gt_fn {
	struct gt_route route;
	bool gone, seen;
	bool yields; /* to a gateway that takes the place of this one */
	struct gt_target *targets;
	struct gt_prefixes *prefixes; /* NULL while no call had a prompt */
	uint32_t n_ready, n_waiting, in_flight;
	uint32_t n_free;           /* slots */
	uint32_t told_waiting;     /* to the gateway after this one */
	uint32_t wanted_elsewhere; /* slots that the gateway before this one waits for */
	uint32_t n_retrying;       /* calls that are tried again and have no answer yet */
	size_t held, held_max;     /* bytes of those that wait; 0 = no bound */
	uint32_t peak; /* most calls in flight since demand was last told: short ones count, too */
	uint32_t told_need;        /* replicas that the demand told last calls for */
	struct gt_waiter *waiters; /* oldest first */
	struct gt_queue queue;     /* whose turn it is */
	uint64_t asked_ns;         /* since then it needs more replicas than are ready; 0 = not */
	uint64_t fail_until_ns;    /* starts fail: refuse until then while none is ready */
	uint64_t cold_since_ns;    /* no replica is ready since; 0 = one is */
	uint64_t cold_total_ns;    /* before that */
	double service_ms;         /* moving mean of how long a slot is held; 0 = never measured */
	unsigned n_service;
	uint64_t first_ns; /* the first slot was taken: all that is known until a call has ended */
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
/* Takes what `route` holds and leaves it empty. partial: replicas that it lacks stay. */
unsigned gt_fn_apply(struct gt_fn *fn, struct gt_route *route, bool partial, uint64_t now_ns);
/* The routes are whole from now on: replicas that the last one lacked are gone. */
void gt_fn_whole(struct gt_fn *fn, uint64_t now_ns);
/* The function left the routes: no replica takes a call any more. */
void gt_fn_retire(struct gt_fn *fn, uint64_t now_ns);
bool gt_fn_unused(const struct gt_fn *fn); /* gone and empty: may be freed */

/* ---- queue and slots: fn.c ---- */
enum gt_admit gt_fn_admit(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns);
bool gt_fn_failing(const struct gt_fn *fn, uint64_t now_ns);
void gt_fn_join(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns);
void gt_fn_able(struct gt_fn *fn, struct gt_waiter *w); /* its body has come far enough */
/* Back to the front, still waiting since it first came. */
void gt_fn_rejoin(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns);
/* Fine when not queued. */
void gt_fn_leave(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns);
/* The next waiter and its slot; both are taken. false = nobody can run now. */
bool gt_fn_next(struct gt_fn *fn, uint64_t now_ns, struct gt_waiter **w, struct gt_target **t);
/* Gives the slot back; frees the target when it is gone. held_ns 0 = the call did not run. Returns
 * GT_FN_FREED and GT_FN_DRAINED as they apply. */
unsigned gt_fn_release(struct gt_fn *fn, struct gt_target *t, uint64_t held_ns, uint64_t now_ns);
uint64_t gt_fn_cold_ns(const struct gt_fn *fn, uint64_t now_ns); /* total time without a replica */
/* Somebody waits for a slot that is not there, and the demand told last calls for fewer replicas
 * than this: control should hear of it at once. */
bool gt_fn_kicks(const struct gt_fn *fn);
uint32_t gt_fn_need(const struct gt_fn *fn); /* replicas that all calls here call for */
static inline uint32_t gt_fn_slots(const struct gt_fn *fn)
{
	return GT_MAX(fn->route.concurrency, 1u); /* of a replica */
}
static inline bool gt_target_serves(const struct gt_target *t)
{
	return !t->draining && !t->gone;
}

/* ---- lend.c: another gateway takes the place of this one, or this one another's ---- */
uint32_t gt_target_room(const struct gt_target *t); /* slots to take here */
/* The old one. From now on it has but the slots of its calls, and what it is lent. */
void gt_fn_yield(struct gt_fn *fn);
/* How many it needs no more, or has no use for as the replica left the route: not its any longer.
 */
uint32_t gt_target_give(struct gt_target *t);
void gt_fn_forget_gone(struct gt_fn *fn); /* frees replicas that had slots to give, and have none */
void gt_target_lent(struct gt_target *t);
/* The new one. The old one's calls have so many slots. */
void gt_target_held(struct gt_target *t, uint32_t n);
bool gt_target_drained(const struct gt_target *t); /* it drains, and no call has a slot of it */
/* Whose slot the next one who waits at the old one should have; NULL = none is free or wanted. */
struct gt_target *gt_fn_lend(struct gt_fn *fn, uint64_t now_ns);
void gt_fn_own_all(struct gt_fn *fn); /* the other one is gone */

/* ---- choice.c ---- */
/* The replica for w, or NULL when none with a free slot may have it. */
struct gt_target *gt_fn_choose(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns);
/* w gets t: what w holds will be in t's cache. */
void gt_fn_chosen(struct gt_fn *fn, const struct gt_waiter *w, const struct gt_target *t);
uint64_t gt_affinity_hash(const char *text, size_t len); /* never 0 */

/* ---- health.c ---- */
void gt_target_failed(struct gt_target *t, uint64_t now_ns); /* pump again at gt_fn_rest_end_ns */
void gt_target_answered(struct gt_target *t);
static inline bool gt_target_rests(const struct gt_target *t, uint64_t now_ns)
{
	return now_ns < t->rest_until_ns; /* whoever else serves */
}
static inline bool gt_target_suspect(const struct gt_target *t, uint64_t now_ns)
{
	return t->told_suspect || now_ns < t->suspect_until_ns;
}
/* When the next replica may have calls again; 0 = none rests. */
uint64_t gt_fn_rest_end_ns(const struct gt_fn *fn, uint64_t now_ns);
/* Of the calls here, a fifth may be in a second try at once, and always GT_FN_RETRIES. */
#define GT_FN_RETRIES 10
bool gt_fn_retry_take(struct gt_fn *fn);
void gt_fn_retry_give(struct gt_fn *fn);

/* ---- estimate.c ---- */
/* When a refused caller may come again: after the time that the call would have waited. Whole
 * seconds, 1..300. */
uint32_t gt_fn_retry_after_s(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns);

#endif
