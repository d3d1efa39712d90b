/* test_scan.c - the pull scanner held against a real parser, and the paths that it finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "scan.h"

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
		cmocka_unit_test(the_scanner_agrees_with_a_parser),
		cmocka_unit_test(paths_name_what_ends_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
