/* test_scale.c - the events of a run by hand, and that policies do as they say. */
#include <gantry/sim/scale.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S GT_NS_PER_S

static struct gt_sim_result run_of(struct gt_sim_call *calls, size_t n, const char *policy,
				   uint32_t slots, double start_s)
{
	static uint64_t ids[] = { 0, 1, 2, 3 };
	const struct gt_sim_load load = {
		.calls = calls, .n_calls = n, .ids = ids, .n_functions = 1
	};
	const struct gt_sim_cold cold = { .samples = &start_s, .n = 1, .factor = 1 };
	const struct gt_sim_scale run = {
		.policy = policy, .slots = slots, .slo_s = 2, .price = 20
	};
	struct gt_sim_result r;

	assert_int_equal(gt_sim_scale_run(&run, &load, &cold, &r, NULL), 0);
	return r;
}

static void a_cold_call_and_a_warm_one(void **state)
{
	struct gt_sim_call calls[] = { { 0, 2 * S, 0 }, { 60 * S, 2 * S, 0 } };
	struct gt_sim_result r = run_of(calls, 2, "fixed:100", 1, 10);

	(void)state;
	assert_int_equal(r.starts, 1);
	assert_int_equal(r.cold, 1);
	assert_true(r.max_delay_s >= 9 && r.max_delay_s <= 11); /* 10 s, +-10% */
	assert_true(r.p50_delay_s == 0);
	/* From the order until 100 s after the second call's end. */
	assert_true(r.gpu_hours * 3600 > 161.9 && r.gpu_hours * 3600 < 162.1);
	assert_true(r.busy_hours * 3600 > 3.9 && r.busy_hours * 3600 < 4.1);
	assert_true(r.slo == 0.5);
	assert_true(r.j20 > r.gpu_hours + 20 * 9 / 3600.0);
}

static void bounds_are_what_they_say(void **state)
{
	/* The first start of all is free. Back to back: at 10 s one ends before the other comes.
	 * Then a gap of 5 s, then one of 1000. */
	struct gt_sim_call calls[] = {
		{ 0, 10 * S, 0 }, { 10 * S, 10 * S, 0 }, { 25 * S, 5 * S, 0 }, { 1030 * S, S, 0 }
	};
	struct gt_sim_result r = run_of(calls, 4, "fixed:10", 1, 8);
	double start_s = r.clairvoyant_hours * 3600 - 26 - 5;

	(void)state;
	assert_true(r.zero_hours * 3600 > 25.99 && r.zero_hours * 3600 < 26.01);
	assert_true(start_s >= 7.2 && start_s <= 8.8);
}

static void slots_are_filled_before_others_start(void **state)
{
	struct gt_sim_call calls[] = {
		{ 0, S, 0 }, { 0, S, 0 }, { 0, S, 0 }, { 0, S, 0 }, { 0, S, 0 }
	};

	(void)state;
	assert_int_equal(run_of(calls, 5, "fixed:10", 4, 1).starts, 2);
	assert_int_equal(run_of(calls, 5, "fixed:10", 1, 1).starts, 5);
	assert_int_equal(run_of(calls, 5, "gantry", 4, 1).starts, 2);
	assert_int_equal(run_of(calls, 1, "kpa", 1, 1).starts, 2); /* ceil(1 / 0.7) */
}

/* Whatever the policy: everybody is served, everything ends, twice the same. */
static void every_policy_serves_and_ends(void **state)
{
	static const char *const policies[] = {
		"gantry", "kpa", "fixed:30", "hist", "ray", "keda"
	};
	struct gt_sim_call calls[400];

	(void)state;
	for (size_t i = 0; i < GT_LEN(calls); i++)
		calls[i] = (struct gt_sim_call){ (i / 20 * 120 + i % 20) * S, (1 + i % 7) * S, 0 };
	for (size_t i = 0; i < GT_LEN(policies); i++) {
		struct gt_sim_result a = run_of(calls, GT_LEN(calls), policies[i], 2, 9);
		struct gt_sim_result b = run_of(calls, GT_LEN(calls), policies[i], 2, 9);

		assert_int_equal(a.counted, GT_LEN(calls));
		assert_true(a.gpu_hours >= a.busy_hours && a.busy_hours > 0);
		assert_true(a.max_delay_s < 200);
		assert_true(a.end_s < 20 * 120 + 5 * 3600);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

/* KEDA looks 9 s after the first call and every 30 s from then on, also while there is nothing: the
 * second call, at 1000 s, is found at 1029 s. */
static void keda_polls_keep_their_times(void **state)
{
	struct gt_sim_call calls[] = { { 0, S, 0 }, { 1000 * S, S, 0 } };
	struct gt_sim_result r = run_of(calls, 2, "keda", 1, 10);

	(void)state;
	assert_int_equal(r.starts, 2);
	assert_true(r.p50_delay_s >= 18 && r.p50_delay_s <= 20);
	assert_true(r.max_delay_s >= 38 && r.max_delay_s <= 40);
}

/* 30 calls at once that stay: Ray's mean of 30 s is above one replica's two slots after 2 s, and
 * what it asks for has grown to all of them 30 s after it began to agree. */
static void ray_means_count_the_time_before(void **state)
{
	struct gt_sim_call calls[30];
	struct gt_sim_result r;

	(void)state;
	for (size_t i = 0; i < GT_LEN(calls); i++)
		calls[i] = (struct gt_sim_call){ 0, 400 * S, 0 };
	r = run_of(calls, GT_LEN(calls), "ray", 2, 1);
	assert_int_equal(r.starts, 15);
	assert_true(r.max_delay_s >= 32 && r.max_delay_s <= 34.5);
}

static void unknown_policies_are_refused(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_sim_policy_check("fixed:", &err), -EINVAL);
	assert_int_equal(gt_sim_policy_check("fixed:0", &err), -EINVAL);
	assert_int_equal(gt_sim_policy_check("fixed:1x", &err), -EINVAL);
	assert_int_equal(gt_sim_policy_check("hpa", &err), -EINVAL);
	assert_non_null(strstr(err.text, "gantry, kpa, fixed:SECONDS"));
	assert_int_equal(gt_sim_policy_check("fixed:1.5", &err), 0);
}

static void starts_are_a_function_of_model_and_number(void **state)
{
	double samples[] = { 1, 2, 3, 4 };
	const struct gt_sim_cold c = { .samples = samples, .n = 4, .factor = 2 };

	(void)state;
	for (uint64_t f = 0; f < 50; f++) {
		double first = (double)gt_sim_cold_ns(&c, f, 0);

		assert_true(gt_sim_cold_ns(&c, f, 0) == gt_sim_cold_ns(&c, f, 0));
		for (uint64_t i = 1; i < 20; i++) {
			double other = (double)gt_sim_cold_ns(&c, f, i);

			assert_true(other / first > 0.81 && other / first < 1.23);
		}
	}
}

static void a_picture_has_its_curves(void **state)
{
	struct gt_sim_point points[] = { { 1, 2, 1, 1, 5 }, { 2, 3, 0, 2, 0 } };
	const struct gt_sim_scale run = { .policy = "gantry", .points = points, .n_points = 2 };
	gt_auto(buf) struct gt_buf b = { 0 };

	(void)state;
	gt_sim_scale_svg(&run, &b);
	assert_non_null(strstr(gt_buf_str(&b), "<svg "));
	assert_non_null(strstr(gt_buf_str(&b), "policy gantry, 2 s"));
	/* 3 replicas are the most: the curve is at its panel's top and right end. */
	assert_non_null(strstr(gt_buf_str(&b), "#d62728\" d=\"M80 210L580.0 50.0L1080.0 50.0\""));
	assert_non_null(strstr(gt_buf_str(&b), "calls that wait"));
	assert_non_null(strstr(gt_buf_str(&b), "</svg>\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cold_call_and_a_warm_one),
		cmocka_unit_test(bounds_are_what_they_say),
		cmocka_unit_test(slots_are_filled_before_others_start),
		cmocka_unit_test(every_policy_serves_and_ends),
		cmocka_unit_test(keda_polls_keep_their_times),
		cmocka_unit_test(ray_means_count_the_time_before),
		cmocka_unit_test(unknown_policies_are_refused),
		cmocka_unit_test(starts_are_a_function_of_model_and_number),
		cmocka_unit_test(a_picture_has_its_curves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
