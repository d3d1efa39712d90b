/* Expressions by a table; days without a time of day, and days with one twice; rules for years that
 * no table of a zone's file reaches; and what is refused. tests/e2e/test_cron.py asks Python the
 * same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <gantry/cron/cron.h>

static int64_t utc(const char *text)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);

	assert_true(end && !*end);
	return timegm(&tm);
}

static const char *text_of(int64_t t)
{
	static char text[40];
	struct tm tm;

	if (t == INT64_MAX)
		return "never";
	gmtime_r(&(time_t){ t }, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	return text;
}

static struct gt_zone *zone(const char *name)
{
	struct gt_zone *z = NULL;
	struct gt_err err = { 0 };

	if (gt_zone_read(GT_ZONE_DIR, name, &z, &err) < 0)
		fail_msg("%s", err.text);
	return z;
}

static void next_is(const char *cron, const char *name, const char *after, const char *const *want)
{
	gt_auto(zone) struct gt_zone *z = zone(name);
	struct gt_timing t = { .zone = z };
	struct gt_err err = { 0 };
	int64_t at = utc(after);

	if (gt_cron_parse(cron, &t.cron, &err) < 0)
		fail_msg("%s: %s", cron, err.text);
	for (; *want; want++) {
		at = gt_timing_next(&t, at);
		if (strcmp(text_of(at), *want) != 0)
			fail_msg("%s in %s: %s UTC, not %s", cron, name, text_of(at), *want);
	}
}
#define NEXT(cron, name, after, ...) \
	next_is(cron, name, after, (const char *const[]){ __VA_ARGS__, NULL })

static void test_expressions(void **state)
{
	(void)state;
	NEXT("* * * * *", "UTC", "2026-11-26 06:00:00", "2026-11-26 06:01:00",
	     "2026-11-26 06:02:00");
	NEXT("* * * * *", "UTC", "2026-11-26 05:59:59", "2026-11-26 06:00:00");
	NEXT("*/20 8-9 * * *", "UTC", "2026-11-26 08:30:00", "2026-11-26 08:40:00",
	     "2026-11-26 09:00:00", "2026-11-26 09:20:00", "2026-11-26 09:40:00",
	     "2026-11-27 08:00:00");
	NEXT("0 6 * * MON-fri", "UTC", "2026-11-27 06:00:00", "2026-11-30 06:00:00");
	NEXT("0 0 * * 7", "UTC", "2026-11-26 00:00:00", "2026-11-29 00:00:00");
	NEXT("0 0 * * fri-sun", "UTC", "2026-11-26 00:00:00", "2026-11-27 00:00:00",
	     "2026-11-28 00:00:00", "2026-11-29 00:00:00", "2026-12-04 00:00:00");
	NEXT("5-59/15 1 1 jan,jul *", "UTC", "2026-11-26 00:00:00", "2027-01-01 01:05:00",
	     "2027-01-01 01:20:00", "2027-01-01 01:35:00", "2027-01-01 01:50:00",
	     "2027-07-01 01:05:00");
	NEXT("@hourly", "UTC", "2026-11-26 06:00:00", "2026-11-26 07:00:00");
	NEXT("@weekly", "UTC", "2026-11-26 06:00:00", "2026-11-29 00:00:00");
	NEXT("@yearly", "UTC", "2026-11-26 06:00:00", "2027-01-01 00:00:00");
	/* one of both days is enough when neither begins with a star */
	NEXT("0 0 13 * 5", "UTC", "2026-11-01 00:00:00", "2026-11-06 00:00:00",
	     "2026-11-13 00:00:00", "2026-11-20 00:00:00", "2026-11-27 00:00:00",
	     "2026-12-04 00:00:00", "2026-12-11 00:00:00", "2026-12-13 00:00:00");
	NEXT("0 0 */2 * 5", "UTC", "2026-11-01 00:00:00", "2026-11-13 00:00:00",
	     "2026-11-27 00:00:00");
	NEXT("0 12 29 2 *", "UTC", "2097-01-01 00:00:00", "2104-02-29 12:00:00");
	NEXT("0 12 29 2 */7", "UTC", "2026-01-01 00:00:00", "2032-02-29 12:00:00",
	     "2060-02-29 12:00:00");
}

static void test_clocks_put_forward(void **state)
{
	(void)state;
	/* Berlin, 2027-03-28: 02:00 becomes 03:00 at 01:00 UTC. */
	NEXT("30 2 * * *", "Europe/Berlin", "2027-03-27 00:00:00", "2027-03-27 01:30:00",
	     "2027-03-28 01:00:00", "2027-03-29 00:30:00");
	/* all of the hour at once, and one time alone */
	NEXT("0,15,30 2,3 * * *", "Europe/Berlin", "2027-03-28 00:00:00", "2027-03-28 01:00:00",
	     "2027-03-28 01:15:00", "2027-03-28 01:30:00", "2027-03-29 00:00:00");
	/* time that passes: each hour, whatever it is called */
	NEXT("30 * * * *", "Europe/Berlin", "2027-03-27 23:45:00", "2027-03-28 00:30:00",
	     "2027-03-28 01:30:00", "2027-03-28 02:30:00");
	NEXT("*/30 2 * * *", "Europe/Berlin", "2027-03-27 02:00:00", "2027-03-29 00:00:00");
	/* Samoa left out a whole day */
	NEXT("0 9 * * *", "Pacific/Apia", "2011-12-29 00:00:00", "2011-12-29 19:00:00",
	     "2011-12-30 10:00:00", "2011-12-30 19:00:00");
}

static void test_clocks_put_back(void **state)
{
	(void)state;
	/* Berlin, 2027-10-31: 03:00 becomes 02:00 at 01:00 UTC. */
	NEXT("30 2 * * *", "Europe/Berlin", "2027-10-30 12:00:00", "2027-10-31 00:30:00",
	     "2027-11-01 01:30:00");
	NEXT("30 * * * *", "Europe/Berlin", "2027-10-31 00:00:00", "2027-10-31 00:30:00",
	     "2027-10-31 01:30:00", "2027-10-31 02:30:00");
	NEXT("0 3 * * *", "Europe/Berlin", "2027-10-30 12:00:00", "2027-10-31 02:00:00");
	/* half an hour */
	NEXT("45 1 * * *", "Australia/Lord_Howe", "2027-04-03 00:00:00", "2027-04-03 14:45:00",
	     "2027-04-04 15:15:00");
}

/* The table of a file ends; its last line has the rule. */
static void test_far_years(void **state)
{
	(void)state;
	NEXT("30 2 * * *", "Europe/Berlin", "2090-03-25 02:00:00", "2090-03-26 01:00:00",
	     "2090-03-27 00:30:00");
	NEXT("0 12 1 1,7 *", "America/New_York", "2190-06-01 00:00:00", "2190-07-01 16:00:00",
	     "2191-01-01 17:00:00");
	NEXT("0 12 1 1,7 *", "Pacific/Auckland", "2190-06-01 00:00:00", "2190-07-01 00:00:00",
	     "2190-12-31 23:00:00");
	NEXT("0 12 1 1,7 *", "Asia/Kolkata", "2190-06-01 00:00:00", "2190-07-01 06:30:00");
}

static void test_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"* * * *",
		"* * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 13 *",
		"* * * * 8",
		"5-1 * * * *",
		"*/0 * * * *",
		"*/60 * * * *",
		"5/15 * * * *",
		"1,,2 * * * *",
		",1 * * * *",
		"1, * * * *",
		"-1 * * * *",
		"0001 * * * *",
		"* * * ja *",
		"* * * janx *",
		"jan * * * *",
		"* * L * *",
		"* * * * 5#2",
		"? * * * *",
		"@reboot",
		"@Hourly",
		"0 0 30 2 *",
		"0 0 31 2,4,6,9,11 *",
	};
	struct gt_cron c;
	char long_text[400];
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		gt_err_clear(&err);
		if (gt_cron_parse(texts[i], &c, &err) != -EINVAL)
			fail_msg("%s was taken", texts[i]);
		assert_string_equal(err.slug, "invalid_schedule");
		assert_true(err.text[0]);
	}
	memset(long_text, '1', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(gt_cron_parse(long_text, &c, NULL), -EINVAL);
}

static void test_periods(void **state)
{
	struct gt_timing t = { .every_s = 900, .since_s = 1000 };
	int64_t at[4];

	(void)state;
	assert_int_equal(gt_timing_next(&t, 0), 100); /* the clock was set back */
	assert_int_equal(gt_timing_next(&t, 1000), 1900);
	assert_int_equal(gt_timing_next(&t, 1899), 1900);
	assert_int_equal(gt_timing_next(&t, 1900), 2800);
	/* ten years of them: only the last are looked at */
	t.every_s = 1;
	assert_int_equal(gt_timing_last(&t, 2000, 400000000, 4, at), 4);
	assert_int_equal(at[0], 399999997);
	assert_int_equal(at[3], 400000000);
	assert_int_equal(gt_timing_last(&t, 400000000, 399999999, 4, at), 0);
}

static void test_last(void **state)
{
	struct gt_timing t = { 0 };
	int64_t at[3], from = utc("2016-11-26 06:00:00"), to = utc("2026-11-26 06:00:30");

	(void)state;
	assert_int_equal(gt_cron_parse("* * * * *", &t.cron, NULL), 0);
	assert_int_equal(gt_timing_last(&t, from, to, 3, at), 3);
	assert_string_equal(text_of(at[0]), "2026-11-26 05:58:00");
	assert_string_equal(text_of(at[2]), "2026-11-26 06:00:00");
	assert_int_equal(gt_timing_last(&t, to - 60, to, 3, at), 1);
	assert_int_equal(gt_cron_parse("0 0 29 2 *", &t.cron, NULL), 0);
	assert_int_equal(gt_timing_last(&t, from, to, 3, at), 2);
	assert_string_equal(text_of(at[0]), "2020-02-29 00:00:00");
	assert_string_equal(text_of(at[1]), "2024-02-29 00:00:00");
}

static void test_zone_names(void **state)
{
	static const char *const wrong[] = {
		"",         "/etc/passwd",     "../../etc/passwd", "Europe//Berlin",
		"Europe/",  "Europe/Berlin\n", "Europe",           "Nowhere/At_All",
		"tzdata.zi"
	};
	struct gt_zone *z = NULL;
	struct gt_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (gt_zone_read(GT_ZONE_DIR, wrong[i], &z, &err) >= 0)
			fail_msg("%s was taken", wrong[i]);
	assert_int_equal(gt_zone_read("/nowhere", "UTC", &z, &err), 0);
	assert_null(z);
	assert_int_equal(gt_zone_read("/nowhere", "Europe/Berlin", &z, &err), -ENOENT);
	assert_non_null(strstr(err.text, "tzdata"));
}

/* Each file of the machine is read; cut short or with a byte changed, it is refused or harmless. */
static void test_damaged_zones(void **state)
{
	char data[8192], copy[8192];
	FILE *f = fopen(GT_ZONE_DIR "/Europe/Berlin", "r");
	size_t n;
	struct gt_zone *z;

	(void)state;
	assert_non_null(f);
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	for (size_t len = 0; len < n; len++) {
		z = NULL;
		assert_int_equal(gt_zone_parse(data, len, &z, NULL), -EINVAL);
	}
	for (size_t i = 0; i < n; i++) {
		struct gt_zone_span s;

		memcpy(copy, data, n);
		copy[i] = (char)(copy[i] ^ 0x81);
		z = NULL;
		if (gt_zone_parse(copy, n, &z, NULL) == 0)
			for (int64_t t = 0; t < 4000000000; t += 40000000) {
				gt_zone_span_at(z, t, &s);
				assert_true(s.begin <= t && t < s.end);
			}
		gt_zone_free(z);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expressions),
		cmocka_unit_test(test_clocks_put_forward),
		cmocka_unit_test(test_clocks_put_back),
		cmocka_unit_test(test_far_years),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_periods),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_zone_names),
		cmocka_unit_test(test_damaged_zones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
