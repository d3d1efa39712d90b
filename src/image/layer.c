/* layer.c - the writer: decompressed, hashed, written and understood in one pass; the index at the
 * end. */
#include <gantry/image/layer.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/http/digest.h>

#include "decompress.h"
#include "erofs.h"

#define BYTES_MAX   (200 * GT_GIB)
#define ENTRIES_MAX 1000000

struct gt_layer_writer {
	int tar_fd, index_fd;
	uint64_t bytes_max, bytes;
	struct decompressor *in;
	struct gt_sha256 *sha;
	struct tar_reader *reader;
	struct tree *tree;
};

static int write_all(int fd, const char *data, size_t len, struct gt_err *err)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gt_err_set(err, n < 0 ? errno : ENOSPC, "storage_full",
					  "write a layer: %s", strerror(n < 0 ? errno : ENOSPC));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int on_bytes(const void *data, size_t len, void *arg, struct gt_err *err)
{
	struct gt_layer_writer *w = arg;
	int r;

	if (len > w->bytes_max - w->bytes)
		return gt_err_set(err, EFBIG, "image_invalid",
				  "the layer is larger than %llu bytes uncompressed",
				  (unsigned long long)w->bytes_max);
	w->bytes += len;
	r = tar_reader_feed(w->reader, data, len, err);
	if (r < 0)
		return r;
	gt_sha256_add(w->sha, data, len);
	return write_all(w->tar_fd, data, len, err);
}

static int on_entry(const struct tar_entry *e, void *arg, struct gt_err *err)
{
	return tree_add(((struct gt_layer_writer *)arg)->tree, e, err);
}

int gt_layer_new(enum gt_layer_form form, int tar_fd, int index_fd,
		 const struct gt_layer_limits *limits, struct gt_layer_writer **ret,
		 struct gt_err *err)
{
	struct gt_layer_writer *w = gt_alloc(sizeof(*w));
	uint64_t entries = limits && limits->entries ? limits->entries : ENTRIES_MAX;
	int r;

	w->tar_fd = tar_fd;
	w->index_fd = index_fd;
	w->bytes_max = limits && limits->bytes ? limits->bytes : BYTES_MAX;
	r = decompress_new(form, on_bytes, w, &w->in, err);
	if (r < 0) {
		free(w);
		return r;
	}
	w->sha = gt_sha256_new();
	w->reader = tar_reader_new(on_entry, w);
	w->tree = tree_new(entries);
	*ret = w;
	return 0;
}

void gt_layer_free(struct gt_layer_writer *w)
{
	if (!w)
		return;
	decompress_free(w->in);
	gt_sha256_free(w->sha);
	tar_reader_free(w->reader);
	tree_free(w->tree);
	free(w);
}

int gt_layer_feed(struct gt_layer_writer *w, const void *data, size_t len, struct gt_err *err)
{
	return decompress_feed(w->in, data, len, err);
}

int gt_layer_finish(struct gt_layer_writer *w, struct gt_layer_result *ret, struct gt_err *err)
{
	struct gt_layer_result result = { .tar_bytes = w->bytes, .entries = w->tree->n_names };
	char hex[GT_SHA256_HEX_SIZE];
	int r = decompress_end(w->in, err);

	if (r == 0)
		r = tar_reader_end(w->reader, err);
	if (r == 0)
		r = erofs_write(w->tree, w->bytes, w->index_fd, &result.index_bytes, err);
	if (r < 0)
		return r;
	gt_sha256_end(gt_steal(&w->sha), hex);
	snprintf(result.diff_id, sizeof(result.diff_id), "sha256:%s", hex);
	*ret = result;
	return 0;
}
