/* Lines of a batch: what is taken fits through everything behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/wire/wire.h>

/* 1e15 is written out as 1000000000000000.0: a line within the limits, a body that is not. */
static void a_body_that_grows_above_the_limit_is_refused(void **state)
{
	static const char item[] = "1e15,";
	gt_auto(buf) struct gt_buf line = { 0 };
	struct gt_task t = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	gt_buf_add(&line, "{\"body\":[", 9);
	for (size_t n = 0; n < GT_TASK_BODY_MAX / 10; n++)
		gt_buf_add(&line, item, sizeof(item) - 1);
	gt_buf_add(&line, "1]}", 3);
	assert_true(line.len < GT_TASK_BODY_MAX);
	assert_int_equal(gt_task_line_read(line.data, line.len, &t, &err), -EMSGSIZE);
	assert_string_equal(err.slug, "body_too_large");
	assert_string_equal(err.path, "body");
}

static void a_body_is_what_was_sent(void **state)
{
	static const char line[] = "{\"body\": {\"n\": 7}, \"path\": \"/a\"}";
	struct gt_task t = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_task_line_read(line, sizeof(line) - 1, &t, &err), 0);
	assert_int_equal(t.body.len, 7);
	assert_memory_equal(t.body.data, "{\"n\":7}", 7);
	assert_string_equal(t.path, "/a");
	gt_task_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_that_grows_above_the_limit_is_refused),
		cmocka_unit_test(a_body_is_what_was_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
