/* test_table.c - what is read of good files, and what is said of bad ones. */
#include <gantry/base/buf.h>
#include <gantry/sim/table.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static char dir[] = "/tmp/gt-table.XXXXXX";
static char path[64];

static const char *file_of(const char *text, size_t len)
{
	gt_auto(file) FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	return path;
}

static const char *file(const char *text)
{
	return file_of(text, strlen(text));
}

static void assert_refused(const char *name, const char *text)
{
	gt_auto(csv) struct gt_csv *t = NULL;
	struct gt_err err = { 0 };
	int r = gt_csv_open(name, &t, &err);
	uint64_t n;
	size_t at;

	while (r == 0 && gt_csv_column(t, "gpu", &at, &err) < 0)
		r = -EINVAL;
	while (r >= 0 && (r = gt_csv_next(t, &err)) > 0)
		r = gt_csv_u64(t, at, 8, &n, &err);
	assert_true(r < 0);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void rows_and_fields(void **state)
{
	gt_auto(csv) struct gt_csv *t = NULL;
	size_t name, gpu;
	uint64_t n;
	double d;

	(void)state;
	assert_int_equal(gt_csv_open(file("\xef\xbb\xbfname,gpu,note\r\na,1,\"x, \"\"y\"\"\"\r\n\n"
					  "b,2.5e0,"),
				     &t, NULL),
			 0);
	assert_int_equal(gt_csv_column(t, "name", &name, NULL), 0);
	assert_int_equal(gt_csv_column(t, "gpu", &gpu, NULL), 0);
	assert_true(gt_csv_has(t, "note"));
	assert_false(gt_csv_has(t, "nota"));
	assert_int_equal(gt_csv_next(t, NULL), 1);
	assert_string_equal(gt_csv_text(t, name), "a");
	assert_string_equal(gt_csv_text(t, 2), "x, \"y\"");
	assert_int_equal(gt_csv_u64(t, gpu, 8, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(gt_csv_next(t, NULL), 1);
	assert_int_equal(gt_csv_line(t), 4);
	assert_int_equal(gt_csv_double(t, gpu, 8, &d, NULL), 0);
	assert_true(d == 2.5);
	assert_string_equal(gt_csv_text(t, 2), "");
	assert_int_equal(gt_csv_next(t, NULL), 0);
	assert_int_equal(gt_csv_next(t, NULL), 0);
	assert_int_equal(gt_csv_rows(t), 2);
}

static void errors_name_the_place(void **state)
{
	static const char *const rows[][2] = {
		{ "gpu\nx\n", "table.csv:2: gpu: 'x' is not a number" },
		{ "gpu\n1\n\n9\n", ":4: gpu: 9 is above 8" },
		{ "gpu\n-1\n", ":2: gpu: '-1' is not a number" },
		{ "gpu\n1\x1b[m\n", "'1?[m' is not a number" },
		{ "gpu,b\n1\n", ":2: 1 fields; the heading has 2" },
		{ "gpu,b\n1,2,3\n", ":2: 3 fields; the heading has 2" },
		{ "gpu\n\"1\n", ":2: a quoted field does not end" },
		{ "gpu\n\"1\"2\n", ":2: a quoted field does not end" },
		{ "gpus,b\n1,2\n", ":1: there is no column gpu; there are: gpus, b" },
		{ "gpu,gpu\n", ":1: gpu: the heading has it twice" },
		{ "", "is empty" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		assert_refused(file(rows[i][0]), rows[i][1]);
	assert_refused(file_of("gpu\n1\0\n", 7), ":2: a NUL byte");
	assert_refused("/tmp/no-such.csv", "/tmp/no-such.csv: No such file");
	assert_refused("/tmp", "directory");
}

static void doubles(void **state)
{
	static const char *const bad[] = { "inf", "nan", "0x1", "1e999", "-1",
					   "1 ",  " 1",  "1e",  ".",     "" };
	gt_auto(csv) struct gt_csv *t = NULL;
	gt_auto(buf) struct gt_buf text = { 0 };
	double d;

	(void)state;
	gt_buf_adds(&text, "d,e\n");
	for (size_t i = 0; i < GT_LEN(bad); i++)
		gt_buf_addf(&text, "%s,\n", bad[i]);
	assert_int_equal(gt_csv_open(file(gt_buf_str(&text)), &t, NULL), 0);
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		assert_int_equal(gt_csv_next(t, NULL), 1);
		assert_int_equal(gt_csv_double(t, 0, 1e9, &d, NULL), -EINVAL);
	}
}

static void lines_have_a_bound(void **state)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(csv) struct gt_csv *t = NULL;

	(void)state;
	gt_buf_adds(&text, "gpu\n");
	for (size_t i = 0; i < GT_TABLE_LINE_MAX; i++)
		gt_buf_addc(&text, '0');
	gt_buf_adds(&text, "\n1\n");
	assert_int_equal(gt_csv_open(file(gt_buf_str(&text)), &t, NULL), 0);
	assert_int_equal(gt_csv_next(t, NULL), 1);
	assert_int_equal(gt_csv_next(t, NULL), 1);
	assert_string_equal(gt_csv_text(t, 0), "1");
	gt_buf_reset(&text);
	gt_buf_adds(&text, "gpu\n1\n0");
	for (size_t i = 0; i < GT_TABLE_LINE_MAX; i++)
		gt_buf_addc(&text, '0');
	assert_refused(file(gt_buf_str(&text)), ":3: the line is longer than 65536 bytes");
}

static void gzip_is_the_same(void **state)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	char zipped[80], cut[4096];
	uint64_t hash[2];

	(void)state;
	gt_buf_adds(&text, "gpu\n");
	for (int i = 0; i < 200000; i++)
		gt_buf_addf(&text, "%d\n", i * 7919 % 9);
	file(gt_buf_str(&text));
	snprintf(zipped, sizeof(zipped), "%s.gz", path);
	gzFile gz = gzopen(zipped, "wb");

	assert_int_equal(gzwrite(gz, text.data, (unsigned)text.len), text.len);
	gzclose(gz);
	for (int i = 0; i < 2; i++) {
		gt_auto(csv) struct gt_csv *t = NULL;
		uint64_t n;

		assert_int_equal(gt_csv_open(i ? zipped : path, &t, NULL), 0);
		for (int k = 0; k < 200000; k++) {
			assert_int_equal(gt_csv_next(t, NULL), 1);
			assert_int_equal(gt_csv_u64(t, 0, 8, &n, NULL), 0);
			assert_int_equal(n, k * 7919 % 9);
		}
		assert_int_equal(gt_csv_next(t, NULL), 0);
		hash[i] = gt_csv_hash(t);
	}
	assert_int_equal(hash[0], hash[1]);
	gt_auto(file) FILE *f = fopen(zipped, "re");

	assert_true(fread(cut, 1, 200, f) == 200);
	assert_refused(file_of(cut, 200), "the gzip data is broken: it ends early");
	memset(cut + 60, 0x55, 100);
	assert_refused(file_of(cut, 200), "the gzip data is broken");
	unlink(zipped);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/table.csv", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_and_fields),  cmocka_unit_test(errors_name_the_place),
		cmocka_unit_test(doubles),          cmocka_unit_test(lines_have_a_bound),
		cmocka_unit_test(gzip_is_the_same),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
