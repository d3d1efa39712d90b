/* fields_write.c - the walkers that write and compare. */
#include "fields.h"

#include <assert.h>
#include <string.h>

#include <gantry/base/units.h>

static const _Alignas(max_align_t) char zeros[4096]; /* the defaults of structs that name none */

static const void *value_at(const struct gt_field *f, const void *base)
{
	return (const char *)base + f->offset;
}

static size_t count_at(const struct gt_field *f, const void *base)
{
	return *(const size_t *)(const void *)((const char *)base + f->count_offset);
}

static const void *pointer_at(const struct gt_field *f, const void *base)
{
	return *(const void *const *)value_at(f, base);
}

static int64_t load_whole(const struct gt_field *f, const void *base)
{
	const void *value = value_at(f, base);

	switch (f->type) {
	case GT_F_BOOL:
		return *(const bool *)value;
	case GT_F_U16:
		return *(const uint16_t *)value;
	case GT_F_U32:
	case GT_F_DURATION32:
		return *(const uint32_t *)value;
	case GT_F_ENUM:
		return *(const unsigned *)value;
	case GT_F_INT:
		return *(const int *)value;
	default:
		return *(const int64_t *)value;
	}
}

static bool lists_equal(const struct gt_field *f, const void *a, const void *b)
{
	size_t n = count_at(f, a);
	const char *x = pointer_at(f, a), *y = pointer_at(f, b);

	if (n != count_at(f, b))
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t at = i * (f->type == GT_F_CHARS_LIST ? f->elem_max + 1
				 : f->type == GT_F_STRS     ? sizeof(char *)
							    : f->sub->size);
		bool same = f->type == GT_F_CHARS_LIST ? strcmp(x + at, y + at) == 0
			    : f->type == GT_F_STRS
				    ? gt_streq(*(char *const *)(const void *)(x + at),
					       *(char *const *)(const void *)(y + at))
				    : gt_fields_equal(f->sub, x + at, y + at);

		if (!same)
			return false;
	}
	return true;
}

static bool field_equal(const struct gt_field *f, const void *a, const void *b)
{
	switch (f->type) {
	case GT_F_STR:
		return gt_streq(pointer_at(f, a), pointer_at(f, b));
	case GT_F_CHARS:
		return strcmp(value_at(f, a), value_at(f, b)) == 0;
	case GT_F_U64S:
		return memcmp(value_at(f, a), value_at(f, b), f->max * sizeof(uint64_t)) == 0;
	case GT_F_STRS:
	case GT_F_CHARS_LIST:
	case GT_F_LIST:
	case GT_F_ONE:
		return lists_equal(f, a, b);
	case GT_F_OBJECT:
		return gt_fields_equal(f->sub, value_at(f, a), value_at(f, b));
	case GT_F_CUSTOM:
		return f->hooks->equal(f, a, b);
	case GT_F_LATER:
		return true;
	default:
		return load_whole(f, a) == load_whole(f, b);
	}
}

bool gt_fields_equal(const struct gt_fields *fields, const void *a, const void *b)
{
	for (size_t i = 0; i < fields->n; i++)
		if (!field_equal(&fields->rows[i], a, b))
			return false;
	return true;
}

static void write_list(struct gt_json *j, const struct gt_field *f, const void *base, bool all)
{
	const char *elems = pointer_at(f, base);
	size_t n = count_at(f, base);

	gt_json_array(j, f->name);
	for (size_t i = 0; i < n; i++) {
		if (f->type == GT_F_STRS)
			gt_json_str(j, NULL, ((char *const *)(const void *)elems)[i]);
		else if (f->type == GT_F_CHARS_LIST)
			gt_json_str(j, NULL, elems + i * (f->elem_max + 1));
		else
			gt_fields_write(f->sub, j, NULL, elems + i * f->sub->size, f->sub->defaults,
					all);
	}
	gt_json_close(j, ']');
}

static void write_numbers(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const uint64_t *values = value_at(f, base);

	gt_json_array(j, f->name);
	for (size_t i = 0; i < f->max; i++)
		gt_json_u64(j, NULL, values[i]);
	gt_json_close(j, ']');
}

static void write_unit(struct gt_json *j, const struct gt_field *f, const void *base)
{
	uint64_t n = (uint64_t)load_whole(f, base);
	char text[32];

	if (f->type == GT_F_BYTES)
		gt_format_bytes(n, text, sizeof(text));
	else
		gt_format_duration_ms(n, text, sizeof(text));
	gt_json_str(j, f->name, text);
}

/* Below what it may be, or a time without an end, it was left out and has no form. */
static bool has_form(const struct gt_field *f, const void *base)
{
	switch (f->type) {
	case GT_F_U16:
	case GT_F_U32:
	case GT_F_U64:
	case GT_F_BYTES:
		return (uint64_t)load_whole(f, base) >= f->min;
	case GT_F_DURATION32:
	case GT_F_DURATION:
		return (uint64_t)load_whole(f, base) >= f->min &&
		       (uint64_t)load_whole(f, base) != UINT64_MAX;
	default:
		return true;
	}
}

static void write_field(const struct gt_field *f, struct gt_json *j, const void *base,
			const void *defaults, bool all)
{
	switch (f->type) {
	case GT_F_STR:
		if (pointer_at(f, base))
			gt_json_str(j, f->name, pointer_at(f, base));
		break;
	case GT_F_CHARS:
		gt_json_str(j, f->name, value_at(f, base));
		break;
	case GT_F_BOOL:
		gt_json_bool(j, f->name, load_whole(f, base));
		break;
	case GT_F_ENUM:
		gt_json_str(j, f->name, f->enum_name((unsigned)load_whole(f, base)));
		break;
	case GT_F_BYTES:
	case GT_F_DURATION:
	case GT_F_DURATION32:
		write_unit(j, f, base);
		break;
	case GT_F_U64S:
		write_numbers(j, f, base);
		break;
	case GT_F_STRS:
	case GT_F_CHARS_LIST:
	case GT_F_LIST:
		write_list(j, f, base, all);
		break;
	case GT_F_ONE:
		gt_fields_write(f->sub, j, f->name, pointer_at(f, base), f->sub->defaults, all);
		break;
	case GT_F_OBJECT:
		gt_fields_write(f->sub, j, f->name, value_at(f, base), value_at(f, defaults), all);
		break;
	case GT_F_CUSTOM:
		f->hooks->write(j, f, base);
		break;
	case GT_F_LATER:
		break;
	default:
		gt_json_i64(j, f->name, load_whole(f, base));
	}
}

void gt_fields_write(const struct gt_fields *fields, struct gt_json *j, const char *name,
		     const void *base, const void *defaults, bool all)
{
	assert(defaults || fields->size <= sizeof(zeros));
	if (!defaults)
		defaults = zeros;
	gt_json_object(j, name);
	for (size_t i = 0; i < fields->n; i++) {
		const struct gt_field *f = &fields->rows[i];

		if ((all || (f->flags & (GT_F_ALWAYS | GT_F_NEEDED)) ||
		     !field_equal(f, base, defaults)) &&
		    has_form(f, base))
			write_field(f, j, base, defaults, all);
	}
	gt_json_close(j, '}');
}
