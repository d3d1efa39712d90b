/* layer.c - the writer: compressed bytes in; the plain archive, its digest and its index out. */
#include <gantry/image/layer.h>

#include "decompress.h"
#include "erofs.h"
#include "sink.h"
#include "tar.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_DEFAULT   (200 * GT_GIB)
#define ENTRIES_DEFAULT 1000000

struct gt_layer_writer {
	int index_fd;
	uint64_t max_bytes, bytes;
	struct gt_decompress *decompress;
	struct gt_sink *sink;
	struct gt_tar tar;
	struct gt_tree tree;
	bool failed;
};

static int too_large(const struct gt_layer_writer *w, struct gt_err *err)
{
	return gt_image_refuse(err, "more than %llu bytes uncompressed",
			       (unsigned long long)w->max_bytes);
}

static int on_entry(const struct gt_tar_entry *e, void *arg, struct gt_err *err)
{
	struct gt_layer_writer *w = arg;

	/* Told by its header already: nothing of it needs to be written. */
	if (e->size > w->max_bytes || e->offset > w->max_bytes - e->size)
		return too_large(w, err);
	return gt_tree_add(&w->tree, e, err);
}

int gt_layer_new(enum gt_layer_form form, int tar_fd, int index_fd,
		 const struct gt_layer_limits *limits, struct gt_layer_writer **ret,
		 struct gt_err *err)
{
	struct gt_layer_writer *w = gt_alloc(sizeof(*w));
	uint64_t entries = limits && limits->entries ? limits->entries : ENTRIES_DEFAULT;
	int r;

	w->index_fd = index_fd;
	w->max_bytes = limits && limits->bytes ? limits->bytes : BYTES_DEFAULT;
	w->max_bytes = GT_MIN(w->max_bytes, GT_TREE_FILE_MAX);
	gt_tar_init(&w->tar, on_entry, w);
	if ((r = gt_decompress_new(form, &w->decompress, err)) < 0 ||
	    (r = gt_tree_init(&w->tree, entries, err)) < 0) {
		gt_layer_free(w);
		return r;
	}
	w->sink = gt_sink_new(tar_fd);
	*ret = w;
	return 0;
}

static int feed(struct gt_layer_writer *w, const uint8_t *data, size_t len, struct gt_err *err)
{
	size_t made, before;
	int r;

	do {
		uint8_t *room;
		size_t n;

		before = len;
		if ((r = gt_sink_room(w->sink, &room, &n, err)) < 0 ||
		    (r = gt_decompress_run(w->decompress, &data, &len, room, n, &made, err)) < 0)
			return r;
		if (made > w->max_bytes - w->bytes)
			return too_large(w, err);
		w->bytes += made;
		if ((r = gt_tar_feed(&w->tar, room, made, err)) < 0)
			return r;
		gt_sink_commit(w->sink, made);
	} while (made > 0 || (len > 0 && len < before));
	return len ? gt_image_refuse(err, "compressed data that says nothing") : 0;
}

int gt_layer_feed(struct gt_layer_writer *w, const void *data, size_t len, struct gt_err *err)
{
	int r;

	if (w->failed)
		return gt_err_set(err, EINVAL, "internal", "a layer that failed before");
	r = len ? feed(w, data, len, err) : 0;
	w->failed = r < 0;
	return r;
}

static void binary_id(const char *hex, uint8_t id[16])
{
	for (size_t i = 0; i < 16; i++) {
		char byte[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

		id[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
}

static int finish(struct gt_layer_writer *w, struct gt_layer_result *res, struct gt_err *err)
{
	char hex[GT_SHA256_HEX_SIZE];
	uint8_t id[16];
	int r;

	if ((r = gt_decompress_finish(w->decompress, err)) < 0 ||
	    (r = gt_tar_finish(&w->tar, err)) < 0 || (r = gt_tree_freeze(&w->tree, err)) < 0 ||
	    (r = gt_sink_finish(w->sink, hex, err)) < 0)
		return r;
	binary_id(hex, id);
	if ((r = gt_erofs_write(&w->tree, w->bytes, id, w->index_fd, &res->index_bytes, err)) < 0)
		return r;
	snprintf(res->diff_id, sizeof(res->diff_id), "sha256:%s", hex);
	res->tar_bytes = w->bytes;
	res->entries = w->tree.entries;
	return 0;
}

int gt_layer_finish(struct gt_layer_writer *w, struct gt_layer_result *ret, struct gt_err *err)
{
	struct gt_layer_result res = { 0 };
	int r;

	if (w->failed)
		return gt_err_set(err, EINVAL, "internal", "a layer that failed before");
	w->failed = true; /* also when it went well: it is complete */
	if ((r = finish(w, &res, err)) == 0)
		*ret = res;
	return r;
}

void gt_layer_free(struct gt_layer_writer *w)
{
	if (!w)
		return;
	gt_sink_free(w->sink);
	gt_decompress_free(w->decompress);
	gt_tar_fini(&w->tar);
	gt_tree_fini(&w->tree);
	free(w);
}
