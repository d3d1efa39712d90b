/* fields_read.c - the walker that reads. Each kind of member has one function here. */
#include "fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/suggest.h>
#include <gantry/base/units.h>

typedef int read_fn(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err);

static void *value_at(const struct gt_field *f, void *base)
{
	return (char *)base + f->offset;
}

static size_t *count_at(const struct gt_field *f, void *base)
{
	return (size_t *)(void *)((char *)base + f->count_offset);
}

int gt_field_refuse_type(const struct gt_at *at, const json_t *js, const char *wanted,
			 struct gt_err *err)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",  [JSON_INTEGER] = "a whole number",
		[JSON_REAL] = "a fraction",  [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};

	return gt_refuse_at(err, at, "%s does not fit; write %s", names[json_typeof(js)], wanted);
}

static int take_text(const json_t *js, const struct gt_at *at, const char *wanted, const char **ret,
		     struct gt_err *err)
{
	if (!json_is_string(js))
		return gt_field_refuse_type(at, js, wanted, err);
	if (strlen(json_string_value(js)) != json_string_length(js))
		return gt_refuse_at(err, at, "a NUL character is not accepted; remove it");
	*ret = json_string_value(js);
	return 0;
}

int gt_field_text(const json_t *js, const struct gt_at *at, size_t max, const char **ret,
		  struct gt_err *err)
{
	const char *text = NULL;
	int r = take_text(js, at, "a string", &text, err);

	if (r < 0)
		return r;
	if (strlen(text) > max)
		return gt_refuse_at(err, at, "%zu bytes are too many; the limit is %zu",
				    strlen(text), max);
	*ret = text;
	return 0;
}

int gt_field_whole(const json_t *js, const struct gt_at *at, int64_t min, int64_t max, int64_t *ret,
		   struct gt_err *err)
{
	if (!json_is_integer(js))
		return gt_field_refuse_type(at, js, "a whole number", err);
	int64_t n = json_integer_value(js);

	if (n < min)
		return gt_refuse_at(err, at, "%" PRId64 " is below %" PRId64, n, min);
	if (n > max)
		return gt_refuse_at(err, at, "%" PRId64 " is above %" PRId64, n, max);
	*ret = n;
	return 0;
}

static int read_str(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err)
{
	const char *text = NULL;
	char **value = value_at(f, base);
	int r = gt_field_text(js, at, f->max, &text, err);

	if (r < 0)
		return r;
	if (strlen(text) < f->min)
		return gt_refuse_at(err, at, "empty; write a text or leave the member out");
	free(*value);
	*value = gt_strdup(text);
	return 0;
}

static int read_chars(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	const char *text = NULL;
	int r = gt_field_text(js, at, f->flags & GT_F_CUT ? SIZE_MAX : f->max, &text, err);

	if (r < 0)
		return r;
	if ((f->flags & GT_F_NEEDED) && !*text)
		return gt_refuse_at(err, at, "empty; this member is required");
	if (f->ok && *text && !f->ok(text))
		return gt_refuse_at(err, at, "\"%.100s\" is %s", text, f->wanted);
	size_t len = GT_MIN(strlen(text), (size_t)f->max);

	/* Between characters: half a UTF-8 sequence would not be read again. */
	while (text[len] && len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	char *value = value_at(f, base);

	memcpy(value, text, len);
	value[len] = '\0';
	return 0;
}

static int read_bool(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	if (!json_is_boolean(js))
		return gt_field_refuse_type(at, js, "true or false", err);
	*(bool *)value_at(f, base) = json_is_true(js);
	return 0;
}

void gt_field_store(const struct gt_field *f, void *base, int64_t n)
{
	void *value = value_at(f, base);

	switch (f->type) {
	case GT_F_U16:
		*(uint16_t *)value = (uint16_t)n;
		break;
	case GT_F_U32:
		*(uint32_t *)value = (uint32_t)n;
		break;
	case GT_F_INT:
		*(int *)value = (int)n;
		break;
	default:
		*(int64_t *)value = n;
	}
}

static int read_whole(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	/* max of the signed types counts both ways. */
	bool is_signed = f->type == GT_F_INT || f->type == GT_F_I64;
	int64_t n = 0, max = (int64_t)GT_MIN(f->max, (uint64_t)INT64_MAX);
	int r = gt_field_whole(js, at, is_signed ? -max : (int64_t)f->min, max, &n, err);

	if (r == 0)
		gt_field_store(f, base, n);
	return r;
}

static int check_unit_range(const struct gt_field *f, const struct gt_at *at, uint64_t n,
			    struct gt_err *err)
{
	bool bytes = f->type != GT_F_DURATION && f->type != GT_F_DURATION32, below = n < f->min;
	char given[32], limit[32];

	if (!below && n <= f->max)
		return 0;
	(bytes ? gt_format_bytes : gt_format_duration_ms)(n, given, sizeof(given));
	(bytes ? gt_format_bytes : gt_format_duration_ms)(below ? f->min : f->max, limit,
							  sizeof(limit));
	return gt_refuse_at(err, at, "%s is %s %s", given, below ? "below" : "above", limit);
}

static int read_duration(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			 void *base, struct gt_err *err)
{
	const char *text = NULL;
	uint64_t n = 0;

	if (json_is_integer(js))
		return gt_refuse_at(err, at,
				    "%" JSON_INTEGER_FORMAT
				    " has no unit; write for example \"%" JSON_INTEGER_FORMAT "s\"",
				    json_integer_value(js), json_integer_value(js));
	int r = take_text(js, at, "a duration such as \"90s\"", &text, err);

	if (r < 0)
		return r;
	r = gt_parse_duration_ms(text, &n);
	if (r == -ERANGE)
		n = UINT64_MAX;
	else if (r < 0)
		return gt_refuse_at(err, at,
				    "\"%.100s\" is no duration; write a whole number and a unit out"
				    " of ms, s, m, h, d: \"90s\"",
				    text);
	r = check_unit_range(f, at, n, err);
	if (r == 0 && f->type == GT_F_DURATION32)
		*(uint32_t *)value_at(f, base) = (uint32_t)n;
	else if (r == 0)
		*(uint64_t *)value_at(f, base) = n;
	return r;
}

int gt_field_bytes(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		   uint64_t *ret, struct gt_err *err)
{
	const char *text = NULL;
	uint64_t n = 0;
	int64_t whole = 0;
	int r = 0;

	if (json_is_integer(js)) {
		r = gt_field_whole(js, at, 0, INT64_MAX, &whole, err);
		n = (uint64_t)whole;
	} else {
		r = take_text(js, at, "a size such as \"512MiB\" or a whole number of bytes", &text,
			      err);
	}
	if (r < 0)
		return r;
	r = text ? gt_parse_bytes(text, &n) : 0;
	if (r == -ERANGE)
		n = UINT64_MAX;
	else if (r < 0)
		return gt_refuse_at(err, at,
				    "\"%.100s\" is no size; write a whole number and a unit out of"
				    " KiB, MiB, GiB, TiB, KB, MB, GB, TB: \"512MiB\"",
				    text);
	r = check_unit_range(f, at, n, err);
	if (r == 0)
		*ret = n;
	return r;
}

static int read_bytes(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	return gt_field_bytes(f, js, at, value_at(f, base), err);
}

static int read_enum(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	const char *text = NULL;
	char known[200] = "";
	size_t len = 0;
	int r = take_text(js, at, "one of its names as a string", &text, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < f->max; i++) {
		if (strcmp(text, f->enum_name(i)) == 0) {
			*(unsigned *)value_at(f, base) = i;
			return 0;
		}
		int add = snprintf(known + len, sizeof(known) - len, "%s\"%s\"", i ? " or " : "",
				   f->enum_name(i));

		len = GT_MIN(len + (size_t)GT_MAX(add, 0), sizeof(known) - 1);
	}
	return gt_refuse_at(err, at, "\"%.100s\" is not supported; write %s", text, known);
}

/* An array of at most f->max elements. */
static int check_array(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       const char *wanted, struct gt_err *err)
{
	if (!json_is_array(js))
		return gt_field_refuse_type(at, js, wanted, err);
	if (json_array_size(js) > f->max)
		return gt_refuse_at(err, at, "%zu elements are too many; the limit is %" PRIu64,
				    json_array_size(js), f->max);
	return 0;
}

static int read_strs(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	int r = check_array(f, js, at, "an array of strings", err);

	if (r < 0)
		return r;
	size_t n = json_array_size(js), *count = count_at(f, base);
	char **strings = n ? gt_alloc_array(n + 1, sizeof(*strings)) : NULL;

	*(char ***)value_at(f, base) = strings;
	for (*count = 0; *count < n; ++*count) {
		struct gt_at elem = { .up = at, .index = *count };
		const char *text = NULL;

		r = gt_field_text(json_array_get(js, *count), &elem, f->elem_max, &text, err);
		if (r < 0)
			return r;
		strings[*count] = gt_strdup(text);
	}
	return 0;
}

static int read_chars_list(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			   void *base, struct gt_err *err)
{
	int r = check_array(f, js, at, "an array of strings", err);

	if (r < 0)
		return r;
	size_t n = json_array_size(js), size = f->elem_max + 1;
	char *elems = n ? gt_alloc_array(n, size) : NULL;

	*(void **)value_at(f, base) = elems;
	*count_at(f, base) = n;
	for (size_t i = 0; i < n; i++) {
		struct gt_at elem = { .up = at, .index = i };
		const char *text = NULL;

		r = gt_field_text(json_array_get(js, i), &elem, f->elem_max, &text, err);
		if (r < 0)
			return r;
		if (f->ok && !f->ok(text))
			return gt_refuse_at(err, &elem, "\"%.100s\" is %s", text, f->wanted);
		gt_strcopy(elems + i * size, size, text);
	}
	return 0;
}

static int read_u64s(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	uint64_t *values = value_at(f, base);
	int r = check_array(f, js, at, "an array of whole numbers", err);

	for (size_t i = 0; r == 0 && i < json_array_size(js); i++) {
		struct gt_at elem = { .up = at, .index = i };
		int64_t n = 0;

		r = gt_field_whole(json_array_get(js, i), &elem, 0, INT64_MAX, &n, err);
		values[i] = (uint64_t)n;
	}
	return r;
}

static int read_object(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       void *base, struct gt_err *err)
{
	return gt_fields_read(f->sub, js, at, value_at(f, base), err);
}

/* Room for n elements with their defaults; they belong to *base from here on. */
static char *alloc_elements(const struct gt_field *f, void *base, size_t n)
{
	size_t size = f->sub->size;
	char *elems = n ? gt_alloc_array(n, size) : NULL;

	for (size_t i = 0; f->sub->defaults && i < n; i++)
		memcpy(elems + i * size, f->sub->defaults, size);
	*(void **)value_at(f, base) = elems;
	*count_at(f, base) = n;
	return elems;
}

static int read_list(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	int r = check_array(f, js, at, "an array of objects", err);

	if (r < 0)
		return r;
	size_t n = json_array_size(js);
	char *elems = alloc_elements(f, base, n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct gt_at elem = { .up = at, .index = i };

		r = gt_fields_read(f->sub, json_array_get(js, i), &elem, elems + i * f->sub->size,
				   err);
	}
	return r;
}

static int read_one(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err)
{
	return gt_fields_read(f->sub, js, at, alloc_elements(f, base, 1), err);
}

static int read_custom(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		       void *base, struct gt_err *err)
{
	return f->hooks->read(f, js, at, base, err);
}

static int read_later(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	(void)f, (void)js, (void)base;
	return gt_refuse_at(err, at, "unknown member: not supported by this version; remove it");
}

static read_fn *const readers[] = {
	[GT_F_STR] = read_str,
	[GT_F_CHARS] = read_chars,
	[GT_F_BOOL] = read_bool,
	[GT_F_U16] = read_whole,
	[GT_F_U32] = read_whole,
	[GT_F_U64] = read_whole,
	[GT_F_INT] = read_whole,
	[GT_F_I64] = read_whole,
	[GT_F_BYTES] = read_bytes,
	[GT_F_DURATION] = read_duration,
	[GT_F_DURATION32] = read_duration,
	[GT_F_ENUM] = read_enum,
	[GT_F_STRS] = read_strs,
	[GT_F_CHARS_LIST] = read_chars_list,
	[GT_F_U64S] = read_u64s,
	[GT_F_OBJECT] = read_object,
	[GT_F_LIST] = read_list,
	[GT_F_ONE] = read_one,
	[GT_F_CUSTOM] = read_custom,
	[GT_F_LATER] = read_later,
};
_Static_assert(GT_LEN(readers) == GT_F_N, "every kind of field is read");

static int refuse_unknown(const struct gt_fields *fields, const struct gt_at *at, const char *name,
			  struct gt_err *err)
{
	const char *known[32];
	size_t n = 0;

	for (size_t i = 0; i < fields->n && n < GT_LEN(known); i++)
		if (fields->rows[i].type != GT_F_LATER)
			known[n++] = fields->rows[i].name;
	const char *near = gt_suggest(name, known, n);

	if (near)
		return gt_refuse_at(err, at, "unknown member; did you mean \"%s\"?", near);
	return gt_refuse_at(err, at, "unknown member; remove it");
}

static const struct gt_field *find(const struct gt_fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->n; i++)
		if (strcmp(fields->rows[i].name, name) == 0)
			return &fields->rows[i];
	return NULL;
}

int gt_fields_read(const struct gt_fields *fields, const json_t *js, const struct gt_at *at,
		   void *base, struct gt_err *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object", err);
	json_object_foreach((json_t *)js, name, value)
	{
		const struct gt_field *f = find(fields, name);
		struct gt_at here = { .up = at, .name = name };
		int r = 0;

		if (f)
			r = readers[f->type](f, value, &here, base, err);
		else if (!fields->open)
			r = refuse_unknown(fields, &here, name, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < fields->n; i++) {
		const struct gt_field *f = &fields->rows[i];
		struct gt_at here = { .up = at, .name = f->name };

		if ((f->flags & GT_F_NEEDED) && !json_object_get(js, f->name))
			return gt_refuse_at(err, &here, "missing; this member is required");
	}
	return 0;
}
