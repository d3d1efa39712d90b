/* test_place.c - filters, scores and refusals. */
#include <gantry/sched/sched.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FUNCTION_BYTES (512 * GT_MIB)

static const struct gt_sched_want want = { .memory_bytes = FUNCTION_BYTES };

static void a_small_machine_takes_many_default_functions(void **state)
{
	struct gt_sched_node node = { .name = "a", .up = true, .memory_bytes = 24 * GT_GIB };
	struct gt_err err;
	size_t at, placed = 0;

	(void)state;
	while (gt_sched_place(&node, 1, &want, &at, &err) == 0) {
		node.memory_taken_bytes += FUNCTION_BYTES;
		placed++;
	}
	assert_int_equal(placed, 192);
	assert_string_equal(err.slug, "no_capacity");
	assert_int_equal(err.code, ENOSPC);
	assert_non_null(strstr(err.text, "node a"));
	assert_non_null(strstr(err.text, "resources.memory"));
}

static void an_unknown_size_is_never_full(void **state)
{
	struct gt_sched_node node = { .name = "a", .up = true, .memory_taken_bytes = UINT64_MAX };
	size_t at = 7;

	(void)state;
	assert_int_equal(gt_sched_place(&node, 1, &want, &at, NULL), 0);
	assert_int_equal(at, 0);
}

static void what_is_down_or_full_is_left_out(void **state)
{
	const struct gt_sched_node nodes[] = {
		{ .name = "down" },
		{ .name = "full",
		  .up = true,
		  .memory_bytes = GT_GIB,
		  .memory_taken_bytes = 4 * GT_GIB },
		{ .name = "cpu", .up = true, .cpu_milli = 1000, .cpu_taken_milli = 16000 },
		{ .name = "good", .up = true, .memory_bytes = GT_GIB, .replicas = 99 },
	};
	const struct gt_sched_want both = { .cpu_milli = 1, .memory_bytes = 1 };
	struct gt_err err;
	size_t at = 7;

	(void)state;
	assert_int_equal(gt_sched_place(nodes, 4, &both, &at, &err), 0);
	assert_int_equal(at, 3);
	at = 7;
	assert_int_equal(gt_sched_place(nodes, 1, &both, &at, &err), -ENOSPC);
	assert_string_equal(err.text, "no node is up (1 known)");
	assert_int_equal(gt_sched_place(nodes, 2, &both, &at, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "node full"));
	assert_int_equal(gt_sched_place(nodes, 3, &both, &at, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "resources.cpu"));
	assert_int_equal(gt_sched_place(nodes, 0, &both, &at, &err), -ENOSPC);
	assert_int_equal(at, 7);
}

static void spread_and_pack(void **state)
{
	struct gt_sched_node nodes[] = {
		{ .name = "a",
		  .up = true,
		  .memory_bytes = GT_GIB,
		  .memory_taken_bytes = 600 * GT_MIB },
		{ .name = "b",
		  .up = true,
		  .memory_bytes = GT_GIB,
		  .memory_taken_bytes = 100 * GT_MIB },
		{ .name = "c",
		  .up = true,
		  .memory_bytes = GT_GIB,
		  .memory_taken_bytes = 100 * GT_MIB },
	};
	struct gt_sched_want pack = { .memory_bytes = 1, .policy = GT_SCHED_PACK };
	size_t at;

	(void)state;
	assert_int_equal(gt_sched_place(nodes, 3, &want, &at, NULL), 0);
	assert_int_equal(at, 1); /* equal nodes: the first */
	nodes[1].same_function = 1;
	assert_int_equal(gt_sched_place(nodes, 3, &want, &at, NULL), 0);
	assert_int_equal(at, 2);
	nodes[2].same_function = 1;
	assert_int_equal(gt_sched_place(nodes, 3, &want, &at, NULL), 0);
	assert_int_equal(at, 0);
	assert_int_equal(gt_sched_place(nodes, 3, &pack, &at, NULL), 0);
	assert_int_equal(at, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_machine_takes_many_default_functions),
		cmocka_unit_test(an_unknown_size_is_never_full),
		cmocka_unit_test(what_is_down_or_full_is_left_out),
		cmocka_unit_test(spread_and_pack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
