/* fn.c - route, admission, slots of one function. */
#include "fn.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SERVICES 32 /* the mean of service times looks back about so many */

void gt_fn_init(struct gt_fn *fn, const char *name, uint64_t now_ns)
{
	*fn = (struct gt_fn){ .cold_since_ns = now_ns };
	gt_strcopy(fn->route.function, sizeof(fn->route.function), name);
	gt_strcopy(fn->stats.function, sizeof(fn->stats.function), name);
}

static void target_free(struct gt_fn *fn, struct gt_target *t)
{
	if (fn->retire)
		fn->retire(t);
	DL_DELETE(fn->targets, t);
	free(t);
}

/* What it still has of slots another gateway must hear of first. */
static bool target_unused(const struct gt_target *t)
{
	return t->gone && !t->in_flight && !(t->fn->yields && t->quota);
}

void gt_fn_forget_gone(struct gt_fn *fn)
{
	struct gt_target *t, *next;

	DL_FOREACH_SAFE (fn->targets, t, next)
		if (target_unused(t))
			target_free(fn, t);
}

void gt_fn_fini(struct gt_fn *fn)
{
	struct gt_target *t, *next;

	DL_FOREACH_SAFE (fn->targets, t, next)
		target_free(fn, t);
	gt_queue_fini(&fn->queue);
	gt_prefixes_free(fn->prefixes);
	gt_route_fini(&fn->route);
}

/* ---- need ---- */

uint32_t gt_fn_need(const struct gt_fn *fn)
{
	uint64_t load = (uint64_t)fn->in_flight + fn->n_waiting;
	uint32_t target = fn->route.target ? fn->route.target : gt_fn_slots(fn);
	uint64_t need = (load + target - 1) / target;

	return (uint32_t)GT_MIN(need, fn->route.max_replicas ? fn->route.max_replicas : UINT32_MAX);
}

bool gt_fn_kicks(const struct gt_fn *fn)
{
	return fn->n_waiting > fn->n_free && gt_fn_need(fn) > fn->told_need;
}

/* The load or the replicas changed. */
static void note_need(struct gt_fn *fn, uint64_t now_ns)
{
	if (gt_fn_need(fn) <= fn->n_ready)
		fn->asked_ns = 0;
	else if (!fn->asked_ns)
		fn->asked_ns = now_ns;
}

/* ---- route ---- */

static struct gt_target *target_find(struct gt_fn *fn, const char *id)
{
	struct gt_target *t;

	DL_FOREACH (fn->targets, t)
		if (!strcmp(t->id, id))
			return t;
	return NULL;
}

static void count_ready(struct gt_fn *fn, uint64_t now_ns)
{
	struct gt_target *t;

	fn->n_ready = fn->n_free = 0;
	DL_FOREACH (fn->targets, t) {
		fn->n_ready += gt_target_serves(t);
		fn->n_free += gt_target_room(t);
	}
	if (fn->n_ready && fn->cold_since_ns) {
		fn->cold_total_ns += now_ns - fn->cold_since_ns;
		fn->cold_since_ns = 0;
	} else if (!fn->n_ready && !fn->cold_since_ns) {
		fn->cold_since_ns = now_ns;
	}
	note_need(fn, now_ns);
}

/* Targets not seen in the route are gone: those with calls in flight live until these end. */
static void drop_unseen(struct gt_fn *fn)
{
	struct gt_target *t, *next;

	DL_FOREACH_SAFE (fn->targets, t, next) {
		if (t->seen || t->gone)
			continue;
		t->gone = true;
		if (fn->retire)
			fn->retire(t);
		if (target_unused(t))
			target_free(fn, t);
	}
}

unsigned gt_fn_apply(struct gt_fn *fn, struct gt_route *route, bool partial, uint64_t now_ns)
{
	struct gt_target *t;
	unsigned found = GT_FN_FREED;

	DL_FOREACH (fn->targets, t)
		t->seen = false;
	for (size_t i = 0; i < route->n_replicas; i++) {
		const struct gt_route_replica *r = &route->replicas[i];

		t = target_find(fn, r->id);
		if (!t) {
			t = gt_alloc(sizeof(*t));
			*t = (struct gt_target){ .fn = fn, .revision = route->revision };
			gt_strcopy(t->id, sizeof(t->id), r->id);
			gt_strcopy(t->node, sizeof(t->node), r->node);
			t->hash = gt_affinity_hash(r->id, strlen(r->id));
			DL_APPEND(fn->targets, t);
		}
		t->seen = true;
		t->gone = false; /* control began anew and had not heard of it for a moment */
		t->draining = r->draining;
		t->told_suspect = r->suspect;
		if (t->draining && fn->retire)
			fn->retire(t); /* a server that ends waits for its open connections */
		if (gt_target_drained(t))
			found |= GT_FN_DRAINED;
	}
	if (!partial)
		drop_unseen(fn);
	fn->gone = false;
	/* Only a new failure counts from now on; the same one told again keeps its end. */
	bool failed = route->fail_seq && route->fail_seq != fn->route.fail_seq;

	gt_route_fini(&fn->route);
	fn->route = *route;
	*route = (struct gt_route){ 0 };
	count_ready(fn, now_ns);
	if (failed)
		fn->fail_until_ns = now_ns + fn->route.retry_ms * GT_NS_PER_MS;
	if (failed && !fn->n_ready)
		found |= GT_FN_FAILED;
	return found;
}

void gt_fn_whole(struct gt_fn *fn, uint64_t now_ns)
{
	drop_unseen(fn);
	count_ready(fn, now_ns);
}

void gt_fn_retire(struct gt_fn *fn, uint64_t now_ns)
{
	struct gt_target *t;

	DL_FOREACH (fn->targets, t)
		t->seen = false;
	drop_unseen(fn);
	fn->gone = true;
	count_ready(fn, now_ns);
}

bool gt_fn_unused(const struct gt_fn *fn)
{
	return fn->gone && !fn->n_waiting && !fn->in_flight;
}

/* ---- who may wait ---- */

bool gt_fn_failing(const struct gt_fn *fn, uint64_t now_ns)
{
	return fn->route.fail_seq && !fn->n_ready && now_ns < fn->fail_until_ns;
}

/* One caller cannot keep others out: of each, one call may always wait. */
enum gt_admit gt_fn_admit(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns)
{
	uint32_t own = gt_queue_of(&fn->queue, w->caller);

	if (gt_fn_failing(fn, now_ns))
		return GT_ADMIT_FAILING;
	if (fn->held_max && fn->held && fn->held + w->bytes > fn->held_max)
		return GT_ADMIT_BYTES;
	/* A free slot serves one more even where nobody may wait. */
	if (!own || fn->n_waiting < fn->route.queue + (uint64_t)fn->n_free)
		return GT_ADMIT;
	return own >= fn->route.queue / gt_queue_callers(&fn->queue) ? GT_ADMIT_OWN : GT_ADMIT_FULL;
}

static void queued(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns)
{
	w->queued = true;
	fn->n_waiting++;
	fn->held += w->bytes;
	fn->dirty = true;
	note_need(fn, now_ns);
}

void gt_fn_join(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns)
{
	w->since_ns = now_ns;
	w->cold_at_ns = gt_fn_cold_ns(fn, now_ns);
	DL_APPEND(fn->waiters, w);
	gt_queue_add(&fn->queue, w);
	queued(fn, w, now_ns);
}

void gt_fn_able(struct gt_fn *fn, struct gt_waiter *w)
{
	gt_queue_able(&fn->queue, w);
}

void gt_fn_rejoin(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns)
{
	DL_PREPEND(fn->waiters, w);
	gt_queue_put_back(&fn->queue, w);
	queued(fn, w, now_ns);
}

static void unqueued(struct gt_fn *fn, struct gt_waiter *w)
{
	w->queued = false;
	DL_DELETE(fn->waiters, w);
	fn->n_waiting--;
	fn->held -= w->bytes;
	fn->dirty = true;
}

void gt_fn_leave(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns)
{
	if (!w->queued)
		return;
	gt_queue_remove(&fn->queue, w);
	unqueued(fn, w);
	note_need(fn, now_ns);
}

/* ---- slots ---- */

bool gt_fn_next(struct gt_fn *fn, uint64_t now_ns, struct gt_waiter **w, struct gt_target **t)
{
	struct gt_waiter *first = fn->n_free ? gt_queue_first(&fn->queue) : NULL;
	struct gt_target *best = first ? gt_fn_choose(fn, first, now_ns) : NULL;

	if (!best)
		return false;
	gt_queue_serve(&fn->queue, first);
	unqueued(fn, first);
	gt_fn_chosen(fn, first, best);
	best->in_flight++;
	best->used_ns = now_ns;
	fn->first_ns = fn->first_ns ? fn->first_ns : now_ns;
	fn->n_free--;
	fn->in_flight++;
	fn->peak = GT_MAX(fn->peak, fn->in_flight);
	*w = first;
	*t = best;
	return true;
}

static void measure(struct gt_fn *fn, double held_ms)
{
	fn->n_service += fn->n_service < SERVICES;
	fn->service_ms += (held_ms - fn->service_ms) / fn->n_service;
}

unsigned gt_fn_release(struct gt_fn *fn, struct gt_target *t, uint64_t held_ns, uint64_t now_ns)
{
	unsigned found = gt_target_serves(t) ? GT_FN_FREED : 0;
	uint32_t before = gt_target_room(t);

	t->in_flight--;
	fn->in_flight--;
	fn->n_free += gt_target_room(t) - before;
	fn->dirty = true;
	fn->stats.busy_us += held_ns / GT_NS_PER_US;
	if (held_ns)
		measure(fn, (double)held_ns / 1e6);
	if (target_unused(t))
		target_free(fn, t);
	else if (gt_target_drained(t))
		found |= GT_FN_DRAINED;
	note_need(fn, now_ns);
	return found;
}

uint64_t gt_fn_cold_ns(const struct gt_fn *fn, uint64_t now_ns)
{
	return fn->cold_total_ns + (fn->cold_since_ns ? now_ns - fn->cold_since_ns : 0);
}
