/* test_peaks.c - what models were seen to need is there again, and only if the file is whole. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "peaks.h"

#define GPU (80 * (uint64_t)GT_GIB)

static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	(void)state;
	gt_strcopy(dir, sizeof(dir), "/tmp/gantry-peaks-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *key(unsigned n)
{
	static char text[GT_SHA256_HEX_SIZE];

	snprintf(text, sizeof(text), "%064x", n);
	return text;
}

static void the_most_is_kept_with_a_margin(void **state)
{
	struct peaks *p = gt_peaks_open(dir);

	(void)state;
	assert_int_equal(gt_peaks_need(p, key(1)), 0);
	gt_peaks_learn(p, key(1), 20 * GT_GIB, GPU);
	gt_peaks_learn(p, key(1), 10 * GT_GIB, GPU);
	assert_int_equal(gt_peaks_need(p, key(1)), 21 * (uint64_t)GT_GIB);
	gt_peaks_learn(p, key(2), GPU - 1, GPU); /* a GPU that was enough is enough */
	assert_int_equal(gt_peaks_need(p, key(2)), GPU);
	gt_peaks_learn(p, key(3), GPU + 1, GPU); /* can not be */
	assert_int_equal(gt_peaks_need(p, key(3)), 0);
	gt_peaks_free(p);
	p = gt_peaks_open(dir);
	assert_int_equal(gt_peaks_need(p, key(1)), 21 * (uint64_t)GT_GIB);
	assert_int_equal(gt_peaks_need(p, key(2)), GPU);
	gt_peaks_free(p);
}

static void what_was_learned_longest_ago_goes_first(void **state)
{
	struct peaks *p = gt_peaks_open(dir);

	(void)state;
	for (unsigned i = 0; i < PEAKS_MAX; i++)
		gt_peaks_learn(p, key(i), GT_GIB, GPU);
	gt_peaks_learn(p, key(0), 2 * (uint64_t)GT_GIB, GPU);
	gt_peaks_learn(p, key(PEAKS_MAX), GT_GIB, GPU);
	gt_peaks_free(p);
	p = gt_peaks_open(dir);
	assert_int_equal(gt_peaks_need(p, key(1)), 0);
	for (unsigned i = 0; i <= PEAKS_MAX; i++)
		if (i != 1)
			assert_true(gt_peaks_need(p, key(i)) > GT_GIB);
	gt_peaks_free(p);
}

/* Each byte in turn is another, and the file ends at each byte: never is anything else read. */
static void a_damaged_file_is_not_used(void **state)
{
	struct peaks *p = gt_peaks_open(dir);
	char path[96], text[512] = "";
	size_t len;
	FILE *f;

	(void)state;
	gt_peaks_learn(p, key(1), GT_GIB, GPU);
	gt_peaks_learn(p, key(2), GT_GIB, GPU);
	gt_peaks_free(p);
	snprintf(path, sizeof(path), "%s/gpu-peaks", dir);
	f = fopen(path, "re");
	assert_non_null(f);
	len = fread(text, 1, sizeof(text), f);
	fclose(f);
	for (size_t i = 0; i < 2 * len; i++) {
		char bad[512];

		memcpy(bad, text, len);
		bad[i % len] ^= 1;
		f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fwrite(bad, 1, i < len ? len : i - len, f),
				 i < len ? len : i - len);
		fclose(f);
		p = gt_peaks_open(dir);
		assert_int_equal(gt_peaks_need(p, key(1)), 0);
		assert_int_equal(gt_peaks_need(p, key(2)), 0);
		if (i + 1 == 2 * len) /* and is written anew */
			gt_peaks_learn(p, key(2), GT_GIB, GPU);
		gt_peaks_free(p);
	}
	p = gt_peaks_open(dir);
	assert_true(gt_peaks_need(p, key(2)) > GT_GIB);
	gt_peaks_free(p);
}

static void another_engine_is_another_key(void **state)
{
	char *words[] = { "serve", "--eager" }, one[GT_SHA256_HEX_SIZE], other[GT_SHA256_HEX_SIZE];
	struct gt_spec spec = { .command = words, .n_command = 2 };

	(void)state;
	gt_peaks_key(&spec, 7, one);
	gt_peaks_key(&spec, 7, other);
	assert_string_equal(one, other);
	gt_peaks_key(&spec, 8, other);
	assert_string_not_equal(one, other);
	spec.n_command = 1;
	gt_peaks_key(&spec, 7, other);
	assert_string_not_equal(one, other);
	spec.n_command = 2;
	spec.resources.gpu.estimate.sequences = 2;
	gt_peaks_key(&spec, 7, other);
	assert_string_not_equal(one, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_most_is_kept_with_a_margin, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_learned_longest_ago_goes_first, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_not_used, set_up, tear_down),
		cmocka_unit_test(another_engine_is_another_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
