#include <gantry/wire/value.h>

#include <jansson.h>
#include <string.h>

#include "load.h"

#define SEGMENT_MAX 128

/* A gt_value is a json_t by another name, so that jansson stays in this room. */
static json_t *js(const struct gt_value *v)
{
	return (json_t *)v;
}

static const struct gt_value *value(const json_t *j)
{
	return (const struct gt_value *)j;
}

int gt_value_parse(const char *text, size_t len, struct gt_value **ret, struct gt_err *err)
{
	json_error_t je;
	json_t *j = gt_json_load(text, len, JSON_REJECT_DUPLICATES, &je);

	if (!j)
		return gt_err_set(err, EINVAL, "malformed_json", "line %d, column %d: %s", je.line,
				  je.column, je.text);
	*ret = (struct gt_value *)j;
	return 0;
}

void gt_value_free(struct gt_value *root)
{
	json_decref(js(root));
}

/* One step of a path: the member `name`, or with '[' the item of that index. */
static const json_t *step(const json_t *j, const char **path)
{
	const char *p = *path;
	char name[SEGMENT_MAX];
	size_t n;

	if (*p == '[') {
		char *end;
		unsigned long i = strtoul(p + 1, &end, 10);
		if (end == p + 1 || *end != ']')
			return NULL;
		*path = end + 1;
		return json_array_get(j, i);
	}
	if (*p == '.')
		p++;
	n = strcspn(p, ".[");
	if (n == 0 || n >= sizeof(name))
		return NULL;
	memcpy(name, p, n);
	name[n] = '\0';
	*path = p + n;
	return json_object_get(j, name);
}

const struct gt_value *gt_value_at(const struct gt_value *v, const char *path)
{
	const json_t *j = js(v);

	while (j && *path)
		j = step(j, &path);
	return json_is_null(j) ? NULL : value(j);
}

const char *gt_value_str(const struct gt_value *v, const char *path, const char *fallback)
{
	const char *s = json_string_value(js(gt_value_at(v, path)));

	return s ? s : fallback;
}

uint64_t gt_value_u64(const struct gt_value *v, const char *path, uint64_t fallback)
{
	const json_t *j = js(gt_value_at(v, path));

	if (json_is_integer(j) && json_integer_value(j) >= 0)
		return (uint64_t)json_integer_value(j);
	return fallback;
}

double gt_value_num(const struct gt_value *v, const char *path, double fallback)
{
	const json_t *j = js(gt_value_at(v, path));

	return json_is_number(j) ? json_number_value(j) : fallback;
}

bool gt_value_bool(const struct gt_value *v, const char *path, bool fallback)
{
	const json_t *j = js(gt_value_at(v, path));

	return json_is_boolean(j) ? json_is_true(j) : fallback;
}

size_t gt_value_len(const struct gt_value *v)
{
	return json_is_array(js(v)) ? json_array_size(js(v)) : json_object_size(js(v));
}

const struct gt_value *gt_value_item(const struct gt_value *array, size_t i)
{
	return value(json_array_get(js(array), i));
}

bool gt_value_is_object(const struct gt_value *v)
{
	return json_is_object(js(v));
}

const char *gt_value_member(const struct gt_value *object, const char *after,
			    const struct gt_value **ret)
{
	json_t *o = js(object);
	void *it;

	if (!json_is_object(o))
		return NULL;
	it = after ? json_object_iter_next(o, json_object_iter_at(o, after)) : json_object_iter(o);
	if (!it)
		return NULL;
	*ret = value(json_object_iter_value(it));
	return json_object_iter_key(it);
}

static int write_part(const char *data, size_t len, void *arg)
{
	return gt_buf_add(arg, data, len);
}

int gt_value_write(const struct gt_value *v, unsigned indent, struct gt_buf *out)
{
	size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) |
		       (indent ? JSON_INDENT(indent) : JSON_COMPACT);

	return json_dump_callback(js(v), write_part, out, flags) == 0 ? 0 : -ENOBUFS;
}

int gt_value_merge(struct gt_value *base, const struct gt_value *patch, struct gt_err *err)
{
	if (!json_is_object(js(base)) || !json_is_object(js(patch)))
		return gt_err_set(err, EINVAL, "malformed_json", "the document is not an object");
	if (json_object_update_recursive(js(base), js(patch)) < 0)
		return gt_err_set(err, ENOMEM, "internal", "the documents can not be merged");
	return 0;
}
