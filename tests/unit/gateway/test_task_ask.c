/* test_task_ask.c - when control is asked for durable calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#include "task_ask.h"

#define MS  GT_NS_PER_MS
#define NOW (1000 * MS)

/* 256 are asked for, the window lets n through, as many leases come. */
static void round_of(struct gt_task_ask *a, uint32_t n, uint32_t leases, uint64_t queued,
		     bool one_ends)
{
	const struct gt_task_want want = { .n = n, .queued = queued, .seen = 7 };

	assert_true(gt_task_ask_due(a, NOW));
	gt_task_ask_sent(a, 256);
	if (one_ends)
		gt_task_ask_freed(a);
	gt_task_ask_answered(a, &want, leases, NOW);
}

static bool due(const struct gt_task_ask *a)
{
	return gt_task_ask_due(a, NOW);
}

static void nothing_is_asked_for_without_work(void **state)
{
	struct gt_task_ask a = { 0 };

	(void)state;
	assert_false(due(&a));
	a.told = 7;
	round_of(&a, 128, 3, 0, false); /* and that was all */
	assert_false(due(&a));
	a.told = 8;
	assert_true(due(&a));
	round_of(&a, 128, 3, 0, true); /* the answer is older than the news */
	assert_true(due(&a));
}

static void a_full_window_is_asked_again_when_one_has_ended(void **state)
{
	struct gt_task_ask a = { .told = 7 };

	(void)state;
	round_of(&a, 128, 128, 1000, false);
	assert_false(due(&a));
	gt_task_ask_freed(&a);
	assert_true(due(&a));
	round_of(&a, 0, 0, 1000, false);
	assert_false(due(&a));
	assert_false(gt_task_ask_due(&a, NOW + (GT_TASK_REST_MS - 1) * MS));
	assert_true(gt_task_ask_due(&a, NOW + GT_TASK_REST_MS * MS)); /* more replicas? */
}

/* All of them may have: then no other would end the rest. */
static void what_ended_meanwhile_leaves_no_rest(void **state)
{
	struct gt_task_ask a = { .told = 7 };

	(void)state;
	round_of(&a, 0, 0, 1000, true);
	assert_true(due(&a));
	round_of(&a, 128, 128, 1000, true);
	assert_true(due(&a));
	round_of(&a, 0, 0, 1000, false); /* what ended before it was sent is in it */
	assert_false(due(&a));
}

static void a_window_with_room_is_asked_on(void **state)
{
	struct gt_task_ask a = { .told = 7 };

	(void)state;
	round_of(&a, 256, 256, 1000, false); /* the most of one post */
	assert_true(due(&a));
	round_of(&a, 256, 20, 1000, false); /* as many as fit, by bytes */
	assert_true(due(&a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_asked_for_without_work),
		cmocka_unit_test(a_full_window_is_asked_again_when_one_has_ended),
		cmocka_unit_test(what_ended_meanwhile_leaves_no_rest),
		cmocka_unit_test(a_window_with_room_is_asked_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
