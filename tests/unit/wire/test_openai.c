/* test_openai.c - what is read from the JSON body of an OpenAI request, cut in every place; what is
 * refused and where; the taps of the prompt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <gantry/base/buf.h>
#include <gantry/model/problem.h>
#include <gantry/wire/openai.h>

#define LONGEST                                                            \
	"0123456789012345678901234567890123456789012345678901234567890123" \
	"0123456789012345678901234567890123456789012345678901234567890123"

/* model NULL: refused with this text. */
static const struct {
	const char *text, *model, *refusal;
} cases[] = {
	{ "{\"model\":\"gemma3-270m\"}", "gemma3-270m", NULL },
	{ " { \"stream\" : true , \"model\" : \"org/m:1\" } ", "org/m:1", NULL },
	{ "{\"messages\":[{\"role\":\"user\",\"content\":\"\\\"model\\\":\\\"x\\\"\"}],"
	  "\"model\":\"right\",\"n\":1}",
	  "right", NULL },
	{ "{\"tools\":[{\"model\":\"inner\"}],\"a\":{\"model\":\"inner\"},\"model\":\"outer\"}",
	  "outer", NULL },
	{ "{\"model\":\"org\\/m\"}", "org/m", NULL },
	{ "{\"\\u006dodel\":\"m\"}", "m", NULL },
	{ "{\"model\":\"\\u006D\"}", "m", NULL },
	{ "{\"mode\":1,\"models\":2,\"model\\u0000\":3,\"model\":\"m\"}", "m", NULL },
	{ "{\"a\":[-0,-1.5e+3,0.25E-2,12e9,true,false,null,{},[]],\"model\":\"m\"}", "m", NULL },
	{ "{\"a\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\ud83d\\ude00\",\"model\":\"m\"}", "m",
	  NULL },
	{ "{\"model\":\"" LONGEST "\"}", LONGEST, NULL },
	{ "{\"model\":\"" LONGEST "x\"}", NULL, "model: names of models have at most 128 bytes" },
	{ "{\"model\":\"\\u00e9\"}", NULL, "model: names of models are printable ASCII" },
	{ "{\"model\":\"\xc3\xa9\"}", NULL, "model: names of models are printable ASCII" },
	{ "{\"model\":\"a\\u0000b\"}", NULL, "model: names of models are printable ASCII" },
	{ "{}", NULL, "model: missing; name the model that is meant" },
	{ "{\"a\":{\"model\":\"inner\"}}", NULL, "model: missing; name the model that is meant" },
	{ "{\"model\":7}", NULL, "model: write the name of a model as a string" },
	{ "{\"model\":null}", NULL, "model: write the name of a model as a string" },
	{ "{\"model\":{\"model\":\"x\"}}", NULL, "model: write the name of a model as a string" },
	{ "{\"model\":\"\"}", NULL, "model: empty; name the model that is meant" },
	{ "{\"model\":\"a\",\"model\":\"a\"}", NULL,
	  "byte 19: \"model\" is given twice; keep one" },
	{ "{\"model\":\"a\",\"\\u006dodel\":\"b\"}", NULL,
	  "byte 24: \"model\" is given twice; keep one" },
	{ "{\"stream\":true,\"model\":\"a\",\"stream\":false}", NULL,
	  "byte 34: \"stream\" is given twice; keep one" },
	{ "[{\"model\":\"inner\"}]", NULL, "byte 0: the body must be a JSON object" },
	{ "\"model\"", NULL, "byte 0: the body must be a JSON object" },
	{ "", NULL, "byte 0: the body must be a JSON object" },
	{ "\xef\xbb\xbf{\"model\":\"a\"}", NULL, "byte 0: the body must be a JSON object" },
	{ "{", NULL, "byte 1: the body ends inside its JSON object" },
	{ "{\"model\":\"a\"", NULL, "byte 12: the body ends inside its JSON object" },
	{ "{\"model\":", NULL, "byte 9: the body ends inside its JSON object" },
	{ "{\"model\":\"a\"}}", NULL, "byte 13: something follows the JSON object" },
	{ "{\"model\":\"a\"} x", NULL, "byte 14: something follows the JSON object" },
	{ "{\"model\":\"a\",}", NULL,
	  "byte 13: the name of a member belongs here, in double quotes" },
	{ "{\"model\" \"a\"}", NULL, "byte 9: a colon belongs here" },
	{ "{'model':'a'}", NULL, "byte 1: the name of a member belongs here, in double quotes" },
	{ "{\"a\":[1,2},\"model\":\"a\"}", NULL, "byte 9: a comma or ] belongs here" },
	{ "{\"a\":01,\"model\":\"a\"}", NULL, "byte 6: a comma or } belongs here" },
	{ "{\"a\":1.,\"model\":\"a\"}", NULL, "byte 7: a digit belongs here" },
	{ "{\"a\":-,\"model\":\"a\"}", NULL, "byte 6: a digit belongs here" },
	{ "{\"a\":tru,\"model\":\"a\"}", NULL, "byte 8: no JSON value begins like this" },
	{ "{\"a\":[,1],\"model\":\"a\"}", NULL, "byte 6: a value belongs here" },
	{ "{\"a\":\"\n\",\"model\":\"a\"}", NULL,
	  "byte 6: a control character in a string; escape it" },
	{ "{\"a\":\"\\x\",\"model\":\"a\"}", NULL, "byte 7: no such escape in a string" },
	{ "{\"a\":\"\\u12g4\",\"model\":\"a\"}", NULL,
	  "byte 10: \\u wants four hexadecimal digits" },
	{ "{\"model\":\"\xff\"}", NULL, "byte 10: not UTF-8" },
	{ "{\"a\":\"\xc0\x80\",\"model\":\"a\"}", NULL, "byte 6: not UTF-8" },
	{ "{\"a\":\"\xed\xa0\x80\",\"model\":\"a\"}", NULL, "byte 7: not UTF-8" },
	{ "{\"a\":\"\xc3\",\"model\":\"a\"}", NULL, "byte 7: not UTF-8" },
};

/* Feeds the text cut at `cut`, or byte by byte. */
static int scan(const char *text, size_t len, size_t cut, struct gt_openai_ask *ask,
		struct gt_err *err)
{
	gt_auto(openai_scan) struct gt_openai_scan *s = NULL;
	int r = 0;

	assert_int_equal(gt_openai_scan_new(NULL, 0, &s, NULL), 0);
	if (cut == SIZE_MAX)
		for (size_t i = 0; i < len && r == 0; i++)
			r = gt_openai_scan_feed(s, text + i, 1, err);
	else
		r = gt_openai_scan_feed(s, text, cut, err);
	if (cut != SIZE_MAX && r == 0)
		r = gt_openai_scan_feed(s, text + cut, len - cut, err);
	if (r == 0)
		r = gt_openai_scan_end(s, err);
	else
		assert_int_equal(gt_openai_scan_end(s, NULL), r); /* told again */
	*ask = *gt_openai_scan_ask(s);
	return r;
}

static void expect(size_t i, size_t cut)
{
	struct gt_openai_ask ask;
	struct gt_err err = { 0 };
	int r = scan(cases[i].text, strlen(cases[i].text), cut, &ask, &err);

	if (cases[i].model) {
		if (r < 0)
			fail_msg("%s cut at %zu: %s", cases[i].text, cut, err.text);
		assert_string_equal(ask.model, cases[i].model);
		return;
	}
	if (r == 0 || strcmp(err.text, cases[i].refusal) != 0)
		fail_msg("%s cut at %zu: %s", cases[i].text, cut, err.text);
	assert_non_null(gt_problem_kind(err.slug));
	assert_int_equal(r, strncmp(err.text, "model: ", 7) ? -EINVAL : -ENOENT);
	assert_string_equal(err.path, r == -ENOENT ? "model" : "");
}

static void the_top_level_model_is_read_at_any_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
			expect(i, cut);
		expect(i, SIZE_MAX);
	}
}

static void the_model_is_known_as_soon_as_it_was_read(void **state)
{
	(void)state;
	static const char text[] =
		"{\"stream\":true,\"model\":\"m\",\"messages\":[{\"content\":\"x";
	gt_auto(openai_scan) struct gt_openai_scan *s = NULL;
	size_t known = (size_t)(strstr(text, ",\"messages") - text);

	assert_int_equal(gt_openai_scan_new("application/json", 16, &s, NULL), 0);
	for (size_t i = 0; text[i]; i++) {
		assert_int_equal(gt_openai_scan_feed(s, text + i, 1, NULL), 0);
		assert_int_equal(gt_openai_scan_ask(s)->model[0] != '\0', i + 1 >= known);
	}
	assert_true(gt_openai_scan_ask(s)->stream);
}

static bool streams(const char *text)
{
	struct gt_openai_ask ask;

	assert_int_equal(scan(text, strlen(text), 0, &ask, NULL), 0);
	return ask.stream;
}

static void stream_is_the_outermost_true(void **state)
{
	(void)state;
	assert_true(streams("{\"model\":\"m\",\"stream\":true}"));
	assert_true(streams("{\"\\u0073tream\":true,\"model\":\"m\"}"));
	assert_false(streams("{\"model\":\"m\",\"stream\":false}"));
	assert_false(streams("{\"model\":\"m\",\"stream\":null}"));
	assert_false(streams("{\"model\":\"m\",\"stream\":\"true\"}"));
	assert_false(streams("{\"model\":\"m\",\"a\":{\"stream\":true}}"));
	assert_false(streams("{\"model\":\"m\",\"a\":true}"));
}

static void a_huge_body_is_scanned(void **state)
{
	(void)state;
	size_t size = 32 * GT_MIB;
	static const char head[] = "{\"messages\":[{\"content\":\"data:image/png;base64,";
	static const char tail[] = "\"}],\"model\":\"m\"}";
	gt_auto(free) char *text = gt_alloc(size);
	struct gt_openai_ask ask;

	memset(text, 'A', size);
	memcpy(text, head, strlen(head));
	memcpy(text + size - strlen(tail), tail, strlen(tail));
	assert_int_equal(scan(text, size, size / 3, &ask, NULL), 0);
	assert_string_equal(ask.model, "m");
	assert_int_equal(ask.prompt.n, GT_PROMPT_TAPS);
	assert_int_equal(ask.prompt.bytes, size - strlen("{\"messages\":,\"model\":\"m\"}"));
}

static void deep_bodies_have_a_limit(void **state)
{
	(void)state;
	static const unsigned depths[] = { GT_OPENAI_DEPTH_MAX, GT_OPENAI_DEPTH_MAX + 1, 100000 };

	for (size_t i = 0; i < GT_LEN(depths); i++) {
		gt_auto(buf) struct gt_buf text = { 0 };
		struct gt_openai_ask ask;
		struct gt_err err = { 0 };

		gt_buf_adds(&text, "{\"model\":\"m\",\"a\":");
		for (unsigned k = 1; k < depths[i]; k++)
			gt_buf_addc(&text, '[');
		for (unsigned k = 1; k < depths[i]; k++)
			gt_buf_addc(&text, ']');
		gt_buf_addc(&text, '}');
		int r = scan(text.data, text.len, SIZE_MAX, &ask, &err);

		assert_int_equal(r, depths[i] <= GT_OPENAI_DEPTH_MAX ? 0 : -EINVAL);
		assert_true(r == 0 || strstr(err.text, "byte 528: nested deeper"));
	}
}

/* Mutations of a body: what is JSON, and what it says, must be what jansson says. */
static void the_scanner_agrees_with_a_parser(void **state)
{
	(void)state;
	static const char seed[] =
		"{\"a\":[1,-2.5e3,null,\"x\\n\\u0041\"],\"model\":\"m\",\"b\":{}, "
		"\"stream\" :true}";
	static const char bytes[] = "{}[]\",:\\ntrue0123-+.eE \nmodel";
	unsigned accepted = 0;

	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		char text[sizeof(seed)];
		struct gt_openai_ask ask;
		struct gt_err err = { 0 };
		json_error_t e;

		memcpy(text, seed, sizeof(seed));
		for (unsigned k = 0; k < 1 + i % 3; k++)
			text[(unsigned)random() % (sizeof(seed) - 1)] =
				bytes[(unsigned)random() % (sizeof(bytes) - 1)];
		int r = scan(text, strlen(text), (size_t)random() % strlen(text), &ask, &err);
		json_t *js = json_loads(text, JSON_ALLOW_NUL, &e);
		bool object = json_is_object(js);
		bool stopped = r == -ENOENT ||
			       strstr(err.text, "twice"); /* at a member, unread rest */

		/* Lone surrogates and numbers out of range are JSON by its grammar. */
		if (!stopped && object != (r == 0) && !strstr(e.text, "\\u") &&
		    !strstr(e.text, "overflow"))
			fail_msg("%s: scan %d %s, jansson %s", text, r, err.text, e.text);
		if (r == 0 && object) {
			assert_string_equal(ask.model,
					    json_string_value(json_object_get(js, "model")));
			assert_int_equal(ask.stream, json_is_true(json_object_get(js, "stream")));
			accepted++;
		}
		json_decref(js);
	}
	assert_true(accepted > 1000);
}

/* ---- taps ---- */

static struct gt_prompt_taps taps_of(const char *prompt, size_t cut)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_openai_ask ask;

	gt_buf_addf(&text, "{\"prompt\":\"%s\",\"model\":\"m\"}", prompt);
	assert_int_equal(scan(text.data, text.len, cut, &ask, NULL), 0);
	return ask.prompt;
}

static void equal_prefixes_have_equal_taps(void **state)
{
	(void)state;
	enum { BLOCKS = 5 };
	char a[BLOCKS * GT_PROMPT_BLOCK], b[sizeof(a)];

	for (size_t i = 0; i < sizeof(a) - 1; i++)
		a[i] = (char)('a' + i * 7 % 26);
	a[sizeof(a) - 1] = '\0';
	struct gt_prompt_taps whole = taps_of(a, 0);

	assert_int_equal(whole.n, BLOCKS); /* with the quotes */
	assert_int_equal(whole.bytes, sizeof(a) + 1);
	for (size_t cut = 0; cut < sizeof(a); cut += 13) {
		struct gt_prompt_taps again = taps_of(a, cut);

		assert_memory_equal(&again, &whole, sizeof(whole));
	}
	for (size_t at = 0; at < sizeof(a) - 1; at += 97) {
		memcpy(b, a, sizeof(a));
		b[at] = 'Z';
		struct gt_prompt_taps other = taps_of(b, SIZE_MAX);

		for (size_t i = 0; i < BLOCKS; i++)
			assert_int_equal(other.tap[i] == whole.tap[i],
					 at + 1 >= (i + 1) * GT_PROMPT_BLOCK);
	}
}

static void only_the_prompt_is_hashed(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{\"model\":\"m\",\"messages\":[{\"content\":\"hello\"}],\"seed\":1}",
		"{\"a\":{\"prompt\":\"x\"},\"messages\" : "
		"[{\"content\":\"hello\"}],\"model\":\"m\"}",
	};

	for (size_t i = 0; i < GT_LEN(texts); i++) {
		struct gt_openai_ask ask;

		assert_int_equal(scan(texts[i], strlen(texts[i]), SIZE_MAX, &ask, NULL), 0);
		assert_int_equal(ask.prompt.bytes, strlen("[{\"content\":\"hello\"}]"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_top_level_model_is_read_at_any_cut),
		cmocka_unit_test(the_model_is_known_as_soon_as_it_was_read),
		cmocka_unit_test(stream_is_the_outermost_true),
		cmocka_unit_test(a_huge_body_is_scanned),
		cmocka_unit_test(deep_bodies_have_a_limit),
		cmocka_unit_test(the_scanner_agrees_with_a_parser),
		cmocka_unit_test(equal_prefixes_have_equal_taps),
		cmocka_unit_test(only_the_prompt_is_hashed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
