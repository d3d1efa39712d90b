/* test_openai_form.c - model and stream in multipart/form-data, cut in every place, and the forms
 * that are refused because two readers could take them for different ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/model/problem.h>
#include <gantry/wire/openai.h>

#define TYPE "multipart/form-data; boundary=XyZ"
#define PART(name, value) \
	"--XyZ\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_PART(value)                                                                       \
	"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b.wav\"\r\n" \
	"Content-Type: audio/wav\r\n\r\n" value "\r\n"
#define LAST "--XyZ--\r\n"

struct verdict {
	int r;
	struct gt_openai_ask ask;
	struct gt_err err;
};

static struct verdict scan(const char *text, size_t cut)
{
	gt_auto(openai_scan) struct gt_openai_scan *s = NULL;
	struct verdict v = { 0 };
	size_t len = strlen(text);

	assert_int_equal(gt_openai_scan_new(TYPE, strlen(TYPE), &s, NULL), 0);
	if (cut == SIZE_MAX)
		for (size_t i = 0; i < len && v.r == 0; i++)
			v.r = gt_openai_scan_feed(s, text + i, 1, &v.err);
	else
		v.r = gt_openai_scan_feed(s, text, cut, &v.err);
	if (cut != SIZE_MAX && v.r == 0)
		v.r = gt_openai_scan_feed(s, text + cut, len - cut, &v.err);
	if (v.r == 0)
		v.r = gt_openai_scan_end(s, &v.err);
	v.ask = *gt_openai_scan_ask(s);
	return v;
}

static const struct {
	const char *text, *model;
	bool stream;
} good[] = {
	{ PART("model", "whisper-1") LAST, "whisper-1", false },
	{ PART("model", "whisper-1") "--XyZ--", "whisper-1", false }, /* no CRLF after the last */
	{ FILE_PART("RIFF\r\n--XyA\r\r\n--Xy\n--XyZ") PART("model", "m") LAST, "m", false },
	{ FILE_PART("") PART("model", "m") LAST, "m", false },
	{ PART("stream", "true") PART("model", "m") LAST, "m", true },
	{ PART("stream", "false") PART("model", "m") LAST, "m", false },
	{ PART("models", "a") PART("model", "m") PART("mode", "b") LAST, "m", false },
	{ "--XyZ\r\ncontent-type: text/plain\r\nCONTENT-DISPOSITION: Form-Data;name=model\r\n\r\nm"
	  "\r\n" LAST,
	  "m", false },
	{ PART("file", "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nno\r\r\n-")
		  PART("model", "m") LAST,
	  NULL, false }, /* the first line of the value is no boundary: no CRLF before it */
};

static void fields_are_read_at_any_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(good); i++)
		for (size_t cut = 0; cut <= strlen(good[i].text) + 1; cut++) {
			size_t at = cut > strlen(good[i].text) ? SIZE_MAX : cut;
			struct verdict v = scan(good[i].text, at);

			if (v.r < 0)
				fail_msg("%s cut at %zu: %s", good[i].text, cut, v.err.text);
			assert_string_equal(v.ask.model, good[i].model ? good[i].model : "m");
			assert_int_equal(v.ask.stream, good[i].stream);
		}
}

static const struct {
	const char *text, *refusal;
} bad[] = {
	{ "", "byte 0: the body ends before its last boundary" },
	{ "x" PART("model", "m") LAST, "byte 0: the body must begin with its boundary" },
	{ "\r\n" PART("model", "m") LAST, "byte 0: the body must begin with its boundary" },
	{ "--XyY\r\n", "byte 4: the body must begin with its boundary" },
	{ PART("model", "m"), "byte 58: the body ends before its last boundary" },
	{ PART("model", "m") LAST "x", "byte 67: something follows the last boundary" },
	{ PART("model", "m") LAST PART("model", "n") LAST,
	  "byte 67: something follows the last boundary" },
	{ PART("model", "m") "--XyZ-\r\n", "byte 64: a boundary must stand alone on its line" },
	{ PART("model", "m") "--XyZ \r\n", "byte 63: a boundary must stand alone on its line" },
	{ "--XyZ\n", "byte 5: a boundary must stand alone on its line" },
	{ PART("model", "m") PART("model", "n") LAST,
	  "byte 112: model or stream is given twice; keep one" },
	{ "--XyZ\r\n\r\nm\r\n" LAST, "byte 8: a part has no Content-Disposition" },
	{ "--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; "
	  "name=\"model\"\r\n\r\nm\r\n" LAST,
	  "byte 94: Content-Disposition is given twice in a part" },
	{ "--XyZ\r\nContent-Disposition: form-data; name=\"a\";\r\n "
	  "name=\"model\"\r\n\r\nm\r\n" LAST,
	  "byte 49: a part's Content-Disposition is not well formed, or has no name" },
	{ "--XyZ\r\nA: b\r\n folded: c\r\n",
	  "byte 24: a header line of a part is no \"Name: value\"" },
	{ "--XyZ\r\nA : b\r\n", "byte 13: a header line of a part is no \"Name: value\"" },
	{ "--XyZ\r\nA: b\n", "byte 11: a control character in a part's header" },
	{ "--XyZ\r\nA: b\rC", "byte 12: a CR without LF" },
	{ "--XyZ\r\nContent-Disposition: attachment; name=\"model\"\r\n",
	  "byte 53: a part's Content-Disposition must be form-data" },
	{ "--XyZ\r\nContent-Disposition: form-data; name=\"a\"; name=\"model\"\r\n",
	  "byte 62: a part must have one name" },
	{ "--XyZ\r\nContent-Disposition: form-data; name*=utf-8''model\r\n",
	  "byte 58: a part must have one name" },
	{ "--XyZ\r\nContent-Disposition: form-data; name=\"mo\\del\"\r\n",
	  "byte 53: escapes in the name of a part are not accepted" },
	{ "--XyZ\r\nContent-Disposition: form-data; name=\"model\"; "
	  "filename=\"x\"\r\n\r\nm\r\n" LAST,
	  "byte 66: model and stream are fields, not files" },
	{ PART("model", "") LAST, "model: empty; name the model that is meant" },
	{ PART("model", "m\r\n") LAST, "model: names of models are printable ASCII" },
	{ PART("a", "m") LAST, "model: missing; name the model that is meant" },
};

static void ambiguous_forms_are_refused_at_any_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++)
		for (size_t cut = 0; cut <= strlen(bad[i].text) + 1; cut++) {
			size_t at = cut > strlen(bad[i].text) ? SIZE_MAX : cut;
			struct verdict v = scan(bad[i].text, at);

			if (v.r == 0 || strcmp(v.err.text, bad[i].refusal) != 0)
				fail_msg("%s cut at %zu: %s", bad[i].text, cut, v.err.text);
			assert_non_null(gt_problem_kind(v.err.slug));
		}
}

static void boundaries_are_checked(void **state)
{
	(void)state;
	static const struct {
		const char *type;
		bool ok;
	} types[] = {
		{ "multipart/form-data; boundary=a", true },
		{ "Multipart/Form-Data;boundary=\"a b'()+_,-./:=?\"; charset=utf-8", true },
		{ "multipart/form-data; boundary="
		  "0123456789012345678901234567890123456789012345678901234567890123456789",
		  true },
		{ "multipart/form-data; boundary="
		  "01234567890123456789012345678901234567890123456789012345678901234567890",
		  false },
		{ "multipart/form-data", false },
		{ "multipart/form-data;", false },
		{ "multipart/form-data; boundary=", false },
		{ "multipart/form-data; boundary=\"\"", false },
		{ "multipart/form-data; boundary=\"a \"", false },
		{ "multipart/form-data; boundary=\"a", false },
		{ "multipart/form-data; boundary=\"a\\", false },
		{ "multipart/form-data; boundary=\"a\\b\"", false },
		{ "multipart/form-data; boundary=a; boundary=b", false },
		{ "multipart/form-data; boundary=a{", false },
		{ "multipart/form-data boundary=a", false },
		{ "multipart/form-dataX", true }, /* read as JSON */
		{ "application/json; charset=utf-8", true },
	};

	for (size_t i = 0; i < GT_LEN(types); i++) {
		gt_auto(openai_scan) struct gt_openai_scan *s = NULL;
		struct gt_err err = { 0 };
		int r = gt_openai_scan_new(types[i].type, strlen(types[i].type), &s, &err);

		if ((r == 0) != types[i].ok)
			fail_msg("%s: %d", types[i].type, r);
		if (r < 0)
			assert_string_equal(err.slug, "malformed_request");
	}
}

static void heads_have_limits(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf lines = { 0 }, wide = { 0 };

	gt_buf_adds(&lines, "--XyZ\r\n");
	for (int i = 0; i < 17; i++)
		gt_buf_adds(&lines, "A: b\r\n");
	assert_non_null(strstr(scan(lines.data, 0).err.text, "more than 16 headers"));
	gt_buf_adds(&wide, "--XyZ\r\nA: ");
	for (int i = 0; i < 1024; i++)
		gt_buf_addc(&wide, 'x');
	assert_non_null(strstr(scan(wide.data, 0).err.text, "longer than 1024 bytes"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_read_at_any_cut),
		cmocka_unit_test(ambiguous_forms_are_refused_at_any_cut),
		cmocka_unit_test(boundaries_are_checked),
		cmocka_unit_test(heads_have_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
