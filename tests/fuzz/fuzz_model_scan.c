/* fuzz_model_scan.c - bodies of OpenAI requests: any cut of the bytes gives the same verdict, model
 * and taps; what is accepted as JSON is what jansson reads, and the other way round. The first byte
 * picks the kind and the cuts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <gantry/model/problem.h>
#include <gantry/wire/openai.h>

#define FORM "multipart/form-data; boundary=XyZ"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

struct verdict {
	int r;
	struct gt_err err;
	struct gt_openai_ask ask;
};

static struct verdict scan(bool form, const char *text, size_t len, size_t step)
{
	struct gt_openai_scan *s = NULL;
	struct verdict v = { 0 };

	must(gt_openai_scan_new(form ? FORM : NULL, form ? strlen(FORM) : 0, &s, NULL) == 0);
	for (size_t at = 0; at < len && v.r == 0; at += step)
		v.r = gt_openai_scan_feed(s, text + at, step < len - at ? step : len - at, &v.err);
	if (v.r == 0)
		v.r = gt_openai_scan_end(s, &v.err);
	v.ask = *gt_openai_scan_ask(s);
	gt_openai_scan_free(s);
	return v;
}

/* Where the two may differ: jansson refuses lone surrogates and NUL in keys, numbers out of range,
 * and allows deeper nesting. */
static bool comparable(const json_error_t *e, const struct verdict *v)
{
	return !strstr(e->text, "\\u") && !strstr(e->text, "NUL") && !strstr(e->text, "overflow") &&
	       !strstr(e->text, "too big") && !strstr(v->err.text, "nested deeper");
}

static void compare(const char *text, size_t len, const struct verdict *v)
{
	json_error_t e = { 0 };

	if (memchr(text, '\0', len)) { /* never JSON; jansson passes over one after a number */
		must(v->r < 0);
		return;
	}
	json_t *js = json_loadb(text, len, JSON_ALLOW_NUL, &e);

	if (v->r == 0 && js) {
		json_t *model = json_object_get(js, "model");

		must(json_is_string(model) && !strcmp(json_string_value(model), v->ask.model));
		must(v->ask.stream == json_is_true(json_object_get(js, "stream")));
	} else if (v->r == 0) {
		must(!comparable(&e, v));
	} else if (json_is_object(js) && !strcmp(v->err.slug, "malformed_json")) {
		must(strstr(v->err.text, "twice") || !comparable(&e, v));
	}
	json_decref(js);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1)
		return 0;
	bool form = data[0] & 1;
	const char *text = (const char *)data + 1;
	struct verdict whole = scan(form, text, len - 1, len);
	size_t steps[] = { 1, (data[0] >> 1) + 2u };

	for (size_t i = 0; i < 2; i++) {
		struct verdict cut = scan(form, text, len - 1, steps[i]);

		must(cut.r == whole.r && !strcmp(cut.err.text, whole.err.text));
		must(whole.r < 0 || !memcmp(&cut.ask, &whole.ask, sizeof(cut.ask)));
	}
	if (whole.r == 0)
		must(whole.ask.model[0]);
	else
		must(whole.err.text[0] && gt_problem_kind(whole.err.slug));
	if (!form)
		compare(text, len - 1, &whole);
	return 0;
}
