/* The gateway's policy of one function against traces of calls, under a made-up clock: how long
 * calls wait, compared with one ideal queue for all slots, and how true Retry-After is. SEED=N runs
 * that seed alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/clock.h>

#include "../../src/gateway/fn.h"

#define SEEDS    5
#define SLOTS    128
#define REPLICAS 32
#define CALLERS  8
#define SESSIONS 500
#define CALLS    60000

static uint64_t rng;

static double uniform(void) /* in (0, 1) */
{
	struct gt_rand rand = gt_rand_seeded(&rng);
	uint64_t bits;

	rand.fill(rand.arg, &bits, sizeof(bits));
	return ((double)(bits >> 12) + 0.5) / (double)(1ULL << 52);
}

static double exponential(double mean)
{
	return -mean * log(uniform());
}

static double lognormal(double mean, double sigma)
{
	double normal = sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());

	return mean * exp(sigma * normal - sigma * sigma / 2);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const double *sorted, size_t n, double p)
{
	size_t at = (size_t)(p / 100 * (double)n);

	return sorted[GT_MIN(at, n - 1)];
}

static uint64_t seed_first(void)
{
	return getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 1;
}

static uint64_t seed_last(void)
{
	return getenv("SEED") ? seed_first() : SEEDS;
}

/* ---- the world: slots that end, replicas that come ---- */

struct call {
	struct gt_waiter waiter;
	double at, service, wait; /* in seconds */
	bool refused;
	uint64_t ticket;    /* refused: the start of its caller that would have been its own */
	double said, true_; /* refused: Retry-After, and what it should have been; 0 = not known */
};

struct slot {
	double end;
	struct gt_target *target;
	double service;
};

struct world {
	struct gt_fn fn;
	struct slot slots[SLOTS];
	size_t n_slots;
	uint64_t started[CALLERS];
	struct call *refused[CALLERS]; /* in the order of their tickets, while not known */
	struct call *calls;
	size_t refused_from[CALLERS];
	/* starts of replicas */
	double coming[REPLICAS];
	size_t n_coming, n_ready;
	double start_s, start_sigma; /* 0 = all are there from the beginning */
};

static uint64_t ns(double s)
{
	return (uint64_t)(s * 1e9) + 1;
}

static void route(struct world *w, uint32_t concurrency, uint32_t queue, uint32_t max, double now)
{
	struct gt_route r = { .concurrency = concurrency,
			      .queue = queue,
			      .max_replicas = max,
			      .start_ms = (uint64_t)(w->start_s * 1000),
			      .n_replicas = w->n_ready };

	r.replicas = gt_alloc_array(w->n_ready + 1, sizeof(*r.replicas));
	for (size_t i = 0; i < w->n_ready; i++)
		snprintf(r.replicas[i].id, sizeof(r.replicas[i].id), "r%zu", i);
	gt_fn_apply(&w->fn, &r, false, ns(now));
}

/* The refused calls of that caller whose turn has just come. */
static void redeem(struct world *w, uint64_t caller, double now, size_t n)
{
	size_t *at = &w->refused_from[caller];

	for (; *at < n && (!w->calls[*at].refused || w->calls[*at].waiter.caller != caller ||
			   w->calls[*at].ticket <= w->started[caller]);
	     (*at)++)
		if (w->calls[*at].refused && w->calls[*at].waiter.caller == caller)
			w->calls[*at].true_ = GT_MAX(now - w->calls[*at].at, 1e-3);
}

static void pump(struct world *w, double now, size_t n)
{
	struct gt_waiter *waiter;
	struct gt_target *t;

	while (gt_fn_next(&w->fn, ns(now), &waiter, &t)) {
		struct call *c = GT_CONTAINER(waiter, struct call, waiter);

		assert_true(w->n_slots < SLOTS);
		c->wait = now - c->at;
		w->slots[w->n_slots++] = (struct slot){ now + c->service, t, c->service };
		w->started[c->waiter.caller]++;
		redeem(w, c->waiter.caller, now, n);
	}
}

/* Control: as many replicas as are needed, each after its start. */
static void scale(struct world *w, double now)
{
	while (w->start_s > 0 && w->n_ready + w->n_coming < gt_fn_need(&w->fn))
		w->coming[w->n_coming++] = now + lognormal(w->start_s, w->start_sigma);
}

/* All ends and starts until then. */
static void run_until(struct world *w, double until, size_t n)
{
	for (;;) {
		size_t slot = 0, replica = 0;

		for (size_t i = 1; i < w->n_slots; i++)
			slot = w->slots[i].end < w->slots[slot].end ? i : slot;
		for (size_t i = 1; i < w->n_coming; i++)
			replica = w->coming[i] < w->coming[replica] ? i : replica;
		double end = w->n_slots ? w->slots[slot].end : INFINITY;
		double start = w->n_coming ? w->coming[replica] : INFINITY;

		if (GT_MIN(end, start) > until || (!w->n_slots && !w->n_coming))
			return;
		if (start < end) {
			w->coming[replica] = w->coming[--w->n_coming];
			w->n_ready++;
			route(w, w->fn.route.concurrency, w->fn.route.queue,
			      w->fn.route.max_replicas, start);
			pump(w, start, n);
			continue;
		}
		struct slot s = w->slots[slot];

		w->slots[slot] = w->slots[--w->n_slots];
		gt_fn_release(&w->fn, s.target, ns(s.service), ns(end));
		pump(w, end, n);
	}
}

static void arrive(struct world *w, struct call *c, size_t n)
{
	run_until(w, c->at, n);
	if (gt_fn_admit(&w->fn, &c->waiter, ns(c->at)) == GT_ADMIT) {
		gt_fn_join(&w->fn, &c->waiter, ns(c->at));
		pump(w, c->at, n);
		scale(w, c->at);
		return;
	}
	uint64_t caller = c->waiter.caller;

	c->refused = true;
	c->said = gt_fn_retry_after_s(&w->fn, &c->waiter, ns(c->at));
	c->ticket = w->started[caller] + gt_queue_of(&w->fn.queue, caller) + 1;
}

/* ---- how long calls wait ---- */

struct load {
	const char *name;
	unsigned replicas, concurrency, callers;
	bool sessions;
	double load, sigma;
};

static struct call *trace(const struct load *l, size_t n)
{
	struct call *calls = gt_alloc_array(n, sizeof(*calls));
	double now = 0, gap = 1 / (l->load * l->replicas * l->concurrency);

	for (size_t i = 0; i < n; i++) {
		now += exponential(gap);
		calls[i] = (struct call){ .at = now, .service = lognormal(1, l->sigma) };
		calls[i].waiter.able = true;
		calls[i].waiter.class = GT_CLASS_NORMAL;
		calls[i].waiter.caller = (uint64_t)(uniform() * l->callers);
		if (l->sessions)
			calls[i].waiter.affinity = 1 + (uint64_t)(uniform() * SESSIONS);
	}
	return calls;
}

static void ours(const struct load *l, struct call *calls, double *waits)
{
	struct world *w = gt_alloc(sizeof(*w));

	w->calls = calls;
	w->n_ready = l->replicas;
	gt_fn_init(&w->fn, "f", 1);
	route(w, l->concurrency, 1000000, l->replicas, 0);
	for (size_t i = 0; i < CALLS; i++)
		arrive(w, &calls[i], i + 1);
	run_until(w, INFINITY, CALLS);
	for (size_t i = 0; i < CALLS; i++)
		waits[i] = calls[i].wait;
	gt_fn_fini(&w->fn);
	free(w);
}

/* First come, first served, by whatever slot is free first. */
static void ideal(const struct load *l, const struct call *calls, double *waits)
{
	double free_at[SLOTS] = { 0 };

	for (size_t i = 0; i < CALLS; i++) {
		size_t first = 0;

		for (size_t k = 1; k < l->replicas * l->concurrency; k++)
			first = free_at[k] < free_at[first] ? k : first;
		waits[i] = GT_MAX(free_at[first] - calls[i].at, 0.0);
		free_at[first] = calls[i].at + waits[i] + calls[i].service;
	}
}

static double p99_ratio(const struct load *l, uint64_t seed)
{
	double *a = gt_alloc_array(CALLS, sizeof(*a)), *b = gt_alloc_array(CALLS, sizeof(*b));

	rng = seed;
	struct call *calls = trace(l, CALLS);

	ours(l, calls, a);
	ideal(l, calls, b);
	qsort(a, CALLS, sizeof(*a), ascending);
	qsort(b, CALLS, sizeof(*b), ascending);
	double p99 = percentile(a, CALLS, 99), best = percentile(b, CALLS, 99);

	printf("G10 seed %llu, %s: wait p99 %.3f, ideal %.3f (in service times), ratio %.3f\n",
	       (unsigned long long)seed, l->name, p99, best, p99 / best);
	free(calls);
	free(a);
	free(b);
	return p99 / best;
}

static void calls_wait_as_in_one_ideal_queue(void **state)
{
	(void)state;
	static const struct load loads[] = {
		{ "8 x 1, load 0.8", 8, 1, 1, false, 0.8, 1 },
		{ "8 x 4, load 0.9", 8, 4, 1, false, 0.9, 1 },
		{ "32 x 4, load 0.9, heavy tail", 32, 4, 1, false, 0.9, 2 },
		{ "8 x 4, load 0.9, 500 sessions", 8, 4, 1, true, 0.9, 1 },
		{ "8 x 4, load 0.9, 8 callers", 8, 4, 8, false, 0.9, 1 },
	};

	for (size_t i = 0; i < GT_LEN(loads); i++)
		for (uint64_t seed = seed_first(); seed <= seed_last(); seed++) {
			assert_true(p99_ratio(&loads[i], seed) <= 1.1);
		}
}

/* ---- how true Retry-After is ---- */

struct overload {
	const char *name;
	unsigned replicas, concurrency, callers, queue;
	double service_s, sigma, load;
	double start_s, start_sigma; /* 0: warm */
	size_t calls;
};

static size_t refuse(const struct overload *o, uint64_t seed, double *ratios)
{
	struct world *w = gt_alloc(sizeof(*w));
	double now = 0, gap = o->service_s / (o->load * o->replicas * o->concurrency);
	size_t n = 0;

	rng = seed;
	w->calls = gt_alloc_array(o->calls, sizeof(*w->calls));
	w->start_s = o->start_s;
	w->start_sigma = o->start_sigma;
	w->n_ready = o->start_s > 0 ? 0 : o->replicas;
	gt_fn_init(&w->fn, "f", 1);
	if (o->start_s > 0) { /* known from an earlier life */
		w->fn.service_ms = o->service_s * 1000;
		w->fn.n_service = 32;
	}
	route(w, o->concurrency, o->queue, o->replicas, 0);
	for (size_t i = 0; i < o->calls; i++) {
		struct call *c = &w->calls[i];

		now += exponential(gap);
		*c = (struct call){ .at = now, .service = lognormal(o->service_s, o->sigma) };
		c->waiter.able = true;
		c->waiter.class = GT_CLASS_NORMAL;
		c->waiter.caller = (uint64_t)(uniform() * o->callers);
		arrive(w, c, i + 1);
	}
	run_until(w, INFINITY, o->calls);
	for (size_t i = 0; i < o->calls; i++) {
		const struct call *c = &w->calls[i];
		/* At first nothing is measured. While replicas start, only what is said then. */
		bool counts = o->start_s > 0 ? c->at < o->start_s : i > o->calls / 10;

		if (c->true_ > 0 && counts)
			ratios[n++] = c->said / c->true_;
	}
	gt_fn_fini(&w->fn);
	free(w->calls);
	free(w);
	return n;
}

static void retry_after_is_true(void **state)
{
	(void)state;
	static const struct overload loads[] = {
		{ "warm", 4, 4, 1, 100, 2, 1, 2, 0, 0, 20000 },
		{ "warm, one slot", 1, 1, 1, 10, 2, 0.5, 2, 0, 0, 5000 },
		{ "warm, 4 callers", 4, 4, 4, 100, 2, 1, 2, 0, 0, 20000 },
		{ "warm, heavy tail", 4, 4, 1, 100, 2, 1.5, 2, 0, 0, 20000 },
		{ "starting", 4, 4, 1, 100, 2, 1, 4, 10, 0.3, 1200 },
	};

	for (size_t i = 0; i < GT_LEN(loads); i++) {
		double *ratios = gt_alloc_array(loads[i].calls * SEEDS, sizeof(*ratios));
		size_t n = 0;

		for (uint64_t seed = seed_first(); seed <= seed_last(); seed++)
			n += refuse(&loads[i], seed, ratios + n);
		assert_true(n > 100);
		qsort(ratios, n, sizeof(*ratios), ascending);
		double p5 = percentile(ratios, n, 5), p50 = percentile(ratios, n, 50),
		       p95 = percentile(ratios, n, 95);

		printf("Retry-After, seeds %llu..%llu, %s: said / true p5 %.2f, p50 %.2f, p95 "
		       "%.2f of %zu\n",
		       (unsigned long long)seed_first(), (unsigned long long)seed_last(),
		       loads[i].name, p5, p50, p95, n);
		assert_true(p5 >= 0.5 && p50 >= 0.85 && p50 <= 1.25 && p95 <= 2);
		free(ratios);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_wait_as_in_one_ideal_queue),
		cmocka_unit_test(retry_after_is_true),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
