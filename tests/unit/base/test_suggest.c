#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gantry/base/suggest.h>

static const char *const words[] = { "memory", "cpu", "pids", "disk", "allow_host_image" };

static void near_words_are_found(void **state)
{
	(void)state;
	assert_string_equal(gt_suggest("memroy", words, GT_LEN(words)), "memory");
	assert_string_equal(gt_suggest("pid", words, GT_LEN(words)), "pids");
	assert_string_equal(gt_suggest("allow_host_imag", words, GT_LEN(words)),
			    "allow_host_image");
}

static void far_words_are_not(void **state)
{
	(void)state;
	assert_null(gt_suggest("gpu_memory_fraction", words, GT_LEN(words)));
	assert_null(gt_suggest("x", words, GT_LEN(words)));
	assert_null(gt_suggest("", words, GT_LEN(words)));
	assert_null(
		gt_suggest("a_word_that_is_much_longer_than_any_name_here", words, GT_LEN(words)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_words_are_found),
		cmocka_unit_test(far_words_are_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
