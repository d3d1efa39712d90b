/* wire/value.h - reading JSON answers: an opaque read-only tree for programs that show what others
 * wrote (the CLI). Nothing here checks a schema: what is absent or of another type reads as the
 * caller's fallback. What is reached from a root is borrowed and lives as long as the root. */
#ifndef GANTRY_WIRE_VALUE_H
#define GANTRY_WIRE_VALUE_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct gt_value;

/* -EINVAL with slug "malformed_json" and line and column in the text. */
GT_MUST_USE int gt_value_parse(const char *text, size_t len, struct gt_value **ret,
			       struct gt_err *err);
void gt_value_free(struct gt_value *root); /* NULL is fine */
GT_CLEANUP_TYPE(value, struct gt_value *, gt_value_free)

/* path: "scale.concurrency.max", "items[0].name", "" = v itself. NULL when there is no such thing
 * or when it is null; v may be NULL, so lookups chain. */
const struct gt_value *gt_value_at(const struct gt_value *v, const char *path);
const char *gt_value_str(const struct gt_value *v, const char *path, const char *fallback);
uint64_t gt_value_u64(const struct gt_value *v, const char *path, uint64_t fallback);
double gt_value_num(const struct gt_value *v, const char *path, double fallback);
bool gt_value_bool(const struct gt_value *v, const char *path, bool fallback);

size_t gt_value_len(
	const struct gt_value *v); /* items of an array or members of an object, else 0 */
const struct gt_value *gt_value_item(const struct gt_value *array,
				     size_t i); /* NULL past the end */
bool gt_value_is_object(const struct gt_value *v);
/* The first member and, from a member, the next; in document order. NULL = no more. */
const char *gt_value_member(const struct gt_value *object, const char *after,
			    const struct gt_value **ret);

/* Members in document order; indent 0 is compact. -ENOBUFS past out's cap. */
GT_MUST_USE int gt_value_write(const struct gt_value *v, unsigned indent, struct gt_buf *out);
/* Puts patch over base: objects are merged member by member, anything else is replaced. */
GT_MUST_USE int gt_value_merge(struct gt_value *base, const struct gt_value *patch,
			       struct gt_err *err);

#endif
