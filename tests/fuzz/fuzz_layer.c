/* fuzz_layer.c - archives of layers. The first byte picks the form and how the bytes are cut. What
 * is refused says why; what is accepted has a sound index, whichever way its bytes were cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gantry/image/layer.h>
#include <gantry/model/problem.h>

#include "../unit/image/erofs_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Kept for all inputs: making files is slow. */
static int fresh(int *fd)
{
	if (*fd < 0)
		*fd = memfd_create("layer", MFD_CLOEXEC);
	must(*fd >= 0 && ftruncate(*fd, 0) == 0 && lseek(*fd, 0, SEEK_SET) == 0);
	return *fd;
}

/* The index, or NULL when the layer was refused. */
static uint8_t *layer(enum gt_layer_form form, const uint8_t *data, size_t len, size_t step,
		      struct gt_layer_result *res)
{
	static const struct gt_layer_limits limits = { .bytes = 1 << 20, .entries = 2000 };
	static int tar_fd = -1, index_fd = -1;
	struct gt_layer_writer *w = NULL;
	struct gt_err err = { 0 };
	uint8_t *index;
	int r;

	must(gt_layer_new(form, fresh(&tar_fd), fresh(&index_fd), &limits, &w, &err) == 0);
	r = 0;
	for (size_t at = 0; r == 0 && at < len; at += step)
		r = gt_layer_feed(w, data + at, step < len - at ? step : len - at, &err);
	if (r == 0)
		r = gt_layer_finish(w, res, &err);
	gt_layer_free(w);
	if (r < 0) {
		must(err.code == -r && err.text[0] && gt_problem_kind(err.slug));
		return NULL;
	}
	must(res->tar_bytes <= limits.bytes && res->entries <= limits.entries);
	index = malloc(res->index_bytes);
	must(index && pread(index_fd, index, res->index_bytes, 0) == (ssize_t)res->index_bytes);
	must(!erofs_walk(index, res->index_bytes, res->tar_bytes, NULL, NULL));
	return index;
}

/* Right checksums where a header seems to be: else no change to one would be looked at further. */
static void repair(uint8_t *p, size_t len)
{
	for (; len >= 512; p += 512, len -= 512) {
		unsigned sum = 8 * ' ';

		if (memcmp(p + 257, "ustar", 5) != 0)
			continue;
		for (size_t i = 0; i < 512; i++)
			sum += i >= 148 && i < 156 ? 0 : p[i];
		for (size_t i = 0; i < 6; i++)
			p[148 + i] = (uint8_t)('0' + (sum >> (15 - 3 * i) & 7));
		p[154] = p[155] = ' ';
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_layer_result a, b;

	if (len < 1)
		return 0;
	enum gt_layer_form form = data[0] % GT_LAYER_FORM_N;
	size_t step = data[0] / GT_LAYER_FORM_N + 1u;
	uint8_t *copy = malloc(len);

	must(copy != NULL);
	memcpy(copy, data + 1, --len);
	if (form == GT_LAYER_TAR)
		repair(copy, len);
	uint8_t *whole = layer(form, copy, len, len + 1, &a);
	uint8_t *cut = layer(form, copy, len, step, &b);

	must(!whole == !cut);
	if (whole) {
		must(a.index_bytes == b.index_bytes && memcmp(whole, cut, a.index_bytes) == 0);
		must(strcmp(a.diff_id, b.diff_id) == 0);
	}
	free(whole);
	free(cut);
	free(copy);
	return 0;
}
