#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli.h"
#include "table.h"

static char *printed(const struct gt_table *t, bool color)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	gt_table_print(t, f, color);
	fclose(f);
	return text;
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
	static const char *const headers[] = { "NAME", ">N", "LAST" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(free) char *text = NULL;

	(void)state;
	gt_table_cell(t, "a");
	gt_table_cellf(t, "%d", 12345);
	gt_table_cell(t, "x");
	gt_table_cell(t, "gr\303\274n-name");
	gt_table_cellf(t, "%d", 7);
	gt_table_cell(t, NULL);
	assert_int_equal(gt_table_rows(t), 2);
	text = printed(t, false);
	assert_string_equal(text, "NAME           N  LAST\n"
				  "a          12345  x\n"
				  "gr\303\274n-name      7  -\n");
}

static void what_nobody_fills_is_left_out(void **state)
{
	static const char *const headers[] = { "A", "?B", "?C", "D" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(free) char *text = NULL;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		gt_table_cell(t, "1");
		gt_table_cell(t, "");
		gt_table_cell(t, i ? "x" : NULL);
		gt_table_cell(t, "");
	}
	text = printed(t, false);
	assert_string_equal(text, "A  C  D\n1  -  -\n1  x  -\n");
}

static void an_empty_table_has_a_header(void **state)
{
	static const char *const headers[] = { "NAME", "STATE" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(free) char *text = printed(t, false);

	(void)state;
	assert_string_equal(text, "NAME  STATE\n");
}

static void states_have_colours_that_do_not_shift_columns(void **state)
{
	static const char *const headers[] = { "STATE", "X" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(free) char *text = NULL;

	(void)state;
	gt_table_cell(t, "ready");
	gt_table_cell(t, "y");
	gt_table_cell(t, "other");
	gt_table_cell(t, "y");
	text = printed(t, true);
	assert_string_equal(text, "\033[1mSTATE\033[0m  \033[1mX\033[0m\n"
				  "\033[32mready\033[0m  y\nother  y\n");
}

static void control_characters_never_reach_a_terminal(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain\ttab", "plain\ttab" },
		{ "\033[31mred\a", "?[31mred?" },
		{ "a\nb\r", "a?b?" },
		{ "\302\233c1", "?c1" }, /* CSI as one C1 character */
		{ "\303\244\342\202\254\360\237\230\200", "\303\244\342\202\254\360\237\230\200" },
		{ "\377\303", "??" }, /* no UTF-8 */
		{ "\300\257", "??" }, /* overlong */
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(free) char *clean = gt_text_clean(cases[i].in);
		assert_string_equal(clean, cases[i].out);
	}
}

static void times_are_read_strictly(void **state)
{
	uint64_t ms = 0;

	(void)state;
	assert_int_equal(gt_time_read("2026-11-23T18:40:12.345Z", &ms), 0);
	assert_int_equal(ms, 1795459212345ULL);
	assert_int_equal(gt_time_read("1970-01-01T00:00:01Z", &ms), 0);
	assert_int_equal(ms, 1000);
	assert_int_equal(gt_time_read("2026-11-23 18:40", &ms), -EINVAL);
	assert_int_equal(gt_time_read("2026-11-23T18:40:12+01:00", &ms), -EINVAL);
	assert_int_equal(gt_time_read("", &ms), -EINVAL);
}

static void ages_are_short(void **state)
{
	static const struct {
		uint64_t now_s;
		const char *text;
	} cases[] = { { 0, "0s" },         { 119, "119s" },        { 120, "2m" },
		      { 7199, "119m" },    { 2 * 3600, "2h" },     { 47 * 3600, "47h" },
		      { 48 * 3600, "2d" }, { 400 * 86400, "400d" } };
	char text[16];

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_age_text("1970-01-01T00:00:00.000Z", cases[i].now_s * 1000, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
	gt_age_text("never", 5, text, sizeof(text));
	assert_string_equal(text, "");
	gt_age_text(NULL, 5, text, sizeof(text));
	assert_string_equal(text, "");
}

static void durations_have_three_digits(void **state)
{
	char text[24];

	(void)state;
	gt_ms_text(0.417, text, sizeof(text));
	assert_string_equal(text, "0.42 ms");
	gt_ms_text(12.34, text, sizeof(text));
	assert_string_equal(text, "12.3 ms");
	gt_ms_text(1840, text, sizeof(text));
	assert_string_equal(text, "1.84 s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(what_nobody_fills_is_left_out),
		cmocka_unit_test(an_empty_table_has_a_header),
		cmocka_unit_test(states_have_colours_that_do_not_shift_columns),
		cmocka_unit_test(control_characters_never_reach_a_terminal),
		cmocka_unit_test(times_are_read_strictly),
		cmocka_unit_test(ages_are_short),
		cmocka_unit_test(durations_have_three_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
