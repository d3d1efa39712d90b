/* Which replica: kept together by affinity, away from what fails; under a made-up clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "fn.h"

#define MS     GT_NS_PER_MS
#define KEYS   1000
#define FLIGHT 64

static struct gt_fn fn;

/* suspects: so many of the first ones are. */
static void tell_suspects(size_t replicas, uint32_t concurrency, size_t suspects)
{
	struct gt_route r = { .concurrency = concurrency, .queue = 100 };

	r.replicas = gt_alloc_array(replicas + 1, sizeof(*r.replicas));
	r.n_replicas = replicas;
	for (size_t i = 0; i < replicas; i++) {
		snprintf(r.replicas[i].id, sizeof(r.replicas[i].id), "r%zu", i);
		r.replicas[i].suspect = i < suspects;
	}
	gt_fn_apply(&fn, &r, false, 1 * MS);
}

static void tell(size_t replicas, uint32_t concurrency)
{
	tell_suspects(replicas, concurrency, 0);
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

static struct gt_target *target(const char *id)
{
	struct gt_target *t;

	DL_FOREACH (fn.targets, t)
		if (!strcmp(t->id, id))
			return t;
	fail_msg("no %s", id);
	return NULL;
}

/* The replica that a call gets now; NULL = none. Its slot stays taken. */
static struct gt_target *take(uint64_t affinity, uint64_t now_ns)
{
	struct gt_waiter w = { .able = true, .affinity = affinity }, *got;
	struct gt_target *t;

	gt_fn_join(&fn, &w, now_ns);
	if (gt_fn_next(&fn, now_ns, &got, &t))
		return t;
	gt_fn_leave(&fn, &w, now_ns);
	return NULL;
}

static struct gt_target *try_one(uint64_t affinity, uint64_t now_ns)
{
	struct gt_target *t = take(affinity, now_ns);

	if (t)
		gt_fn_release(&fn, t, 1 * MS, now_ns);
	return t;
}

static uint64_t key(int i)
{
	char text[16];

	return gt_affinity_hash(text, (size_t)snprintf(text, sizeof(text), "user-%d", i));
}

static void test_affinity_stays_and_spreads(void **state)
{
	(void)state;
	unsigned hits[8] = { 0 };

	tell(8, 4);
	for (int i = 0; i < KEYS; i++) {
		struct gt_target *t = try_one(key(i), 5 * MS);

		assert_ptr_equal(t, try_one(key(i), 6 * MS));
		hits[t->id[1] - '0']++;
	}
	for (int i = 0; i < 8; i++)
		assert_in_range(hits[i], KEYS / 8 * 6 / 10, KEYS / 8 * 14 / 10);
}

static void test_replica_that_comes_moves_only_its_share(void **state)
{
	(void)state;
	char before[KEYS][GT_REPLICA_ID_SIZE];
	unsigned moved = 0;

	tell(8, 4);
	for (int i = 0; i < KEYS; i++)
		gt_strcopy(before[i], GT_REPLICA_ID_SIZE, try_one(key(i), 5 * MS)->id);
	tell(9, 4);
	for (int i = 0; i < KEYS; i++) {
		const char *now = try_one(key(i), 6 * MS)->id;

		if (!strcmp(now, before[i]))
			continue;
		assert_string_equal(now, "r8"); /* to the new one, never among the old */
		moved++;
	}
	assert_in_range(moved, KEYS / 9 / 2, KEYS / 9 * 2);
}

/* All calls of one session: the replica takes 1.25 times the mean, the others the rest. */
static void test_affinity_is_bounded_by_load(void **state)
{
	(void)state;
	struct gt_target *taken[FLIGHT], *t;

	tell(8, 16);
	for (unsigned i = 0; i < FLIGHT; i++) {
		taken[i] = take(key(1), 5 * MS);
		unsigned most = (5 * (i + 1) + 4 * 8 - 1) / (4 * 8); /* ceil(1.25 x mean) */

		assert_true(taken[i]->in_flight <= most);
	}
	DL_FOREACH (fn.targets, t)
		assert_true(t->in_flight <= 10);
	for (int i = 0; i < FLIGHT; i++)
		gt_fn_release(&fn, taken[i], 1 * MS, 6 * MS);
}

static void test_affinity_gives_way_to_a_free_slot(void **state)
{
	(void)state;
	tell(2, 1);
	struct gt_target *own = take(key(3), 5 * MS), *other = take(key(3), 5 * MS);

	assert_non_null(other);
	assert_ptr_not_equal(own, other); /* nobody waits while a slot is free */
	assert_null(take(key(3), 5 * MS));
	gt_fn_release(&fn, own, 1 * MS, 6 * MS);
	gt_fn_release(&fn, other, 1 * MS, 6 * MS);
}

static void test_replica_that_dropped_a_call_rests(void **state)
{
	(void)state;
	tell(1, 4);
	gt_target_failed(target("r0"), 10 * MS);
	assert_int_equal(gt_fn_rest_end_ns(&fn, 10 * MS), (10 + GT_FN_REST_MS) * MS);
	assert_null(try_one(0, (9 + GT_FN_REST_MS) * MS));
	assert_non_null(try_one(0, (10 + GT_FN_REST_MS) * MS));
	tell(2, 4); /* others serve meanwhile */
	gt_target_failed(target("r0"), 50 * MS);
	assert_ptr_equal(try_one(0, 50 * MS), target("r1"));
}

static uint64_t fail_times(struct gt_target *t, unsigned n, uint64_t now_ns)
{
	for (unsigned i = 0; i < n; i++) {
		gt_target_failed(t, now_ns);
		gt_target_failed(t, now_ns); /* together with the first: one failure */
		now_ns += GT_FN_REST2_MS * MS;
	}
	return now_ns;
}

static void test_three_failures_make_a_suspect(void **state)
{
	(void)state;
	struct gt_target *bad;
	uint64_t now_ns;

	tell(2, 1);
	bad = target("r0");
	now_ns = fail_times(bad, 2, 100 * MS);
	assert_false(gt_target_suspect(bad, now_ns));
	now_ns = fail_times(bad, 1, now_ns);
	assert_true(gt_target_suspect(bad, now_ns));
	struct gt_target *good = take(0, now_ns);

	assert_ptr_equal(good, target("r1"));
	assert_null(take(0, now_ns)); /* better to wait for the good one */
	assert_int_equal(gt_fn_rest_end_ns(&fn, now_ns), bad->suspect_until_ns);
	assert_ptr_equal(try_one(0, bad->suspect_until_ns), bad);
	for (unsigned n = 2; n <= 20; n++) { /* 10 s, 15 s ... 60 s */
		uint64_t from_ns = bad->suspect_until_ns;

		gt_target_failed(bad, from_ns);
		assert_int_equal((bad->suspect_until_ns - from_ns) / MS, GT_MIN(5000 * n, 60000));
	}
	gt_target_answered(bad);
	now_ns = bad->rest_until_ns;
	assert_ptr_equal(try_one(0, now_ns), bad);
	gt_target_failed(bad, now_ns);
	assert_false(gt_target_suspect(bad, now_ns)); /* counted from the start again */
	gt_fn_release(&fn, good, 1 * MS, now_ns);
}

static void test_one_on_a_silent_node_is_a_suspect_until_that_is_heard_of(void **state)
{
	(void)state;
	struct gt_target *good;

	tell_suspects(2, 1, 1);
	good = take(0, 1 * MS);
	assert_ptr_equal(good, target("r1"));
	assert_null(take(0, 1 * MS));
	assert_int_equal(gt_fn_rest_end_ns(&fn, 1 * MS), 0); /* no time will tell */
	tell(2, 1);
	assert_ptr_equal(try_one(0, 1 * MS), target("r0"));
	tell_suspects(2, 1, 2);
	assert_ptr_equal(try_one(0, 1 * MS), target("r0")); /* there is no other */
	gt_fn_release(&fn, good, 1 * MS, 1 * MS);
}

static void test_last_replica_is_never_ejected(void **state)
{
	(void)state;
	tell(2, 4);
	uint64_t now_ns = fail_times(target("r0"), 3, 100 * MS);

	now_ns = fail_times(target("r1"), 3, now_ns);
	assert_non_null(try_one(0, now_ns));
	tell(1, 4); /* the route knows that r1 is dead: r0 alone serves, suspect or not */
	assert_ptr_equal(try_one(0, now_ns), target("r0"));
}

static void test_retries_have_a_budget(void **state)
{
	(void)state;
	unsigned n = 0;

	tell(1, 4);
	while (gt_fn_retry_take(&fn))
		n++;
	assert_int_equal(n, GT_FN_RETRIES);
	fn.in_flight = 400;
	fn.n_waiting = 100;
	while (gt_fn_retry_take(&fn))
		n++;
	assert_int_equal(n, 100);
	gt_fn_retry_give(&fn);
	assert_true(gt_fn_retry_take(&fn));
	assert_false(gt_fn_retry_take(&fn));
	fn.in_flight = fn.n_waiting = 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_affinity_stays_and_spreads),
		T(test_replica_that_comes_moves_only_its_share),
		T(test_affinity_is_bounded_by_load),
		T(test_affinity_gives_way_to_a_free_slot),
		T(test_replica_that_dropped_a_call_rests),
		T(test_three_failures_make_a_suspect),
		T(test_one_on_a_silent_node_is_a_suspect_until_that_is_heard_of),
		T(test_last_replica_is_never_ejected),
		T(test_retries_have_a_budget),
	};

	return cmocka_run_group_tests_name("gateway_choice", tests, NULL, NULL);
}
