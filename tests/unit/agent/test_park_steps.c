/* test_park_steps.c - parking against a model of the driver, of the kernel's freezer and of
 * programs that sleep, with a fault in every tenth thing that is done. The model is as strict as
 * the real ones are: what would hang them fails the test. SEED=n  another run */
#include "../../../src/agent/park_steps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REPLICAS 6
#define PROCS    3
#define VRAM     100 /* one holds 60: two never fit */
#define NEED     60
#define RAM      250
#define STEPS    10000
#define DO_MOST  2000 /* things done on one way */

enum real { R_RUNNING, R_LOCKED, R_CHECKPOINTED, R_FAILED };

struct subject {
	struct park_steps s;
	enum { RUNNING, PARKED } is;
	enum real procs[PROCS];
	size_t n;
	bool frozen, asleep;
	unsigned vram, ram; /* taken */
};

static struct subject all[REPLICAS];
static uint64_t rng, now_ns, kills, refusals, parks, unparks;
static bool faults;

static unsigned below(unsigned n)
{
	rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((rng >> 33) % n);
}

static bool fault(void)
{
	return faults && below(10) == 0;
}

static unsigned vram(void)
{
	unsigned sum = 0;

	for (size_t i = 0; i < REPLICAS; i++)
		sum += all[i].vram;
	assert_true(sum <= VRAM);
	return sum;
}

static unsigned ram(void)
{
	unsigned sum = 0;

	for (size_t i = 0; i < REPLICAS; i++)
		sum += all[i].ram;
	assert_true(sum <= RAM);
	return sum;
}

static bool all_are(const struct subject *x, enum real state)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->procs[i] != state)
			return false;
	return true;
}

static void start(struct subject *x)
{
	static const enum gt_park_method methods[] = { GT_PARK_FREEZE, GT_PARK_HTTP, GT_PARK_CUDA,
						       GT_PARK_CUDA };
	enum gt_park_method m = methods[below(GT_LEN(methods))];
	bool gpus = m != GT_PARK_FREEZE;

	*x = (struct subject){ 0 };
	if (gpus && vram() + NEED > VRAM) {
		m = GT_PARK_FREEZE;
		gpus = false;
	}
	x->n = m == GT_PARK_CUDA ? below(PROCS + 1) : 0;
	x->vram = gpus ? NEED : 0;
	gt_park_steps_init(&x->s, m, m == GT_PARK_HTTP || (m == GT_PARK_CUDA && below(3) == 0),
			   gpus);
}

/* ---- the driver ---- */

/* It needs a thread of the process: a frozen one hangs for ever. */
static void must_run(const struct subject *x)
{
	assert_false(x->frozen);
}

static enum park_came driver(struct subject *x, enum park_do what)
{
	static const enum real from[] = { [PARK_LOCK] = R_RUNNING,
					  [PARK_CHECKPOINT] = R_LOCKED,
					  [PARK_RESTORE] = R_CHECKPOINTED,
					  [PARK_UNLOCK] = R_LOCKED };
	static const enum real to[] = { [PARK_LOCK] = R_LOCKED,
					[PARK_CHECKPOINT] = R_CHECKPOINTED,
					[PARK_RESTORE] = R_LOCKED,
					[PARK_UNLOCK] = R_RUNNING };
	enum real *p = &x->procs[x->s.i];

	assert_true(x->s.i < x->n);
	must_run(x);
	if (what == PARK_CHECKPOINT) /* none while others of it still run */
		for (size_t i = 0; i < x->n; i++)
			assert_true(x->procs[i] != R_RUNNING);
	if (what == PARK_RESTORE) /* the trap: without the memory it hangs for ever */
		assert_true(x->vram == NEED);
	if (fault())
		switch (below(4)) {
		case 0: /* the helper died before, or after, it was done */
			*p = below(2) && *p == from[what] ? to[what] : *p;
			return PARK_LOST;
		case 1:
			*p = what == PARK_LOCK || what == PARK_UNLOCK ? *p : R_FAILED;
			return PARK_ERROR;
		case 2:
			return what == PARK_LOCK ? PARK_AGAIN : PARK_ERROR;
		default:
			return PARK_ERROR;
		}
	if (*p != from[what])
		return PARK_ERROR;
	*p = to[what];
	return PARK_OK;
}

static enum park_came state(const struct subject *x)
{
	static const enum park_came is[] = { [R_RUNNING] = PARK_IS_RUNNING,
					     [R_LOCKED] = PARK_IS_LOCKED,
					     [R_CHECKPOINTED] = PARK_IS_CHECKPOINTED,
					     [R_FAILED] = PARK_IS_FAILED };

	if (fault())
		return below(2) ? PARK_LOST : PARK_ERROR;
	return is[x->procs[x->s.i]];
}

/* ---- everything else ---- */

static enum park_came perform(struct subject *x, enum park_do what)
{
	switch (what) {
	case PARK_RESERVE:
		if (ram() + NEED > RAM)
			return PARK_AGAIN;
		x->ram = NEED;
		return PARK_OK;
	case PARK_FIND:
		x->s.n = x->n;
		return fault() ? PARK_LOST : PARK_OK;
	case PARK_STATE:
		return state(x);
	case PARK_LOCK:
	case PARK_CHECKPOINT:
	case PARK_RESTORE:
	case PARK_UNLOCK:
		return driver(x, what);
	case PARK_FREEZE: /* never before all is locked: of a GPU's process nothing may run on */
		assert_true(all_are(x, R_CHECKPOINTED));
		if (fault())
			return below(2) ? PARK_AGAIN : PARK_ERROR;
		x->frozen = true;
		return PARK_OK;
	case PARK_THAW:
		if (fault())
			return PARK_ERROR;
		x->frozen = false;
		return PARK_OK;
	case PARK_GIVE: /* only what the driver has let go of */
		assert_true(x->asleep || all_are(x, R_CHECKPOINTED));
		assert_true(x->vram == NEED);
		x->vram = 0;
		return PARK_OK;
	case PARK_TAKE:
		if (vram() + NEED > VRAM)
			return PARK_AGAIN;
		x->vram = NEED;
		return PARK_OK;
	case PARK_FREE:
		return fault() ? PARK_AGAIN : PARK_OK;
	case PARK_SLEEP:
	case PARK_WAKE:
		must_run(x);
		if (fault())
			return PARK_ERROR;
		x->asleep = what == PARK_SLEEP;
		return PARK_OK;
	case PARK_PROBE: /* it answers, and can compute */
		must_run(x);
		assert_true(all_are(x, R_RUNNING));
		return fault() ? PARK_ERROR : PARK_OK;
	case PARK_WAIT:
		now_ns += GT_NS_PER_S;
		return PARK_OK;
	default:
		fail_msg("%s is nothing to do", gt_park_do_name(what));
		return PARK_ERROR;
	}
}

/* One whole way, to an end: it may not go on for ever, and may end in three states only. */
static void walk(struct subject *x, bool off)
{
	enum park_do next = gt_park_begin(&x->s, off);
	unsigned done = 0;

	while (!gt_park_is_end(next)) {
		assert_true(done++ < DO_MOST);
		next = gt_park_next(&x->s, perform(x, next), now_ns);
		vram();
		ram();
	}
	if (next == PARK_PARKED) {
		assert_true(off);
		assert_int_equal(x->vram, 0);
		assert_true(x->asleep || all_are(x, R_CHECKPOINTED));
		x->is = PARKED;
		parks++;
	} else if (next == PARK_READY) {
		must_run(x);
		assert_false(x->asleep);
		assert_true(all_are(x, R_RUNNING));
		assert_true(!off || x->s.why);
		x->ram = 0;
		x->is = RUNNING;
		refusals += off;
		unparks += !off;
	} else {
		assert_non_null(x->s.why);
		kills++;
		start(x); /* cold */
	}
}

/* Room for one that comes back is made by parking, or stopping, another. */
static void room_make(const struct subject *x)
{
	for (size_t i = 0; i < REPLICAS && x->s.gpus && vram() + NEED > VRAM; i++) {
		if (&all[i] == x || !all[i].vram)
			continue;
		walk(&all[i], true);
		if (all[i].vram)
			all[i] = (struct subject){ 0 }, start(&all[i]);
	}
}

static void evict(struct subject *x)
{
	if (x->is == PARKED)
		start(x);
}

static void nothing_is_ever_stuck(void **arg)
{
	const char *seed = getenv("SEED");

	(void)arg;
	rng = seed ? strtoull(seed, NULL, 10) : 1;
	print_message("SEED=%llu\n", (unsigned long long)rng);
	faults = true;
	kills = refusals = parks = unparks = 0;
	for (size_t i = 0; i < REPLICAS; i++)
		start(&all[i]);
	for (unsigned step = 0; step < STEPS; step++) {
		struct subject *x = &all[below(REPLICAS)];

		if (below(12) == 0)
			evict(x);
		else if (x->is == RUNNING)
			walk(x, true);
		else {
			if (below(8))
				room_make(x);
			walk(x, false);
		}
	}
	print_message("%llu parked, %llu back, %llu stayed ready, %llu killed\n",
		      (unsigned long long)parks, (unsigned long long)unparks,
		      (unsigned long long)refusals, (unsigned long long)kills);
	assert_true(parks > 1000 && unparks > 500 && refusals > 200 && kills > 200);
}

/* Without faults everything that is parked comes back, as it was. */
static void without_faults_all_come_back(void **arg)
{
	(void)arg;
	rng = 7;
	faults = false;
	kills = 0;
	memset(all, 0, sizeof(all));
	for (unsigned i = 0; i < 300; i++) {
		struct subject *x = &all[0];

		start(x);
		walk(x, true);
		assert_int_equal(x->is, PARKED);
		assert_true(x->frozen || x->s.method == GT_PARK_HTTP);
		walk(x, false);
		assert_int_equal(x->is, RUNNING);
	}
	assert_int_equal(kills, 0);
}

/* The order itself, as it is documented. */
static void cuda_goes_by_the_book(void **arg)
{
	static const enum park_do off[] = { PARK_RESERVE, PARK_FIND,       PARK_LOCK,
					    PARK_LOCK,    PARK_CHECKPOINT, PARK_CHECKPOINT,
					    PARK_FREEZE,  PARK_GIVE,       PARK_PARKED };
	static const enum park_do on[] = { PARK_TAKE,    PARK_FREE,   PARK_THAW,   PARK_RESTORE,
					   PARK_RESTORE, PARK_UNLOCK, PARK_UNLOCK, PARK_READY };
	struct park_steps s;

	(void)arg;
	gt_park_steps_init(&s, GT_PARK_CUDA, false, true);
	enum park_do next = gt_park_begin(&s, true);

	for (size_t i = 0; i < GT_LEN(off); i++) {
		assert_int_equal(next, off[i]);
		s.n = 2;
		next = gt_park_is_end(next) ? next : gt_park_next(&s, PARK_OK, 0);
	}
	next = gt_park_begin(&s, false);
	for (size_t i = 0; i < GT_LEN(on); i++) {
		assert_int_equal(next, on[i]);
		next = gt_park_is_end(next) ? next : gt_park_next(&s, PARK_OK, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_ever_stuck),
		cmocka_unit_test(without_faults_all_come_back),
		cmocka_unit_test(cuda_goes_by_the_book),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
