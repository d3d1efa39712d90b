/* test_json.c - the writer: commas, escapes, broken UTF-8, numbers, speed of shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <gantry/wire/json.h>

#define FFFD "\xef\xbf\xbd"

static void nesting_sets_commas_by_itself(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "a", "x");
	gt_json_array(&j, "b");
	gt_json_u64(&j, NULL, 1);
	gt_json_object(&j, NULL);
	gt_json_close(&j, '}');
	gt_json_array(&j, NULL);
	gt_json_bool(&j, NULL, true);
	gt_json_null(&j, NULL);
	gt_json_close(&j, ']');
	gt_json_close(&j, ']');
	gt_json_str(&j, "c", NULL);
	gt_json_raw(&j, "d", "{\"e\":1}");
	gt_json_close(&j, '}');
	assert_string_equal(gt_buf_str(&out),
			    "{\"a\":\"x\",\"b\":[1,{},[true,null]],\"c\":null,\"d\":{\"e\":1}}");
	assert_int_equal(j.depth, 0);
}

static void numbers_are_exact(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &out);
	gt_json_array(&j, NULL);
	gt_json_u64(&j, NULL, 0);
	gt_json_u64(&j, NULL, UINT64_MAX);
	gt_json_i64(&j, NULL, INT64_MIN);
	gt_json_i64(&j, NULL, INT64_MAX);
	gt_json_num(&j, NULL, 0.5);
	gt_json_num(&j, NULL, 4);
	gt_json_num(&j, NULL, 100);
	gt_json_num(&j, NULL, 1.23456);
	gt_json_num(&j, NULL, -0.0001);
	gt_json_num(&j, NULL, -2.5);
	gt_json_close(&j, ']');
	assert_string_equal(gt_buf_str(&out), "[0,18446744073709551615,-9223372036854775808,"
					      "9223372036854775807,0.5,4,100,1.235,0,-2.5]");
	out.len = 0;
	gt_json_begin(&j, &out);
	gt_json_num(&j, NULL, 1.7976931348623157e308);
	assert_int_equal(out.len, 309);
}

static void strings_are_escaped_and_repaired(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "a\"b\\c/d", "a\\\"b\\\\c/d" },
		{ "\b\f\n\r\t", "\\b\\f\\n\\r\\t" },
		{ "\x01\x1f\x7f", "\\u0001\\u001f\x7f" },
		{ "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x80",
		  "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x80" },
		{ "\xff", FFFD },
		{ "a\x80z", "a" FFFD "z" },
		{ "\xc3", FFFD },                            /* cut at the end */
		{ "\xc3z", FFFD "z" },                       /* no continuation */
		{ "\xc0\xaf", FFFD FFFD },                   /* overlong / */
		{ "\xe0\x80\xaf", FFFD FFFD FFFD },          /* overlong in three */
		{ "\xed\xa0\x80", FFFD FFFD FFFD },          /* a surrogate */
		{ "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD }, /* above U+10FFFF */
		{ "\xf0\x9f\x9a", FFFD FFFD FFFD },          /* cut */
		{ "\xef\xbf\xbf\xf4\x8f\xbf\xbf", "\xef\xbf\xbf\xf4\x8f\xbf\xbf" },
	};

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(buf) struct gt_buf out = { 0 }, wanted = { 0 };
		struct gt_json j;

		gt_json_begin(&j, &out);
		gt_json_str(&j, NULL, cases[i].in);
		gt_buf_addf(&wanted, "\"%s\"", cases[i].out);
		assert_string_equal(gt_buf_str(&out), gt_buf_str(&wanted));
	}
}

static void every_pair_of_bytes_becomes_valid_json(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &out);
	gt_json_array(&j, NULL);
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++)
			gt_json_strn(&j, NULL, (const char[]){ (char)a, (char)b }, 2);
	gt_json_close(&j, ']');
	json_t *js = json_loadb(out.data, out.len, JSON_ALLOW_NUL, NULL);

	assert_non_null(js);
	assert_int_equal(json_array_size(js), 65536);
	json_decref(js);
}

static void names_are_escaped_too(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &out);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "a\"\n", 1);
	gt_json_close(&j, '}');
	assert_string_equal(gt_buf_str(&out), "{\"a\\\"\\n\":1}");
}

static void a_full_buffer_is_told_by_the_buffer(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf out = { .max = 8 };
	struct gt_json j;

	gt_json_begin(&j, &out);
	gt_json_str(&j, NULL, "much longer than that");
	assert_true(out.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nesting_sets_commas_by_itself),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(strings_are_escaped_and_repaired),
		cmocka_unit_test(every_pair_of_bytes_becomes_valid_json),
		cmocka_unit_test(names_are_escaped_too),
		cmocka_unit_test(a_full_buffer_is_told_by_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
