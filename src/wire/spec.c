/* spec.c - function specifications from and to JSON. */
#include <gantry/model/spec.h>
#include <gantry/wire/wire.h>

#include "doc.h"
#include "spec_fields.h"

/* Canonical text can be longer than what was sent ("1TB" becomes "1000000000000", and gpu becomes
 * resources.gpu), and must be read again. No other member grows: the writer escapes only what had
 * to be escaped before. */
#define CANONICAL_SLACK 4096

int gt_spec_read(const char *text, size_t len, struct gt_spec **ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	int r = gt_doc_parse(text, len, GT_SPEC_BYTES_MAX + CANONICAL_SLACK, &js, err);

	if (r < 0)
		return r;
	gt_auto(spec) struct gt_spec *spec = gt_spec_new();

	r = gt_fields_read(&gt_spec_fields, js, NULL, spec, err);
	if (r == 0)
		r = gt_spec_check(spec, err);
	if (r == 0)
		*ret = gt_steal(&spec);
	return r;
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
