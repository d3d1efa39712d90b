/* test_openai.c - the model of an OpenAI body: where it may stand, what is not it, huge bodies; and
 * the scanner below, held against a real parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <gantry/wire/wire.h>

#include "scan.h"

#define LONGEST                                                            \
	"0123456789012345678901234567890123456789012345678901234567890123" \
	"0123456789012345678901234567890123456789012345678901234567890123"

/* model NULL: refused with code. */
static const struct {
	const char *text, *model;
	int code;
	const char *slug;
} cases[] = {
	{ "{\"model\":\"gemma3-270m\"}", "gemma3-270m", 0, NULL },
	{ " { \"stream\" : true , \"model\" : \"org/m:1\" } ", "org/m:1", 0, NULL },
	{ "{\"messages\":[{\"role\":\"user\",\"content\":\"\\\"model\\\":\\\"x\\\"\"}],"
	  "\"model\":\"right\",\"n\":1}",
	  "right", 0, NULL },
	{ "{\"tools\":[{\"model\":\"inner\"}],\"a\":{\"model\":\"inner\"},\"model\":\"outer\"}",
	  "outer", 0, NULL },
	{ "{\"model\":\"org\\/m\"}", "org/m", 0, NULL },
	{ "{\"\\u006dodel\":\"m\"}", "m", 0, NULL },
	{ "{\"mode\":1,\"models\":2,\"model\":\"m\"}", "m", 0, NULL },
	{ "{\"model\":\"\\u00e9\"}", "\xc3\xa9", 0, NULL },
	{ "{\"model\":\"" LONGEST "\"}", LONGEST, 0, NULL },
	{ "{\"model\":\"" LONGEST "x\"}", NULL, -ENOENT, "invalid_spec" },
	{ "{}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"a\":{\"model\":\"inner\"}}", NULL, -ENOENT, "invalid_spec" },
	{ "[{\"model\":\"inner\"}]", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":7}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":null}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":{\"model\":\"x\"}}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":\"\"}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":\"a\\u0000b\"}", NULL, -ENOENT, "invalid_spec" },
	{ "{\"model\":\"a\",\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"a\",\"\\u006dodel\":\"b\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"\\ud800\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"\xff\"}", NULL, -EINVAL, "malformed_json" },
	{ "", NULL, -EINVAL, "malformed_json" },
	{ "{", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"a\"", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"a\"}}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"a\"} x", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":\"a\",}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\" \"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"model\":", NULL, -EINVAL, "malformed_json" },
	{ "{'model':'a'}", NULL, -EINVAL, "malformed_json" },
	{ "{\"a\":[1,2},\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"a\":01,\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"a\":tru,\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"a\":\"\n\",\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
	{ "{\"a\":\"\\x\",\"model\":\"a\"}", NULL, -EINVAL, "malformed_json" },
};

static void the_top_level_model_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		char out[GT_MODEL_NAME_MAX + 1] = "untouched";
		struct gt_err err = { 0 };
		int r = gt_openai_model_read(cases[i].text, strlen(cases[i].text), out, &err);

		if (r != cases[i].code)
			fail_msg("%s: %d %s", cases[i].text, r, err.text);
		assert_string_equal(out, cases[i].model ? cases[i].model : "untouched");
		if (r == 0)
			continue;
		assert_string_equal(err.slug, cases[i].slug);
		assert_true(err.text[0]);
		if (r == -ENOENT)
			assert_string_equal(err.path, "model");
	}
}

static void a_huge_body_is_scanned(void **state)
{
	(void)state;
	size_t size = 32 * GT_MIB;
	static const char head[] = "{\"messages\":[{\"content\":\"data:image/png;base64,";
	static const char tail[] = "\"}],\"model\":\"m\"}";
	gt_auto(free) char *text = gt_alloc(size);
	char out[GT_MODEL_NAME_MAX + 1];
	struct gt_err err = { 0 };

	memset(text, 'A', size);
	memcpy(text, head, strlen(head));
	memcpy(text + size - strlen(tail), tail, strlen(tail));
	assert_int_equal(gt_openai_model_read(text, size, out, &err), 0);
	assert_string_equal(out, "m");
}

static void deep_bodies_have_a_limit(void **state)
{
	(void)state;
	static const unsigned depths[] = { GT_SCAN_DEPTH_MAX, GT_SCAN_DEPTH_MAX + 1, 100000 };

	for (size_t i = 0; i < GT_LEN(depths); i++) {
		gt_auto(buf) struct gt_buf text = { 0 };
		char out[GT_MODEL_NAME_MAX + 1];
		struct gt_err err = { 0 };

		gt_buf_adds(&text, "{\"model\":\"m\",\"a\":");
		for (unsigned k = 1; k < depths[i]; k++)
			gt_buf_addc(&text, '[');
		for (unsigned k = 1; k < depths[i]; k++)
			gt_buf_addc(&text, ']');
		gt_buf_addc(&text, '}');
		assert_int_equal(gt_openai_model_read(text.data, text.len, out, &err),
				 depths[i] <= GT_SCAN_DEPTH_MAX ? 0 : -EINVAL);
	}
}

static bool scan_accepts(const char *text, size_t len)
{
	struct gt_scan scan;
	enum gt_token token;

	gt_scan_begin(&scan, text, len);
	do
		token = gt_scan_next(&scan);
	while (token != GT_TOKEN_END && token != GT_TOKEN_ERROR);
	assert_int_equal(gt_scan_next(&scan), token);
	return token == GT_TOKEN_END;
}

/* Mutations of a document: the scanner must agree with jansson on what is JSON, in ASCII at least.
 */
static void the_scanner_agrees_with_a_parser(void **state)
{
	(void)state;
	static const char seed[] =
		"{\"a\":[1,-2.5e3,true,null,\"x\\n\\u0041\"],\"b\":{}, \"c\" :\"\"}";
	static const char bytes[] = "{}[]\",:\\ntrue0123-+.eE \n";
	char text[sizeof(seed)];
	unsigned accepted = 0;

	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		memcpy(text, seed, sizeof(seed));
		for (unsigned k = 0; k < 1 + i % 3; k++)
			text[(unsigned)random() % (sizeof(seed) - 1)] =
				bytes[(unsigned)random() % (sizeof(bytes) - 1)];
		json_error_t e;
		json_t *js = json_loads(text, JSON_ALLOW_NUL, &e);
		bool ok = scan_accepts(text, strlen(text));

		/* Lone surrogates and numbers out of range are JSON by its grammar. */
		if (ok != (js != NULL) &&
		    !(ok && (strstr(e.text, "\\u") || strstr(e.text, "overflow"))))
			fail_msg("scan %d, jansson %s: %s", ok, js ? "accepts" : e.text, text);
		accepted += ok;
		json_decref(js);
	}
	assert_true(accepted > 1000);
}

static void paths_name_what_ends_before(void **state)
{
	(void)state;
	static const char text[] = "{\"a\":[1,{\"b\":[[],7]}],\"c\":{\"d\":2}}";
	static const struct {
		const char *upto, *path;
	} marks[] = {
		{ "{\"a\"", "a" },
		{ "{\"a\":[1", "a[0]" },
		{ "{\"a\":[1,{\"b\"", "a[1].b" },
		{ "{\"a\":[1,{\"b\":[[]", "a[1].b[0]" },
		{ "{\"a\":[1,{\"b\":[[],7", "a[1].b[1]" },
		{ "{\"a\":[1,{\"b\":[[],7]}]", "a" },
		{ "{\"a\":[1,{\"b\":[[],7]}],\"c\":{\"d\":2", "c.d" },
		{ "{\"a\":[1,{\"b\":[[],7]}],\"c\":{\"d\":2}}", "" },
	};

	for (size_t i = 0; i < GT_LEN(marks); i++) {
		char path[64];

		gt_scan_path(text, strlen(text), strlen(marks[i].upto), path, sizeof(path));
		assert_string_equal(path, marks[i].path);
	}
	char small[6];

	gt_scan_path(text, strlen(text), strlen(marks[4].upto), small, sizeof(small));
	assert_string_equal(small, "a[1].");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_top_level_model_is_read),
		cmocka_unit_test(a_huge_body_is_scanned),
		cmocka_unit_test(deep_bodies_have_a_limit),
		cmocka_unit_test(the_scanner_agrees_with_a_parser),
		cmocka_unit_test(paths_name_what_ends_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
