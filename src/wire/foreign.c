/* foreign.c - members of documents that others define. */
#include "foreign.h"

#include <string.h>

#include "fields.h"
#include "scan.h"

/* A value costs up to a few hundred bytes once it is built, and two in the text. */
#define TOKENS_MAX 100000

int gt_foreign_parse(const char *text, size_t len, size_t max, json_t **ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	struct gt_scan scan;
	enum gt_token token;
	size_t n = 0;

	gt_scan_begin(&scan, text, len <= max ? len : 0);
	do {
		token = gt_scan_next(&scan);
		if (++n > TOKENS_MAX)
			return gt_refuse(err, "", "more than %d values", TOKENS_MAX);
	} while (token != GT_TOKEN_END && token != GT_TOKEN_ERROR);
	int r = gt_doc_parse(text, len, max, &js, err);

	if (r < 0)
		return r;
	if (!json_is_object(js))
		return gt_field_refuse_type(NULL, js, "an object", err);
	*ret = gt_steal(&js);
	return 0;
}

int gt_foreign_get(const json_t *obj, const struct gt_at *at, const char *name, json_type type,
		   json_t **ret, struct gt_err *err)
{
	static const char *const names[] = { [JSON_OBJECT] = "an object",
					     [JSON_ARRAY] = "an array",
					     [JSON_STRING] = "a string",
					     [JSON_INTEGER] = "a whole number" };
	json_t *js = json_object_get(obj, name);
	struct gt_at here = { at, name, 0 };

	if (js && !json_is_null(js) && json_typeof(js) != type)
		return gt_field_refuse_type(&here, js, names[type], err);
	*ret = json_is_null(js) ? NULL : js;
	return 0;
}

int gt_foreign_text(const json_t *obj, const struct gt_at *at, const char *name, size_t max,
		    const char **ret, struct gt_err *err)
{
	struct gt_at here = { at, name, 0 };
	json_t *js = NULL;
	int r = gt_foreign_get(obj, at, name, JSON_STRING, &js, err);

	if (r < 0)
		return r;
	*ret = NULL;
	return js ? gt_field_text(js, &here, max, ret, err) : 0;
}
