/* test_units.c - numbers are read strictly and written exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/units.h>

struct row {
	const char *text;
	int result;
	uint64_t value;
};

static void check(int (*parse)(const char *, uint64_t *), const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t got = 12345;
		int r = parse(rows[i].text, &got);

		if (r != rows[i].result || got != (r < 0 ? 12345 : rows[i].value))
			fail_msg("\"%s\": %d, %llu", rows[i].text, r, (unsigned long long)got);
	}
}

static int parse_below_1000(const char *s, uint64_t *ret)
{
	return gt_parse_u64(s, 1000, ret);
}

static int parse_any(const char *s, uint64_t *ret)
{
	return gt_parse_u64(s, UINT64_MAX, ret);
}

static void counts(void **state)
{
	static const struct row small[] = {
		{ "0", 0, 0 },          { "007", 0, 7 },       { "1000", 0, 1000 },
		{ "1001", -ERANGE, 0 }, { "", -EINVAL, 0 },    { "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },   { " 1", -EINVAL, 0 },  { "1 ", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 }, { "1e3", -EINVAL, 0 }, { NULL, -EINVAL, 0 },
	};
	static const struct row big[] = {
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
	};

	(void)state;
	check(parse_below_1000, small, GT_LEN(small));
	check(parse_any, big, GT_LEN(big));
}

static void durations(void **state)
{
	static const struct row rows[] = {
		{ "1500ms", 0, 1500 },   { "90s", 0, 90000 },
		{ "10m", 0, 600000 },    { "2h", 0, 7200000 },
		{ "1d", 0, 86400000 },   { "0s", 0, 0 },
		{ "5", -EINVAL, 0 },     { "", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },     { "5 s", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },  { "-5s", -EINVAL, 0 },
		{ "5S", -EINVAL, 0 },    { "5sx", -EINVAL, 0 },
		{ "1h30m", -EINVAL, 0 }, { "300000000000000000d", -ERANGE, 0 },
	};

	(void)state;
	check(gt_parse_duration_ms, rows, GT_LEN(rows));
}

static void sizes(void **state)
{
	static const struct row rows[] = {
		{ "512", 0, 512 },
		{ "64KiB", 0, 65536 },
		{ "20MiB", 0, 20971520 },
		{ "1GiB", 0, 1073741824 },
		{ "2TiB", 0, 2 * 1024 * GT_GIB },
		{ "64KB", 0, 64000 },
		{ "20MB", 0, 20000000 },
		{ "1GB", 0, 1000000000 },
		{ "1kib", -EINVAL, 0 },
		{ "1 KiB", -EINVAL, 0 },
		{ "KiB", -EINVAL, 0 },
		{ "1K", -EINVAL, 0 },
		{ "1.5GiB", -EINVAL, 0 },
		{ "16777216TiB", -ERANGE, 0 },
		{ "16777215TiB", 0, 16777215ULL * 1024 * GT_GIB },
	};

	(void)state;
	check(gt_parse_bytes, rows, GT_LEN(rows));
}

static void formatting_is_exact_and_reads_back(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} durations_ms[] = {
		{ 0, "0s" },        { 1500, "1500ms" }, { 90000, "90s" },   { 60000, "1m" },
		{ 5400000, "90m" }, { 7200000, "2h" },  { 86400000, "1d" },
	};
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes_bytes[] = {
		{ 0, "0" },
		{ 1000, "1000" },
		{ 1024, "1KiB" },
		{ 64 * GT_MIB, "64MiB" },
		{ 1536 * GT_MIB, "1536MiB" },
		{ 2048 * GT_GIB, "2TiB" },
		{ UINT64_MAX, "18446744073709551615" },
	};
	char out[32];
	uint64_t back;

	(void)state;
	for (size_t i = 0; i < GT_LEN(durations_ms); i++) {
		gt_format_duration_ms(durations_ms[i].ms, out, sizeof(out));
		assert_string_equal(out, durations_ms[i].text);
		assert_int_equal(gt_parse_duration_ms(out, &back), 0);
		assert_int_equal(back, durations_ms[i].ms);
	}
	for (size_t i = 0; i < GT_LEN(sizes_bytes); i++) {
		gt_format_bytes(sizes_bytes[i].bytes, out, sizeof(out));
		assert_string_equal(out, sizes_bytes[i].text);
		assert_int_equal(gt_parse_bytes(out, &back), 0);
		assert_int_equal(back, sizes_bytes[i].bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(durations),
		cmocka_unit_test(sizes),
		cmocka_unit_test(formatting_is_exact_and_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
