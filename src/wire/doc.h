/* doc.h - text of any origin to a JSON document within bounds. */
#ifndef GANTRY_WIRE_DOC_H
#define GANTRY_WIRE_DOC_H

#include <jansson.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

GT_CLEANUP_TYPE(doc, json_t *, json_decref)

/* -EINVAL "malformed_json" with line and column; "invalid_spec" for a member given twice, too deep
 * nesting and numbers out of this machine's range; -EMSGSIZE "body_too_large" above max bytes.
 * Strings may hold NUL characters: whoever takes one as text must compare its length. */
GT_MUST_USE int gt_doc_parse(const char *text, size_t len, size_t max, json_t **ret,
			     struct gt_err *err);

#endif
