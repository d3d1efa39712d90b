/* spec.c - function specifications from and to JSON. */
#include <gantry/model/spec.h>
#include <gantry/wire/wire.h>

#include "doc.h"
#include "spec_fields.h"

/* Canonical text can be longer than what was sent ("1TB" becomes "1000000000000", and gpu becomes
 * resources.gpu), and must be read again. No other member grows: the writer escapes only what had
 * to be escaped before. */
#define CANONICAL_SLACK 4096

static const struct gt_field *row_of(const struct gt_fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->n; i++)
		if (gt_streq(fields->rows[i].name, name) && fields->rows[i].type != GT_F_LATER)
			return &fields->rows[i];
	return NULL;
}

/* Takes out the members that this version does not know; the first one's name goes to `name`. */
static void strip(const struct gt_fields *fields, json_t *js, char name[GT_SPEC_UNKNOWN_SIZE])
{
	const struct gt_field *f;
	const char *key;
	json_t *value;
	void *next;
	size_t i;

	json_object_foreach_safe(js, next, key, value)
	{
		f = row_of(fields, key);
		if (!f) {
			if (!name[0])
				gt_strcopy(name, GT_SPEC_UNKNOWN_SIZE, key);
			json_object_del(js, key);
		} else if (f->type == GT_F_OBJECT || f->type == GT_F_ONE) {
			strip(f->sub, value, name);
		} else if (f->type == GT_F_LIST) {
			json_t *item;

			json_array_foreach(value, i, item) strip(f->sub, item, name);
		}
	}
}

static int read_spec(const char *text, size_t len, char *unknown, struct gt_spec **ret,
		     struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	int r = gt_doc_parse(text, len, GT_SPEC_BYTES_MAX + CANONICAL_SLACK, &js, err);

	if (r < 0)
		return r;
	gt_auto(spec) struct gt_spec *spec = gt_spec_new();

	if (unknown)
		strip(&gt_spec_fields, js, unknown);
	r = gt_fields_read(&gt_spec_fields, js, NULL, spec, err);
	if (r == 0)
		r = gt_spec_check(spec, err);
	if (r == 0)
		*ret = gt_steal(&spec);
	return r;
}

int gt_spec_read(const char *text, size_t len, struct gt_spec **ret, struct gt_err *err)
{
	return read_spec(text, len, NULL, ret, err);
}

int gt_spec_read_kept(const char *text, size_t len, char unknown[GT_SPEC_UNKNOWN_SIZE],
		      struct gt_spec **ret, struct gt_err *err)
{
	unknown[0] = '\0';
	return read_spec(text, len, unknown, ret, err);
}

static void write_spec(const struct gt_spec *spec, struct gt_buf *out, bool all)
{
	gt_auto(spec) struct gt_spec *defaults = gt_spec_new();
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_fields_write(&gt_spec_fields, &j, NULL, spec, defaults, all);
}

void gt_spec_write(const struct gt_spec *spec, struct gt_buf *out)
{
	write_spec(spec, out, false);
}

void gt_spec_write_effective(const struct gt_spec *spec, struct gt_buf *out)
{
	write_spec(spec, out, true);
}
