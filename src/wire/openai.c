/* openai.c - the "model" of an OpenAI request body. Bodies are large (images inside) and all but
 * one member is the replica's: they are scanned and not built. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <gantry/wire/wire.h>

#include "doc.h"
#include "scan.h"

/* A string token as text; NULL when it is not UTF-8. */
static json_t *decode(const char *tok, size_t len)
{
	return json_loadb(tok, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static bool is_model_key(const struct gt_scan *scan)
{
	if (!memchr(scan->tok, '\\', scan->len))
		return scan->len == strlen("\"model\"") &&
		       memcmp(scan->tok, "\"model\"", scan->len) == 0;
	gt_auto(doc) json_t *key = decode(scan->tok, scan->len);

	return key && json_string_length(key) == strlen("model") &&
	       memcmp(json_string_value(key), "model", strlen("model")) == 0;
}

GT_PRINTF(3, 4)
static int refuse_model(struct gt_err *err, int code, const char *fmt, ...)
{
	char text[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	gt_err_set(err, code, code == ENOENT ? "invalid_spec" : "malformed_json", "model: %s",
		   text);
	gt_err_path(err, "model");
	return -code;
}

static int take_model(const struct gt_scan *scan, enum gt_token token, char *out,
		      struct gt_err *err)
{
	if (token != GT_TOKEN_STRING)
		return refuse_model(err, ENOENT, "write the name of a model as a string");
	gt_auto(doc) json_t *value = decode(scan->tok, scan->len);

	if (!value)
		return refuse_model(err, EINVAL, "the string is not valid UTF-8");
	size_t len = json_string_length(value);

	if (len == 0 || len > GT_MODEL_NAME_MAX)
		return refuse_model(err, ENOENT, "%zu bytes are no model's name; it has 1 to %d",
				    len, GT_MODEL_NAME_MAX);
	if (memchr(json_string_value(value), '\0', len))
		return refuse_model(err, ENOENT, "a NUL character is not accepted; remove it");
	memcpy(out, json_string_value(value), len + 1);
	return 0;
}

static int refuse_syntax(const char *text, const struct gt_scan *scan, struct gt_err *err)
{
	return gt_err_set(err, EINVAL, "malformed_json",
			  "byte %zu: no valid JSON, or nested deeper than %d levels",
			  (size_t)(scan->p - text), GT_SCAN_DEPTH_MAX);
}

int gt_openai_model_read(const char *text, size_t len, char *out, struct gt_err *err)
{
	char model[GT_MODEL_NAME_MAX + 1] = "";
	struct gt_scan scan;
	enum gt_token token;

	gt_scan_begin(&scan, text, len);
	do {
		token = gt_scan_next(&scan);
		if (token != GT_TOKEN_KEY || scan.depth != 1 || !is_model_key(&scan))
			continue;
		if (model[0]) /* engines differ in which of the two they take */
			return refuse_model(err, EINVAL, "given twice; keep one");
		token = gt_scan_next(&scan);
		if (token == GT_TOKEN_ERROR)
			break;
		int r = take_model(&scan, token, model, err);

		if (r < 0)
			return r;
	} while (token != GT_TOKEN_END && token != GT_TOKEN_ERROR);
	if (token == GT_TOKEN_ERROR)
		return refuse_syntax(text, &scan, err);
	if (!model[0])
		return refuse_model(err, ENOENT, "missing; name the model that is meant");
	memcpy(out, model, sizeof(model));
	return 0;
}
