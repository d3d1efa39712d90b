/* fuzz_spec.c - function specifications. What is refused says why, with a slug that clients know;
 * what is accepted has one canonical text, which is accepted and means the same, as does the
 * effective one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/wire/wire.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Reads text and returns its canonical form; it must be accepted. */
static void canonical(const char *text, size_t len, struct gt_buf *ret)
{
	gt_auto(spec) struct gt_spec *spec = NULL;

	must(gt_spec_read(text, len, &spec, NULL) == 0);
	gt_spec_write(spec, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	gt_auto(spec) struct gt_spec *spec = NULL;
	gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 }, effective = { 0 }, back = { 0 };
	struct gt_err err = { 0 };

	if (len > GT_SPEC_BYTES_MAX)
		return 0;
	if (gt_spec_read((const char *)data, len, &spec, &err) < 0) {
		must(!spec && err.code > 0 && err.text[0] && gt_problem_kind(err.slug));
		return 0;
	}
	gt_spec_write(spec, &once);
	canonical(once.data, once.len, &twice);
	must(strcmp(once.data, twice.data) == 0);
	gt_spec_write_effective(spec, &effective);
	if (effective.len <= GT_SPEC_BYTES_MAX) {
		canonical(effective.data, effective.len, &back);
		must(strcmp(once.data, back.data) == 0);
	}
	return 0;
}
