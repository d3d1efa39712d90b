/* doc.c - jansson with its input bounded before, and its errors told after. */
#include "doc.h"

#include <gantry/model/limits.h>

#include "load.h"
#include "refuse.h"
#include "scan.h"

/* Depth is checked before anything is built. Text that is no JSON passes: the parser says it
 * better. */
static int check_depth(const char *text, size_t len, struct gt_err *err)
{
	struct gt_scan scan;
	enum gt_token token;

	gt_scan_begin(&scan, text, len);
	do {
		token = gt_scan_next(&scan);
		if (scan.depth > GT_JSON_DEPTH_MAX)
			return gt_refuse(err, "", "nested deeper than %d levels",
					 GT_JSON_DEPTH_MAX);
	} while (token != GT_TOKEN_END && token != GT_TOKEN_ERROR);
	return 0;
}

static int parse_failed(const char *text, size_t len, const json_error_t *e, struct gt_err *err)
{
	char path[sizeof(err->path)];
	size_t at = e->position > 0 ? (size_t)e->position : 0;

	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		gt_scan_path(text, len, at, path, sizeof(path));
		return gt_refuse(err, path, "given twice (again at line %d, column %d); keep one",
				 e->line, e->column);
	case json_error_numeric_overflow:
		gt_scan_path(text, len, at - 1, path, sizeof(path));
		return gt_refuse(err, path, "the number at line %d, column %d is out of range",
				 e->line, e->column);
	default:
		gt_err_set(err, EINVAL, "malformed_json", "line %d, column %d: %s", e->line,
			   e->column, e->text);
		gt_err_printable(err);
		return -EINVAL;
	}
}

int gt_doc_parse(const char *text, size_t len, size_t max, json_t **ret, struct gt_err *err)
{
	json_error_t e;

	if (len > max)
		return gt_err_set(err, EMSGSIZE, "body_too_large",
				  "the document has %zu bytes; the limit is %zu", len, max);
	if (len == 0)
		return gt_err_set(err, EINVAL, "malformed_json",
				  "the document is empty; send a JSON object");
	int r = check_depth(text, len, err);

	if (r < 0)
		return r;
	json_t *js = gt_json_load(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);

	if (!js)
		return parse_failed(text, len, &e, err);
	*ret = js;
	return 0;
}
