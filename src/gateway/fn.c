/* fn.c - queue, slots and route of one function. */
#include "fn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RETRY_MAX_S 300

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

void gt_fn_fini(struct gt_fn *fn)
{
	struct gt_target *t, *next;

	DL_FOREACH_SAFE (fn->targets, t, next)
		target_free(fn, t);
	gt_route_fini(&fn->route);
}

/* ---- route ---- */

static bool takes_calls(const struct gt_target *t)
{
	return !t->draining && !t->gone;
}

static struct gt_target *target_find(struct gt_fn *fn, const char *id)
{
	struct gt_target *t;

	DL_FOREACH (fn->targets, t)
		if (!t->gone && !strcmp(t->id, id))
			return t;
	return NULL;
}

static void count_ready(struct gt_fn *fn, uint64_t now_ns)
{
	struct gt_target *t;

	fn->n_ready = 0;
	DL_FOREACH (fn->targets, t)
		fn->n_ready += takes_calls(t);
	if (fn->n_ready && fn->cold_since_ns) {
		fn->cold_total_ns += now_ns - fn->cold_since_ns;
		fn->cold_since_ns = 0;
	} else if (!fn->n_ready && !fn->cold_since_ns) {
		fn->cold_since_ns = now_ns;
	}
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
		if (!t->in_flight)
			target_free(fn, t);
	}
}

unsigned gt_fn_apply(struct gt_fn *fn, struct gt_route *route, uint64_t now_ns)
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
			DL_APPEND(fn->targets, t);
		}
		t->seen = true;
		t->draining = r->draining;
		if (t->draining && fn->retire)
			fn->retire(t); /* a server that ends waits for its open connections */
		if (t->draining && !t->in_flight)
			found |= GT_FN_DRAINED;
	}
	drop_unseen(fn);
	fn->gone = false;
	count_ready(fn, now_ns);
	/* Only a new failure counts from now on; the same one told again keeps its end. */
	bool failed = route->fail_seq && route->fail_seq != fn->route.fail_seq;

	gt_route_fini(&fn->route);
	fn->route = *route;
	*route = (struct gt_route){ 0 };
	if (failed)
		fn->fail_until_ns = now_ns + fn->route.retry_ms * GT_NS_PER_MS;
	if (failed && !fn->n_ready)
		found |= GT_FN_FAILED;
	return found;
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

/* ---- queue and slots ---- */

static uint32_t room(const struct gt_fn *fn, const struct gt_target *t)
{
	uint32_t slots = GT_MAX(fn->route.concurrency, 1u);

	return takes_calls(t) && t->in_flight < slots ? slots - t->in_flight : 0;
}

uint32_t gt_fn_free_slots(const struct gt_fn *fn)
{
	const struct gt_target *t;
	uint32_t n = 0;

	DL_FOREACH (fn->targets, t)
		n += room(fn, t);
	return n;
}

bool gt_fn_failing(const struct gt_fn *fn, uint64_t now_ns)
{
	return fn->route.fail_seq && !fn->n_ready && now_ns < fn->fail_until_ns;
}

enum gt_admit gt_fn_admit(const struct gt_fn *fn, uint64_t now_ns)
{
	if (gt_fn_failing(fn, now_ns))
		return GT_ADMIT_FAILING;
	if (fn->n_waiting < fn->route.queue)
		return GT_ADMIT;
	/* A free slot serves one more even where nobody may wait. */
	return fn->n_waiting < fn->route.queue + (uint64_t)gt_fn_free_slots(fn) ? GT_ADMIT
										: GT_ADMIT_FULL;
}

static void queued(struct gt_fn *fn, struct gt_waiter *w)
{
	w->queued = true;
	fn->n_waiting++;
	fn->dirty = true;
}

void gt_fn_join(struct gt_fn *fn, struct gt_waiter *w, uint64_t now_ns)
{
	w->since_ns = now_ns;
	w->cold_at_ns = gt_fn_cold_ns(fn, now_ns);
	DL_APPEND(fn->waiters, w);
	queued(fn, w);
}

void gt_fn_rejoin(struct gt_fn *fn, struct gt_waiter *w)
{
	DL_PREPEND(fn->waiters, w);
	queued(fn, w);
}

void gt_fn_leave(struct gt_fn *fn, struct gt_waiter *w)
{
	if (!w->queued)
		return;
	w->queued = false;
	DL_DELETE(fn->waiters, w);
	fn->n_waiting--;
	fn->dirty = true;
}

void gt_fn_rest(struct gt_target *t, uint64_t now_ns)
{
	t->rest_until_ns = now_ns + GT_FN_REST_MS * GT_NS_PER_MS;
}

static struct gt_target *choose(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns)
{
	struct gt_target *t, *best = NULL;
	bool best_avoided = false;

	DL_FOREACH (fn->targets, t) {
		bool avoided = !strcmp(t->id, w->avoid);

		if (!room(fn, t) || now_ns < t->rest_until_ns)
			continue;
		if (!best || (best_avoided && !avoided) ||
		    (best_avoided == avoided &&
		     (t->in_flight < best->in_flight ||
		      (t->in_flight == best->in_flight && t->used_ns > best->used_ns)))) {
			best = t;
			best_avoided = avoided;
		}
	}
	return best;
}

bool gt_fn_next(struct gt_fn *fn, uint64_t now_ns, struct gt_waiter **w, struct gt_target **t)
{
	struct gt_waiter *first;

	DL_FOREACH (fn->waiters, first)
		if (first->able)
			break;
	struct gt_target *best = first ? choose(fn, first, now_ns) : NULL;

	if (!best)
		return false;
	gt_fn_leave(fn, first);
	best->in_flight++;
	best->used_ns = now_ns;
	fn->in_flight++;
	fn->peak = GT_MAX(fn->peak, fn->in_flight);
	*w = first;
	*t = best;
	return true;
}

unsigned gt_fn_release(struct gt_fn *fn, struct gt_target *t, uint64_t held_ns)
{
	unsigned found = takes_calls(t) ? GT_FN_FREED : 0;
	double held_ms = (double)held_ns / 1e6;

	t->in_flight--;
	fn->in_flight--;
	fn->dirty = true;
	fn->stats.busy_us += held_ns / GT_NS_PER_US;
	if (held_ns)
		fn->service_ms = fn->service_ms > 0 ? fn->service_ms * 0.9 + held_ms * 0.1
						    : held_ms;
	if (t->gone && !t->in_flight)
		target_free(fn, t);
	else if (t->draining && !t->in_flight)
		found |= GT_FN_DRAINED;
	return found;
}

/* ---- times ---- */

uint64_t gt_fn_cold_ns(const struct gt_fn *fn, uint64_t now_ns)
{
	return fn->cold_total_ns + (fn->cold_since_ns ? now_ns - fn->cold_since_ns : 0);
}

uint32_t gt_fn_retry_after_s(const struct gt_fn *fn, uint64_t now_ns)
{
	double slots = (double)GT_MAX(fn->n_ready, 1u) * GT_MAX(fn->route.concurrency, 1u);
	double ms = (fn->n_waiting + 1.0) * fn->service_ms / slots;

	if (!fn->n_ready)
		ms += (double)fn->route.start_ms;
	if (gt_fn_failing(fn, now_ns))
		ms = (double)(fn->fail_until_ns - now_ns) / 1e6;
	double s = ceil(ms / 1000);

	return s < 1 ? 1 : s > RETRY_MAX_S ? RETRY_MAX_S : (uint32_t)s;
}
