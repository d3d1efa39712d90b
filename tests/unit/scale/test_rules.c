/* test_rules.c - the learned rules and Knative's: each trap that was met, and that a record of
 * inputs replays to the same decisions. */
#include <gantry/scale/scale.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define S GT_NS_PER_S

struct fix {
	struct gt_scale *s;
	struct gt_scale_pool *pool;
	struct gt_scale_in in; /* the next input; counts since the last are cleared by decide */
	struct gt_scale_out out;
};

static int setup(void **state)
{
	struct fix *x = gt_alloc(sizeof(*x));

	x->s = gt_scale_new();
	x->pool = gt_scale_pool_new();
	x->in = (struct gt_scale_in){ .now_ns = 1000 * S,
				      .params = { .target = 1,
						  .max = 1000,
						  .idle_ms = 60000,
						  .price = GT_SCALE_PRICE_DEFAULT } };
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;

	gt_scale_free(x->s);
	gt_scale_pool_free(x->pool);
	free(x);
	return 0;
}

static struct gt_scale_out *decide(struct fix *x)
{
	gt_scale_decide(x->s, x->pool, &x->in, &x->out);
	x->in.arrivals = x->in.completions = x->in.starts = x->in.renew = 0;
	x->in.service_ns = x->in.start_ns = 0;
	return &x->out;
}

static struct gt_scale_out *load(struct fix *x, uint64_t after_ns, uint32_t in_flight,
				 uint32_t queued)
{
	if (in_flight + queued > x->in.in_flight + x->in.queued)
		x->in.arrivals = in_flight + queued - x->in.in_flight - x->in.queued;
	x->in.now_ns += after_ns;
	x->in.in_flight = in_flight;
	x->in.queued = queued;
	return decide(x);
}

/* As a daemon would: sleeps until due, for so long. Returns when nothing is kept any more. */
static uint64_t sleep_on(struct fix *x, uint64_t most_ns)
{
	uint64_t end_ns = x->in.now_ns + most_ns;

	for (int i = 0; x->out.due_ns <= end_ns; i++) {
		assert_true(x->out.due_ns > x->in.now_ns);
		assert_true(i < 100000);
		x->in.now_ns = x->out.due_ns;
		decide(x);
	}
	return x->in.now_ns;
}

static void ready_after(struct fix *x, double start_s, uint32_t ready)
{
	x->in.now_ns += (uint64_t)(start_s * 1e9);
	x->in.starts = ready - x->in.ready;
	x->in.start_ns = (uint64_t)(start_s * 1e9) * x->in.starts;
	x->in.ready = ready;
	x->in.starting = 0;
	decide(x);
}

/* ---- traps ---- */
/* A floor that is computed at events alone keeps replicas for days after the last call. */
static void nothing_is_kept_for_ever(void **state)
{
	struct fix *x = *state;

	x->in.ready = 60;
	for (int i = 0; i < 600; i++)
		load(x, S, 40 + (uint32_t)(i % 7), 0);
	assert_true(x->out.asked[GT_SCALE_FLOOR] != GT_SCALE_SILENT);
	assert_true(x->out.need > 46);
	load(x, S, 0, 0);
	assert_true(x->out.wanted > 0);
	uint64_t gone_ns = sleep_on(x, 86400 * S);

	assert_int_equal(x->out.wanted, 0);
	assert_true(x->out.due_ns == UINT64_MAX); /* and no timer */
	assert_true(gone_ns < (1000 + 602 + 7200) * S);
}

/* A rule on predicted waits leaves a call behind one that takes for ever. */
static void a_call_that_waits_gets_one_more(void **state)
{
	struct fix *x = *state;

	x->in.params.target = 8; /* two calls need one replica, and it is there */
	x->in.ready = 1;
	x->in.start_ns = 20 * S;
	x->in.starts = 1;
	decide(x);
	x->in.oldest_wait_ns = 1;
	load(x, S, 1, 1);
	assert_int_equal(x->out.need, 1);
	assert_true(x->out.due_ns <= x->in.now_ns + 10 * S); /* it comes back by itself */
	x->in.oldest_wait_ns = 10 * S;
	load(x, 10 * S, 1, 1);
	assert_int_equal(x->out.need, 2);
	assert_int_equal(x->out.need_rule, GT_SCALE_AGE);
	x->in.starting = 1;
	load(x, S, 1, 1);
	assert_int_equal(x->out.asked[GT_SCALE_AGE], GT_SCALE_SILENT); /* it is on its way */
}

/* The first wait of all says nothing of later ones. */
static void the_first_start_is_no_measure(void **state)
{
	struct fix *x = *state;

	load(x, 0, 0, 100);
	x->in.starting = 100;
	load(x, 0, 0, 100);
	ready_after(x, 25, 100);
	load(x, 0, 100, 0);
	x->in.completions = 100;
	x->in.service_ns = 100 * S;
	load(x, S, 0, 0);
	assert_true(x->out.wanted >= 1);
	sleep_on(x, 300 * S); /* until the means have faded */
	if (x->out.wanted > 4)
		fail_msg("%u: %s", x->out.wanted, x->out.why);
}

static void gaps_are_learned(void **state)
{
	struct fix *x = *state;

	x->in.ready = 1;
	x->in.starts = 1;
	x->in.start_ns = 30 * S;
	for (int i = 0; i < 60; i++) { /* a call each 100 s */
		load(x, S, 1, 0);
		x->in.completions = 1;
		x->in.service_ns = S;
		load(x, S, 0, 0);
		x->in.now_ns += 98 * S;
	}
	load(x, S, 1, 0);
	load(x, S, 0, 0);
	assert_int_equal(x->out.wanted_rule, GT_SCALE_HOLD);
	sleep_on(x, 90 * S);
	assert_int_equal(x->out.wanted, 1); /* it is about to return */
	sleep_on(x, 900 * S);
	assert_int_equal(x->out.wanted, 0);
}

/* Break-even: never longer than (start + price x harm). */
static void a_hold_costs_no_more_than_a_return(void **state)
{
	struct fix *x = *state;

	x->in.params.price = 0;
	x->in.starts = 1;
	x->in.start_ns = 30 * S;
	for (int i = 0; i < 200; i++) { /* returns that are likely, and late */
		load(x, S, 1, 0);
		load(x, S, 0, 0);
		assert_true(x->out.due_ns == UINT64_MAX || x->out.due_ns <= x->in.now_ns + 30 * S);
		x->in.now_ns += 40 * S;
	}
}

static void a_restart_knows_no_history(void **state)
{
	struct fix *x = *state;

	x->in.ready = 3;
	x->in.renew = 3;
	decide(x);
	assert_int_equal(x->out.wanted, 3);
	assert_int_equal(x->out.wanted_rule, GT_SCALE_RENEW);
	assert_int_equal(x->out.need, 0);
	x->in.now_ns += 60 * S - 1;
	assert_int_equal(decide(x)->wanted, 3);
	x->in.now_ns += 1;
	assert_int_equal(decide(x)->wanted, 0);
}

static void a_function_at_zero_is_small(void **state)
{
	struct fix *x = *state;

	for (int i = 0; i < 50; i++) {
		load(x, 200 * S, 0, 1);
		ready_after(x, 3, 1);
		load(x, 0, 1, 0);
		load(x, S, 0, 0);
	}
	sleep_on(x, 86400 * S);
	assert_true(x->out.due_ns == UINT64_MAX);
	assert_true(gt_scale_bytes(x->s) <= 768);
}

/* ---- clocks and counters ---- */
static void jumps_and_extremes_break_nothing(void **state)
{
	static const uint64_t times[] = { 1000, 1, 5000, UINT64_MAX / S, 0, 3, UINT64_MAX / S / 2 };
	struct fix *x = *state;

	for (unsigned policy = 0; policy < GT_SCALE_POLICIES; policy++) {
		x->in.params.policy = (enum gt_scale_policy)policy;
		for (size_t i = 0; i < 20 * GT_LEN(times); i++) {
			x->in.now_ns = times[i % GT_LEN(times)] * S;
			x->in.in_flight = i % 3 ? UINT32_MAX : (uint32_t)i;
			x->in.queued = i % 5 ? UINT32_MAX : 0;
			x->in.arrivals = x->in.completions = UINT32_MAX;
			x->in.service_ns = x->in.start_ns = UINT64_MAX;
			x->in.starts = x->in.renew = UINT32_MAX;
			x->in.oldest_wait_ns = UINT64_MAX;
			decide(x);
			assert_true(x->out.wanted <= 1000 && x->out.need <= x->out.wanted);
		}
	}
	x->in.params.policy = GT_SCALE_GANTRY;
	x->in.now_ns = 10 * S;
	x->in.oldest_wait_ns = 0;
	load(x, 0, 3, 0);
	load(x, S, 0, 0);
	x->in.now_ns = 5 * S; /* back */
	decide(x);
	sleep_on(x, 100 * 86400 * S);
	assert_int_equal(x->out.wanted, 0);
}

/* ---- Knative's ---- */
static void kpa_asks_for_spare_ones(void **state)
{
	struct fix *x = *state;

	x->in.params.policy = GT_SCALE_KPA;
	load(x, 0, 0, 1);
	assert_int_equal(x->out.need, 2); /* ceil(1 / 0.7), from zero at once */
	x->in.ready = 2;
	for (int i = 0; i < 100; i++)
		load(x, S, 1, 0);
	assert_int_equal(x->out.need, 2);
	assert_int_equal(x->out.need_rule, GT_SCALE_KPA_STABLE);
	load(x, S, 20, 0);
	for (int i = 0; i < 8; i++)
		load(x, S, 20, 0);
	assert_int_equal(x->out.need_rule, GT_SCALE_KPA_PANIC);
	assert_int_equal(x->out.need, 29);
	load(x, S, 0, 0);
	for (int i = 0; i < 30; i++)
		load(x, S, 0, 0);
	assert_true(x->out.need >= 29); /* panic does not go down */
	uint64_t zero_ns = sleep_on(x, 3600 * S);

	assert_int_equal(x->out.wanted, 0);
	assert_in_range(zero_ns / S, 1000 + 170, 1000 + 220);
}

static void kpa_means_divide_by_what_was_seen(void **state)
{
	struct fix *x = *state;

	x->in.params.policy = GT_SCALE_KPA;
	load(x, 0, 0, 7);
	x->in.ready = 10;
	for (int i = 0; i < 5; i++)
		load(x, S, 7, 0);
	assert_int_equal(x->out.asked[GT_SCALE_KPA_STABLE], 10); /* 7 / 0.7, not 35 / 60 / 0.7 */
}

/* ---- replay ---- */
static uint32_t random_below(uint64_t *seed, uint32_t n)
{
	struct gt_rand rnd = gt_rand_seeded(seed);
	uint64_t word;

	rnd.fill(rnd.arg, &word, sizeof(word));
	return (uint32_t)(word % n);
}

static void a_record_replays_from_any_point(void **state)
{
	struct fix *x = *state;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t rng = seed;
		struct gt_scale *copy = NULL;
		struct gt_scale_pool *pool = NULL;

		for (int i = 0; i < 1000; i++) {
			struct gt_scale_out out;

			if (i == 400) {
				copy = gt_scale_copy(x->s);
				pool = gt_scale_pool_copy(x->pool);
			}
			x->in.now_ns += random_below(&rng, 20000) * GT_NS_PER_MS;
			x->in.in_flight = random_below(&rng, 30);
			x->in.queued = random_below(&rng, 3) ? 0 : random_below(&rng, 50);
			x->in.arrivals = random_below(&rng, 9);
			x->in.ready = random_below(&rng, 40);
			x->in.starting = random_below(&rng, 4);
			x->in.params.policy = (enum gt_scale_policy)random_below(&rng, 2);
			struct gt_scale_in in = x->in;

			decide(x);
			if (!copy)
				continue;
			gt_scale_decide(copy, pool, &in, &out);
			assert_int_equal(out.need, x->out.need);
			assert_int_equal(out.wanted, x->out.wanted);
			assert_true(out.due_ns == x->out.due_ns);
			assert_string_equal(out.why, x->out.why);
			assert_memory_equal(out.asked, x->out.asked, sizeof(out.asked));
		}
		gt_scale_free(copy);
		gt_scale_pool_free(pool);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_is_kept_for_ever),
		T(a_call_that_waits_gets_one_more),
		T(the_first_start_is_no_measure),
		T(gaps_are_learned),
		T(a_hold_costs_no_more_than_a_return),
		T(a_restart_knows_no_history),
		T(a_function_at_zero_is_small),
		T(jumps_and_extremes_break_nothing),
		T(kpa_asks_for_spare_ones),
		T(kpa_means_divide_by_what_was_seen),
		T(a_record_replays_from_any_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
