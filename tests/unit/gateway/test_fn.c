/* The policy of one function under a made-up clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "fn.h"

#define MS GT_NS_PER_MS

static struct gt_fn fn;
static const struct gt_waiter newcomer; /* of the caller that all others here are of, too */

static void tell(size_t replicas, uint32_t concurrency, uint64_t fail_seq, uint64_t now_ns,
		 unsigned *found)
{
	struct gt_route r = { .revision = 1,
			      .concurrency = concurrency,
			      .queue = 2,
			      .max_replicas = 1,
			      .start_ms = 2000,
			      .fail_seq = fail_seq,
			      .retry_ms = 5000 };
	unsigned f;

	r.replicas = gt_alloc_array(replicas + 1, sizeof(*r.replicas));
	r.n_replicas = replicas;
	for (size_t i = 0; i < replicas; i++)
		snprintf(r.replicas[i].id, sizeof(r.replicas[i].id), "r%zu", i);
	f = gt_fn_apply(&fn, &r, false, now_ns);
	if (found)
		*found = f;
}

static int setup(void **state)
{
	(void)state;
	gt_fn_init(&fn, "f", 1 * MS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	gt_fn_fini(&fn);
	return 0;
}

static void test_first_able_waiter_takes_a_freed_slot(void **state)
{
	(void)state;
	struct gt_waiter a = { 0 }, b = { .able = true }, c = { .able = true }, *w;
	struct gt_target *t;

	tell(1, 1, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &a, 10 * MS); /* its body is still coming */
	gt_fn_join(&fn, &b, 11 * MS);
	gt_fn_join(&fn, &c, 12 * MS);
	assert_true(gt_fn_next(&fn, 12 * MS, &w, &t));
	assert_ptr_equal(w, &b);
	assert_false(gt_fn_next(&fn, 12 * MS, &w, &t));
	gt_fn_able(&fn, &a); /* behind c, whose body was here before */
	assert_int_equal(gt_fn_release(&fn, t, 3 * MS, 50 * MS), GT_FN_FREED);
	assert_true(gt_fn_next(&fn, 15 * MS, &w, &t));
	assert_ptr_equal(w, &c);
	assert_int_equal(fn.n_waiting, 1);
	gt_fn_leave(&fn, &a, 50 * MS);
	gt_fn_leave(&fn, &a, 50 * MS); /* twice is fine */
	assert_int_equal(fn.n_waiting, 0);
	gt_fn_release(&fn, t, 1 * MS, 50 * MS);
}

static void test_least_busy_then_last_used(void **state)
{
	(void)state;
	struct gt_waiter w[5] = { 0 }, *got;
	struct gt_target *t[5];

	tell(3, 2, 0, 10 * MS, NULL);
	for (size_t i = 0; i < 3; i++) {
		w[i].able = true;
		gt_fn_join(&fn, &w[i], 10 * MS);
		assert_true(gt_fn_next(&fn, (20 + i) * MS, &got, &t[i]));
	}
	assert_ptr_not_equal(t[0], t[1]); /* spread before doubling */
	assert_ptr_not_equal(t[1], t[2]);
	assert_ptr_not_equal(t[0], t[2]);
	gt_fn_release(&fn, t[0], 1 * MS, 50 * MS);
	gt_fn_release(&fn, t[2], 1 * MS, 50 * MS);
	w[3].able = true;
	gt_fn_join(&fn, &w[3], 30 * MS);
	assert_true(gt_fn_next(&fn, 30 * MS, &got, &t[3]));
	assert_ptr_equal(t[3], t[2]); /* both free: the one used last */
	w[4].able = true;
	gt_strcopy(w[4].avoid, sizeof(w[4].avoid), t[0]->id);
	gt_fn_join(&fn, &w[4], 31 * MS);
	assert_true(gt_fn_next(&fn, 31 * MS, &got, &t[4]));
	assert_ptr_not_equal(t[4], t[0]); /* it failed there: elsewhere, though busier */
	gt_fn_release(&fn, t[1], 1 * MS, 50 * MS);
	gt_fn_release(&fn, t[3], 1 * MS, 50 * MS);
	gt_fn_release(&fn, t[4], 1 * MS, 50 * MS);
}

static void test_queue_is_bounded_by_waiters_beyond_free_slots(void **state)
{
	(void)state;
	struct gt_waiter w[3] = { 0 }, *got;
	struct gt_target *t;

	tell(0, 1, 0, 10 * MS, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(gt_fn_admit(&fn, &newcomer, 10 * MS), GT_ADMIT);
		gt_fn_join(&fn, &w[i], 10 * MS);
	}
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 10 * MS), GT_ADMIT_OWN);
	tell(1, 1, 0, 11 * MS, NULL);
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 11 * MS),
			 GT_ADMIT); /* a slot is free: room for one more */
	gt_fn_able(&fn, &w[0]);
	assert_true(gt_fn_next(&fn, 11 * MS, &got, &t));
	gt_fn_leave(&fn, &w[1], 50 * MS);
	gt_fn_release(&fn, t, 1, 50 * MS);
}

static void test_full_queue_tells_own_calls_from_others(void **state)
{
	(void)state;
	struct gt_waiter a[3] = { { .caller = 1 }, { .caller = 1 }, { .caller = 1 } };
	struct gt_waiter b = { .caller = 2 }, c = { .caller = 3 };

	tell(0, 1, 0, 10 * MS, NULL);
	fn.route.queue = 4;
	for (int i = 0; i < 3; i++)
		gt_fn_join(&fn, &a[i], 10 * MS);
	assert_int_equal(gt_fn_admit(&fn, &a[0], 10 * MS), GT_ADMIT);
	gt_fn_join(&fn, &b, 10 * MS);
	assert_int_equal(gt_fn_admit(&fn, &a[0], 10 * MS), GT_ADMIT_OWN);
	assert_int_equal(gt_fn_admit(&fn, &b, 10 * MS), GT_ADMIT_FULL); /* less than its half */
	assert_int_equal(gt_fn_admit(&fn, &c, 10 * MS), GT_ADMIT);      /* of each, one may wait */
	for (int i = 0; i < 3; i++)
		gt_fn_leave(&fn, &a[i], 10 * MS);
	gt_fn_leave(&fn, &b, 10 * MS);
}

static void test_memory_of_waiters_is_bounded(void **state)
{
	(void)state;
	struct gt_waiter big = { .bytes = 1000 }, small = { .bytes = 100 };

	tell(0, 1, 0, 10 * MS, NULL);
	fn.held_max = 999;
	assert_int_equal(gt_fn_admit(&fn, &big, 10 * MS), GT_ADMIT); /* alone it must have a way */
	gt_fn_join(&fn, &small, 10 * MS);
	assert_int_equal(gt_fn_admit(&fn, &big, 10 * MS), GT_ADMIT_BYTES);
	assert_int_equal(fn.held, 100);
	gt_fn_leave(&fn, &small, 10 * MS);
	assert_int_equal(fn.held, 0);
	assert_int_equal(gt_fn_admit(&fn, &big, 10 * MS), GT_ADMIT);
}

/* Control hears at once of the first call and when more replicas are needed, not of each call. */
static void test_kick_when_need_grows(void **state)
{
	(void)state;
	struct gt_waiter w[9] = { 0 };
	static const bool kicks[9] = { true, false, false, true, false, false, true, false, false };

	tell(0, 4, 0, 10 * MS, NULL);
	fn.route.target = 3;
	fn.route.max_replicas = 3;
	assert_false(gt_fn_kicks(&fn));
	for (int i = 0; i < 9; i++) {
		gt_fn_join(&fn, &w[i], 10 * MS);
		if (gt_fn_kicks(&fn) != kicks[i])
			fail_msg("call %d", i);
		fn.told_need = gt_fn_need(&fn); /* as demand.c does when it tells */
	}
	fn.route.max_replicas = 2;
	fn.told_need = 2;
	assert_false(gt_fn_kicks(&fn)); /* more than there may be is no news */
	for (int i = 0; i < 9; i++)
		gt_fn_leave(&fn, &w[i], 10 * MS);
	assert_int_equal(gt_fn_need(&fn), 0);
}

static void test_failed_start_refuses_until_retry(void **state)
{
	(void)state;
	unsigned found;

	tell(0, 1, 0, 10 * MS, NULL);
	tell(0, 1, 1, 100 * MS, &found);
	assert_true(found & GT_FN_FAILED);
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 200 * MS), GT_ADMIT_FAILING);
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 100 * MS), 5);
	tell(0, 1, 1, 4000 * MS, &found); /* the same failure told again does not prolong it */
	assert_false(found & GT_FN_FAILED);
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 5099 * MS), GT_ADMIT_FAILING);
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 5100 * MS), GT_ADMIT);
	tell(0, 1, 2, 6000 * MS, &found);
	assert_true(found & GT_FN_FAILED);
	tell(1, 1, 2, 6001 * MS, NULL); /* a ready replica serves whatever failed */
	assert_int_equal(gt_fn_admit(&fn, &newcomer, 6001 * MS), GT_ADMIT);
}

static void test_cold_time_counts_only_without_replica(void **state)
{
	(void)state;
	tell(0, 1, 0, 10 * MS, NULL);
	assert_int_equal(gt_fn_cold_ns(&fn, 11 * MS), 10 * MS); /* since it is known */
	tell(1, 1, 0, 21 * MS, NULL);
	assert_int_equal(gt_fn_cold_ns(&fn, 100 * MS), 20 * MS);
	tell(0, 1, 0, 100 * MS, NULL);
	assert_int_equal(gt_fn_cold_ns(&fn, 105 * MS), 25 * MS);
}

static void test_retry_after_grows_with_queue_and_service_time(void **state)
{
	(void)state;
	struct gt_waiter w[4] = { 0 }, *got;
	struct gt_target *t;

	tell(0, 1, 0, 10 * MS, NULL);
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 10 * MS), 2); /* start_ms */
	tell(1, 1, 0, 10 * MS, NULL);
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 10 * MS), 1);
	w[0].able = true;
	gt_fn_join(&fn, &w[0], 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 3010 * MS), 3); /* that long so far */
	gt_fn_release(&fn, t, 4000 * MS, 15 * MS);
	for (int i = 1; i < 4; i++) {
		w[i].able = true;
		gt_fn_join(&fn, &w[i], 20 * MS);
	}
	assert_true(gt_fn_next(&fn, 20 * MS, &got, &t));
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 20 * MS), 12); /* the third of 4 s */
	/* A second replica may come after 2 s: half a call was served by then, and one begins at
	 * once; the other one and a half take two slots 3 s. */
	fn.route.max_replicas = 2;
	fn.asked_ns = 20 * MS;
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 20 * MS), 5);
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 1020 * MS), 5); /* it has 1 s left */
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 7020 * MS), 7); /* late */
	fn.service_ms = 1e9;
	assert_int_equal(gt_fn_retry_after_s(&fn, &newcomer, 20 * MS), 300);
	for (int i = 2; i < 4; i++)
		gt_fn_leave(&fn, &w[i], 50 * MS);
	gt_fn_release(&fn, t, 1 * MS, 50 * MS);
}

/* Two slots. The old gateway has one call running and one waiting when it yields. */
static void test_slots_are_lent(void **state)
{
	(void)state;
	struct gt_waiter w[2] = { { .able = true }, { .able = true } }, *got;
	struct gt_target *t;

	tell(1, 2, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &w[0], 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	gt_fn_yield(&fn);
	gt_fn_join(&fn, &w[1], 11 * MS);
	assert_false(gt_fn_next(&fn, 11 * MS, &got, &t));
	gt_target_lent(t);
	assert_true(gt_fn_next(&fn, 11 * MS, &got, &t));
	assert_int_equal(gt_target_give(t), 0); /* both run */
	gt_fn_release(&fn, t, 1 * MS, 12 * MS);
	assert_int_equal(gt_target_give(t), 1);
	assert_int_equal(gt_target_give(t), 0); /* once */
	gt_fn_release(&fn, t, 1 * MS, 13 * MS);
	gt_fn_own_all(&fn); /* the new one died */
	assert_int_equal(fn.n_free, 2);
}

/* What a gateway of another daemon has: the new one counts it before it lends. */
static void test_lent_slots_are_beside_those_of_others(void **state)
{
	(void)state;
	struct gt_waiter w[2] = { { .able = true }, { .able = true } }, *got;
	struct gt_target *t;

	tell(1, 3, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &w[0], 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	gt_target_held(t, 1);
	gt_fn_yield(&fn);
	gt_fn_join(&fn, &w[1], 11 * MS);
	assert_false(gt_fn_next(&fn, 11 * MS, &got, &t));
	gt_target_lent(t);
	assert_true(gt_fn_next(&fn, 11 * MS, &got, &t));
	gt_target_held(t, 0);
	assert_int_equal(fn.n_free, 0);
	gt_fn_release(&fn, t, 1 * MS, 12 * MS);
	gt_fn_release(&fn, t, 1 * MS, 12 * MS);
	assert_int_equal(gt_target_give(t), 2);
	assert_int_equal(fn.n_free, 0);
}

/* Control has begun anew and does not know the replica for a moment; somebody waits for it. */
static void test_slots_of_a_replica_that_left_are_given_back(void **state)
{
	(void)state;
	struct gt_waiter w[2] = { { .able = true }, { .able = true } }, *got;
	struct gt_target *t;

	tell(1, 2, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &w[0], 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	gt_fn_yield(&fn);
	gt_fn_join(&fn, &w[1], 11 * MS);
	tell(0, 2, 0, 12 * MS, NULL);
	gt_target_lent(t);                      /* that was on its way */
	assert_int_equal(gt_target_give(t), 1); /* though there is a waiter */
	gt_fn_release(&fn, t, 1 * MS, 13 * MS);
	assert_ptr_equal(fn.targets, t); /* it has a slot to give */
	assert_int_equal(gt_target_give(t), 1);
	gt_fn_forget_gone(&fn);
	assert_null(fn.targets);
	tell(1, 2, 0, 14 * MS, NULL);
	assert_false(gt_fn_next(&fn, 14 * MS, &got, &t));
	gt_target_lent(fn.targets);
	assert_true(gt_fn_next(&fn, 14 * MS, &got, &t));
	gt_fn_release(&fn, t, 1 * MS, 15 * MS);
}

static void test_slots_of_the_one_before(void **state)
{
	(void)state;
	struct gt_waiter w = { .able = true }, *got;
	struct gt_target *t;

	tell(1, 2, 0, 10 * MS, NULL);
	gt_target_held(fn.targets, 2);
	gt_fn_join(&fn, &w, 10 * MS);
	assert_false(gt_fn_next(&fn, 10 * MS, &got, &t));
	fn.wanted_elsewhere = 1;
	assert_null(gt_fn_lend(&fn, 11 * MS)); /* none is free */
	gt_target_held(fn.targets, 1);
	assert_ptr_equal(gt_fn_lend(&fn, 12 * MS), fn.targets);
	assert_null(gt_fn_lend(&fn, 12 * MS)); /* nobody else wants one */
	gt_target_held(fn.targets, 2);
	assert_false(gt_fn_next(&fn, 13 * MS, &got, &t));
	gt_fn_own_all(&fn);
	assert_true(gt_fn_next(&fn, 14 * MS, &got, &t));
	gt_fn_release(&fn, t, 1 * MS, 15 * MS);
}

static void test_gone_replica_lives_until_its_call_ends(void **state)
{
	(void)state;
	struct gt_waiter w = { .able = true }, *got;
	struct gt_target *t;

	tell(1, 1, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &w, 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	tell(0, 1, 0, 11 * MS, NULL);
	assert_true(t->gone);
	assert_int_equal(fn.n_ready, 0);
	/* The same id again is the same replica: a new control had not heard of it yet. */
	tell(1, 1, 0, 12 * MS, NULL);
	assert_false(t->gone);
	assert_int_equal(fn.n_ready, 1);
	assert_int_equal(fn.n_free, 0);
	tell(0, 1, 0, 13 * MS, NULL);
	assert_true(t->gone);
	assert_int_equal(gt_fn_release(&fn, t, 1 * MS, 50 * MS), 0);
	gt_fn_retire(&fn, 14 * MS);
	assert_true(gt_fn_unused(&fn));
}

static void test_partial_routes_take_nothing_away(void **state)
{
	struct gt_route r = { .concurrency = 1 };

	(void)state;
	tell(2, 1, 0, 10 * MS, NULL);
	gt_fn_apply(&fn, &r, true, 11 * MS);
	assert_int_equal(fn.n_ready, 2);
	r = (struct gt_route){ .concurrency = 1, .n_replicas = 1 };
	r.replicas = gt_alloc(sizeof(*r.replicas));
	*r.replicas = (struct gt_route_replica){ .id = "r1" };
	gt_fn_apply(&fn, &r, true, 12 * MS);
	assert_int_equal(fn.n_ready, 2);
	gt_fn_whole(&fn, 13 * MS); /* r0 was not heard of again */
	assert_int_equal(fn.n_ready, 1);
	assert_string_equal(fn.targets->id, "r1");
}

static void test_draining_tells_when_empty(void **state)
{
	(void)state;
	struct gt_waiter w = { .able = true }, *got;
	struct gt_target *t;
	struct gt_route r = { .concurrency = 1, .n_replicas = 1 };

	tell(1, 1, 0, 10 * MS, NULL);
	gt_fn_join(&fn, &w, 10 * MS);
	assert_true(gt_fn_next(&fn, 10 * MS, &got, &t));
	r.replicas = gt_alloc(sizeof(*r.replicas));
	*r.replicas = (struct gt_route_replica){ .id = "r0", .draining = true };
	assert_false(gt_fn_apply(&fn, &r, false, 11 * MS) & GT_FN_DRAINED);
	assert_int_equal(fn.n_free, 0);
	assert_int_equal(gt_fn_release(&fn, t, 1 * MS, 50 * MS), GT_FN_DRAINED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_first_able_waiter_takes_a_freed_slot),
		T(test_least_busy_then_last_used),
		T(test_queue_is_bounded_by_waiters_beyond_free_slots),
		T(test_full_queue_tells_own_calls_from_others),
		T(test_memory_of_waiters_is_bounded),
		T(test_kick_when_need_grows),
		T(test_failed_start_refuses_until_retry),
		T(test_cold_time_counts_only_without_replica),
		T(test_retry_after_grows_with_queue_and_service_time),
		T(test_slots_are_lent),
		T(test_lent_slots_are_beside_those_of_others),
		T(test_slots_of_a_replica_that_left_are_given_back),
		T(test_slots_of_the_one_before),
		T(test_gone_replica_lives_until_its_call_ends),
		T(test_partial_routes_take_nothing_away),
		T(test_draining_tells_when_empty),
	};

	return cmocka_run_group_tests_name("gateway_fn", tests, NULL, NULL);
}
