/* wire/json.h - writing JSON: append-only, straight into a gt_buf, commas and escapes by itself.
 * Strings that are not UTF-8 have their bad bytes replaced by U+FFFD. Nesting is checked by assert.
 */
#ifndef GANTRY_WIRE_JSON_H
#define GANTRY_WIRE_JSON_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct gt_json {
	struct gt_buf *out; /* borrowed */
	uint32_t depth;
	uint64_t comma; /* bit per level: a value was written before */
};

void gt_json_begin(struct gt_json *j, struct gt_buf *out);
/* name is NULL inside arrays and at the top. */
void gt_json_object(struct gt_json *j, const char *name);
void gt_json_array(struct gt_json *j, const char *name);
void gt_json_close(struct gt_json *j, char bracket);                      /* '}' or ']' */
void gt_json_str(struct gt_json *j, const char *name, const char *value); /* NULL value: null */
void gt_json_strn(struct gt_json *j, const char *name, const char *value, size_t len);
void gt_json_u64(struct gt_json *j, const char *name, uint64_t value);
void gt_json_i64(struct gt_json *j, const char *name, int64_t value);
void gt_json_bool(struct gt_json *j, const char *name, bool value);
void gt_json_null(struct gt_json *j, const char *name);
void gt_json_num(struct gt_json *j, const char *name,
		 double value); /* finite; 3 decimals at most */
void gt_json_raw(struct gt_json *j, const char *name, const char *json); /* already JSON */

#endif
