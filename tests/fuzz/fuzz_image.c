/* fuzz_image.c - the record of an image, which a process that read hostile bytes writes for the
 * agent. What is refused says why; what is accepted names files by digests alone, and is written
 * so that it reads and writes the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/model/problem.h>
#include <gantry/wire/image.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void digests(const struct gt_image_record *r)
{
	must(gt_digest_ok(r->digest) && (!r->index[0] || gt_digest_ok(r->index)));
	must(r->n_layers <= GT_IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < r->n_layers; i++) {
		const struct gt_image_layer *l = &r->layers[i];

		must(gt_digest_ok(l->diff_id) && (!l->digest[0] || gt_digest_ok(l->digest)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	gt_auto(image_record) struct gt_image_record *first = NULL, *second = NULL;
	gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 };
	struct gt_err err = { 0 };

	if (gt_image_record_read((const char *)data, len, &first, &err) < 0) {
		must(!first && err.code > 0 && err.text[0] && gt_problem_kind(err.slug));
		return 0;
	}
	digests(first);
	gt_image_record_write(first, &once);
	must(gt_image_record_read(once.data, once.len, &second, NULL) == 0);
	gt_image_record_write(second, &twice);
	must(strcmp(once.data, twice.data) == 0);
	return 0;
}
