/* test_buf.c - the buffer keeps its bytes, its terminator and its cap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/buf.h>

static void adds_follow_each_other(void **state)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	(void)state;
	assert_string_equal(gt_buf_str(&b), "");
	assert_int_equal(gt_buf_adds(&b, "ab"), 0);
	assert_int_equal(gt_buf_addc(&b, 'c'), 0);
	assert_int_equal(gt_buf_addf(&b, "%d-%s", 7, "x"), 0);
	assert_int_equal(gt_buf_add(&b, "\0z", 2), 0);
	assert_int_equal(b.len, 8);
	assert_memory_equal(b.data, "abc7-x\0z", 9);
}

static void the_cap_is_exact(void **state)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	(void)state;
	gt_buf_init(&b, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(gt_buf_addc(&b, 'x'), 0);
	assert_false(b.failed);
	assert_int_equal(gt_buf_addc(&b, 'x'), -ENOBUFS);
	assert_true(b.failed);
	assert_int_equal(b.len, 100);
	assert_int_equal(strlen(gt_buf_str(&b)), 100);
	assert_true(b.cap <= 101);
}

static void a_refused_add_adds_nothing(void **state)
{
	gt_auto(buf) struct gt_buf b = { .max = 4 };

	(void)state;
	gt_buf_adds(&b, "abc");
	assert_int_equal(gt_buf_adds(&b, "de"), -ENOBUFS);
	assert_int_equal(gt_buf_addf(&b, "%s", "de"), -ENOBUFS);
	assert_int_equal(gt_buf_add(&b, "d", SIZE_MAX), -ENOBUFS);
	assert_string_equal(gt_buf_str(&b), "abc");
	gt_buf_reset(&b);
	assert_false(b.failed);
	assert_int_equal(gt_buf_adds(&b, "de"), 0);
}

static void the_default_cap_holds(void **state)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	(void)state;
	assert_null(gt_buf_reserve(&b, GT_BUF_MAX_DEFAULT + 1));
	assert_non_null(gt_buf_reserve(&b, 10));
}

static void reserved_room_is_committed_by_length(void **state)
{
	gt_auto(buf) struct gt_buf b = { .max = 10 };

	(void)state;
	gt_buf_adds(&b, "ab");
	char *room = gt_buf_reserve(&b, 8);

	assert_non_null(room);
	memset(room, 'r', 8);
	b.len += 8;
	assert_string_equal(gt_buf_str(&b), "abrrrrrrrr");
	assert_null(gt_buf_reserve(&b, 1));
	assert_false(b.failed); /* asking is not adding */
}

static void consume_drops_from_the_front(void **state)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	(void)state;
	gt_buf_consume(&b, 3);
	gt_buf_adds(&b, "hello world");
	gt_buf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	gt_buf_consume(&b, 99);
	assert_int_equal(b.len, 0);
	assert_string_equal(gt_buf_str(&b), "");
}

static void steal_leaves_a_usable_buffer_with_its_cap(void **state)
{
	gt_auto(buf) struct gt_buf b = { .max = 5 };

	(void)state;
	gt_auto(free) char *none = gt_buf_steal(&b);

	assert_string_equal(none, "");
	gt_buf_adds(&b, "abc");
	gt_auto(free) char *some = gt_buf_steal(&b);

	assert_string_equal(some, "abc");
	assert_null(b.data);
	assert_int_equal(gt_buf_adds(&b, "abcdef"), -ENOBUFS);
	gt_buf_fini(&b);
	assert_int_equal(gt_buf_adds(&b, "abcde"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_follow_each_other),
		cmocka_unit_test(the_cap_is_exact),
		cmocka_unit_test(a_refused_add_adds_nothing),
		cmocka_unit_test(the_default_cap_holds),
		cmocka_unit_test(reserved_room_is_committed_by_length),
		cmocka_unit_test(consume_drops_from_the_front),
		cmocka_unit_test(steal_leaves_a_usable_buffer_with_its_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
