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
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max, unsigned seed);
/* The fuzzer's own; absent where inputs are only replayed. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t max) __attribute__((weak));

#define BLOCK           512
#define SUM_AT          148
#define UNSUMMED_ONE_IN 16

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

static void sum_head(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + SUM_AT, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += block[i];
	for (int i = 5; i >= 0; i--, sum /= 8)
		block[SUM_AT + i] = (uint8_t)('0' + sum % 8);
	block[SUM_AT + 6] = '\0';
}

/* A changed header has a wrong checksum, and nothing behind that check would ever see one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max, unsigned seed)
{
	len = LLVMFuzzerMutate(data, len, max);
	if (len < 1 || data[0] % GT_LAYER_FORM_N != GT_LAYER_TAR || seed % UNSUMMED_ONE_IN == 0)
		return len;
	for (size_t at = 1; at + BLOCK <= len; at += BLOCK)
		if (memcmp(data + at + 257, "ustar", 5) == 0)
			sum_head(data + at);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct gt_layer_result a, b;

	if (len < 1)
		return 0;
	enum gt_layer_form form = data[0] % GT_LAYER_FORM_N;
	size_t step = data[0] / GT_LAYER_FORM_N + 1u;
	uint8_t *whole = layer(form, data + 1, len - 1, len, &a);
	uint8_t *cut = layer(form, data + 1, len - 1, step, &b);

	must(!whole == !cut);
	if (whole) {
		must(a.index_bytes == b.index_bytes && memcmp(whole, cut, a.index_bytes) == 0);
		must(strcmp(a.diff_id, b.diff_id) == 0);
	}
	free(whole);
	free(cut);
	return 0;
}
