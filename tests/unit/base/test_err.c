/* test_err.c - errors keep their code, their slug and a text that is always valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/err.h>

static void set_returns_the_code_and_fills_all(void **state)
{
	struct gt_err err = { .path = "old" };

	(void)state;
	assert_int_equal(gt_err_set(&err, ENOENT, "not_found", "app %s", "web"), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.slug, "not_found");
	assert_string_equal(err.text, "app web");
	assert_string_equal(err.path, "");
}

static void a_negative_code_counts_like_its_errno(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_err_set(&err, -EPERM, "denied", "no"), -EPERM);
	assert_int_equal(err.code, EPERM);
}

static void the_text_of_the_error_itself_may_be_an_argument(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	gt_err_set(&err, EIO, "a", "disk gone");
	gt_err_set(&err, EIO, "b", "node: %s", err.text);
	assert_string_equal(err.text, "node: disk gone");
	gt_err_wrap(&err, "%s again", err.text);
	assert_string_equal(err.text, "node: disk gone again: node: disk gone");
}

static void errno_text_ends_in_the_reason_however_long_the_context(void **state)
{
	struct gt_err err = { 0 };
	char name[2000];

	(void)state;
	assert_int_equal(gt_err_errno(&err, EACCES, "open %s", "/x"), -EACCES);
	assert_string_equal(err.text, "open /x: Permission denied");
	assert_string_equal(err.slug, "system_error");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	gt_err_errno(&err, EACCES, "open %s", name);
	assert_non_null(strstr(err.text, ": Permission denied"));
}

static void wrap_puts_the_context_first(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	gt_err_set(&err, EBUSY, "busy", "mount");
	assert_int_equal(gt_err_wrap(&err, "replica %d", 3), -EBUSY);
	assert_string_equal(err.text, "replica 3: mount");
	assert_string_equal(err.slug, "busy");
}

static void path_stands_beside_the_text(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	gt_err_set(&err, EINVAL, "bad_spec", "900 is above 512");
	assert_int_equal(gt_err_path(&err, "scale.%s", "max"), -EINVAL);
	assert_string_equal(err.path, "scale.max");
	assert_string_equal(err.text, "900 is above 512");
}

static void a_null_error_still_returns_a_failure(void **state)
{
	(void)state;
	assert_int_equal(gt_err_set(NULL, EPERM, "x", "y"), -EPERM);
	assert_int_equal(gt_err_errno(NULL, EPERM, "y"), -EPERM);
	assert_true(gt_err_wrap(NULL, "y") < 0);
	assert_true(gt_err_path(NULL, "y") < 0);
	gt_err_clear(NULL);
}

static void wrapping_an_error_that_nobody_set_is_still_a_failure(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	assert_true(gt_err_wrap(&err, "context") < 0);
	assert_true(err.code > 0);
}

static void a_long_text_is_cut_between_characters(void **state)
{
	struct gt_err err = { 0 };
	char text[900];

	(void)state;
	/* Three bytes each, at each of the three offsets to the end of the field. */
	for (size_t shift = 0; shift < 3; shift++) {
		memset(text, 'a', shift);
		for (size_t i = shift; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 4);
		gt_err_set(&err, EINVAL, "long", "%s", text);
		assert_true(strlen(err.text) > sizeof(err.text) - 4);
		assert_int_equal((strlen(err.text) - shift) % 3, 0);
	}
}

static void clear_makes_it_new(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	gt_err_set(&err, EINVAL, "x", "y");
	gt_err_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_returns_the_code_and_fills_all),
		cmocka_unit_test(a_negative_code_counts_like_its_errno),
		cmocka_unit_test(the_text_of_the_error_itself_may_be_an_argument),
		cmocka_unit_test(errno_text_ends_in_the_reason_however_long_the_context),
		cmocka_unit_test(wrap_puts_the_context_first),
		cmocka_unit_test(path_stands_beside_the_text),
		cmocka_unit_test(a_null_error_still_returns_a_failure),
		cmocka_unit_test(wrapping_an_error_that_nobody_set_is_still_a_failure),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(clear_makes_it_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
