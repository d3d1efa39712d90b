/* fields_plain.c - documents of plain members read straight into their struct: texts of ASCII
 * without escapes, truths, whole numbers and lists of objects. A tree of the document costs more
 * than all else that becomes of a durable call in control.
 *
 * Whatever is not plain, or wrong, is left to the reader of trees (fields_read.c), which has the
 * words for it: here is one answer, no. */
#include "fields.h"

#include <string.h>

#include "scan.h"

#define DIGITS_MAX 19 /* of a whole number; so many fit uint64_t for sure */

static bool object_read(struct gt_scan *scan, const struct gt_fields *fields, void *base);

static void *at(size_t offset, void *base)
{
	return (char *)base + offset;
}

static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~' || text[i] == '\\')
			return false;
	return true;
}

static bool text_read(const struct gt_field *f, const char *text, size_t len, void *base)
{
	if (len > f->max || !is_plain(text, len))
		return false;
	if (f->type == GT_F_STR) {
		char **value = at(f->offset, base);

		if (len < f->min)
			return false;
		free(*value);
		*value = gt_strndup(text, len);
		return true;
	}
	if (f->type != GT_F_CHARS || (len == 0 && (f->flags & GT_F_NEEDED)))
		return false;
	char *value = at(f->offset, base);

	memcpy(value, text, len);
	value[len] = '\0';
	return len == 0 || !f->ok || f->ok(value);
}

static bool whole_read(const struct gt_field *f, const char *text, size_t len, void *base)
{
	bool is_signed = f->type == GT_F_INT || f->type == GT_F_I64;
	uint64_t n = 0;

	if (f->type < GT_F_U16 || f->type > GT_F_I64 || len > DIGITS_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = 10 * n + (uint64_t)(text[i] - '0');
	}
	if (n > INT64_MAX || n > f->max || (!is_signed && n < f->min))
		return false;
	gt_field_store(f, base, (int64_t)n);
	return true;
}

static bool atom_read(const struct gt_field *f, const char *text, size_t len, void *base)
{
	if (text[0] != 't' && text[0] != 'f')
		return whole_read(f, text, len, base);
	if (f->type == GT_F_BOOL)
		*(bool *)at(f->offset, base) = text[0] == 't';
	return f->type == GT_F_BOOL;
}

/* Room for one more, which belongs to *base from here on. */
static void *element_add(const struct gt_field *f, void *base)
{
	char **list = at(f->offset, base);
	size_t *count = at(f->count_offset, base), size = f->sub->size, n = *count;
	char *element;

	if ((n & (n - 1)) == 0) /* 0, and each power of two */
		*list = gt_grow(*list, n ? 2 * n : 1, size);
	element = *list + n * size;
	if (f->sub->defaults)
		memcpy(element, f->sub->defaults, size);
	else
		memset(element, 0, size);
	++*count;
	return element;
}

static bool list_read(struct gt_scan *scan, const struct gt_field *f, void *base)
{
	const size_t *count = at(f->count_offset, base);

	if (f->type != GT_F_LIST || *scan->tok != '[' || *count > 0)
		return false;
	for (;;) {
		enum gt_token token = gt_scan_next(scan);

		if (token == GT_TOKEN_CLOSE)
			return true;
		if (token != GT_TOKEN_OPEN || *count == f->max ||
		    !object_read(scan, f->sub, element_add(f, base)))
			return false;
	}
}

static bool value_read(struct gt_scan *scan, const struct gt_field *f, void *base)
{
	switch (gt_scan_next(scan)) {
	case GT_TOKEN_STRING:
		return text_read(f, scan->tok + 1, scan->len - 2, base);
	case GT_TOKEN_ATOM:
		return atom_read(f, scan->tok, scan->len, base);
	case GT_TOKEN_OPEN:
		return list_read(scan, f, base);
	default:
		return false;
	}
}

/* The row of a key, with its quotes; they mostly come in the order of the rows. */
static size_t row_of(const struct gt_fields *fields, size_t from, const char *key, size_t len)
{
	for (size_t k = 0; k < fields->n; k++) {
		size_t i = (from + k) % fields->n;

		if (strlen(fields->rows[i].name) == len - 2 &&
		    memcmp(fields->rows[i].name, key + 1, len - 2) == 0)
			return i;
	}
	return fields->n;
}

static bool all_needed(const struct gt_fields *fields, uint64_t seen)
{
	for (size_t i = 0; i < fields->n; i++)
		if ((fields->rows[i].flags & GT_F_NEEDED) && !(seen >> i & 1))
			return false;
	return true;
}

/* Its bracket was read. */
static bool object_read(struct gt_scan *scan, const struct gt_fields *fields, void *base)
{
	uint64_t seen = 0;
	size_t i = 0;

	if (fields->n > 64 || *scan->tok != '{')
		return false;
	for (;; i++) {
		enum gt_token token = gt_scan_next(scan);

		if (token == GT_TOKEN_CLOSE)
			return all_needed(fields, seen);
		if (token != GT_TOKEN_KEY)
			return false;
		i = row_of(fields, i, scan->tok, scan->len);
		if (i == fields->n || (seen >> i & 1))
			return false;
		seen |= 1ULL << i;
		if (!value_read(scan, &fields->rows[i], base))
			return false;
	}
}

bool gt_fields_plain(const struct gt_fields *fields, const char *text, size_t len, void *base)
{
	struct gt_scan scan;

	gt_scan_begin(&scan, text, len);
	return gt_scan_next(&scan) == GT_TOKEN_OPEN && object_read(&scan, fields, base) &&
	       gt_scan_next(&scan) == GT_TOKEN_END;
}
