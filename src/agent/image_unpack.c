/* image_unpack.c - the lesser way, for kernels that can not mount layers from files: each layer is
 * unpacked once into a directory, in a child, one at a time. A directory has its name when it is
 * complete; everything else is garbage, which a second child removes. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/image/layer.h>
#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

#define PART    "part" /* what is being unpacked */
#define GARBAGE "gone-"

struct image_wait {
	struct images *im;
	struct image_wait *prev, *next;
	char (*need)[GT_REF_DIGEST_SIZE];
	size_t n;
	void (*fn)(const struct gt_err *failed, void *arg);
	void *arg;
};

/* ---- garbage ---- */

static int remove_garbage(const int *fds, struct gt_err *err)
{
	char *const here[] = { ".", NULL };
	FTS *tree = fchdir(fds[0]) < 0 ? NULL : fts_open(here, FTS_PHYSICAL | FTS_XDEV, NULL);
	FTSENT *e;

	if (!tree)
		return gt_err_errno(err, errno, "open the unpacked layers");
	while ((e = fts_read(tree))) {
		if (e->fts_level == 1 && !gt_starts_with(e->fts_name, GARBAGE)) {
			if (e->fts_info == FTS_D)
				fts_set(tree, e, FTS_SKIP);
		} else if (e->fts_level > 0 && e->fts_info == FTS_DP) {
			rmdir(e->fts_accpath);
		} else if (e->fts_level > 0 && e->fts_info != FTS_D) {
			unlink(e->fts_accpath);
		}
	}
	fts_close(tree);
	return 0;
}

static void start_removal(struct images *im);

static void on_removed(struct images *im, const struct gt_err *err)
{
	if (err)
		gt_warn("unpacked layers that nobody needs: %s", err->text);
	else if (im->garbage_more)
		start_removal(im);
}

static void start_removal(struct images *im)
{
	struct gt_err err = { 0 };

	im->garbage_more = im->removal.pidfd >= 0;
	if (!im->garbage_more && gt_chore_start(im, &im->removal, remove_garbage, &im->trees_fd, 1,
						on_removed, &err) < 0)
		gt_warn("unpacked layers that nobody needs: %s", err.text);
}

static void throw_away(struct images *im, const char *name)
{
	char gone[32];

	do {
		snprintf(gone, sizeof(gone), GARBAGE "%u", im->garbage_serial++);
	} while (renameat2(im->trees_fd, name, im->trees_fd, gone, RENAME_NOREPLACE) < 0 &&
		 errno == EEXIST);
	start_removal(im);
}

void gt_image_tree_drop(struct images *im, const char *diff_id)
{
	throw_away(im, gt_digest_hex(diff_id));
}

void gt_image_tree_load(struct images *im, const char *name)
{
	char diff_id[GT_REF_DIGEST_SIZE];
	struct image_layer *l = NULL;

	snprintf(diff_id, sizeof(diff_id), "sha256:%.64s", name);
	HASH_FIND_STR(im->layers, diff_id, l);
	if (l && gt_streq(gt_digest_hex(diff_id), name) && !im->new_boot)
		l->unpacked = true;
	else if (gt_starts_with(name, GARBAGE))
		start_removal(im);
	else
		throw_away(im, name);
}

/* ---- unpacking ---- */

/* As root, since owners and whiteouts are made; so it sees nothing but the two. */
static int unpack(const int *fds, struct gt_err *err)
{
	if (fchdir(fds[1]) < 0 || chroot(".") < 0)
		return gt_err_errno(err, errno, "enter the directory of a layer");
	return gt_layer_extract(fds[0], fds[1], 0, err);
}

static void pump(struct images *im);

/* NULL when all of it is there. */
static const char *missing(const struct image_wait *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct image_layer *l;

		HASH_FIND_STR(w->im->layers, w->need[i], l);
		if (!l || !l->unpacked)
			return w->need[i];
	}
	return NULL;
}

static void finish(struct image_wait *w, const struct gt_err *failed)
{
	void (*fn)(const struct gt_err *failed, void *arg) = w->fn;
	void *arg = w->arg;

	gt_image_wait_cancel(w);
	fn(failed, arg);
}

static bool needs(const struct image_wait *w, const char *diff_id)
{
	for (size_t i = 0; i < w->n; i++) {
		if (gt_streq(w->need[i], diff_id))
			return true;
	}
	return false;
}

/* Callbacks may change the list: from the front again after each. */
static void fail_all(struct images *im, const char *diff_id, const struct gt_err *why)
{
	struct image_wait *w;

	do {
		DL_FOREACH (im->waits, w) {
			if (needs(w, diff_id))
				break;
		}
		if (w)
			finish(w, why);
	} while (w);
}

static void on_unpacked(struct images *im, const struct gt_err *failed)
{
	char diff_id[GT_REF_DIGEST_SIZE];
	struct gt_err err = { 0 };
	struct image_layer *l;

	gt_strcopy(diff_id, sizeof(diff_id), im->unpacking_id);
	HASH_FIND_STR(im->layers, diff_id, l);
	if (failed)
		err = *failed;
	else if (!l)
		gt_err_set(&err, ENOENT, "sandbox_failed", "it was removed meanwhile");
	else if (renameat(im->trees_fd, PART, im->trees_fd, gt_digest_hex(diff_id)) < 0)
		gt_err_errno(&err, errno, "name the directory");
	if (err.code) {
		throw_away(im, PART);
		gt_err_wrap(&err, "unpack layer %.19s", diff_id);
		fail_all(im, diff_id, &err);
	} else {
		l->unpacked = true;
	}
	pump(im);
}

static int begin(struct images *im, const char *diff_id, struct gt_err *err)
{
	gt_auto(fd) int tar = -EBADF, dir = -EBADF;
	int r = gt_image_layer_open(im, diff_id, ".tar", &tar, err);

	if (r < 0)
		return r;
	r = gt_os_mkdir_at(im->trees_fd, PART, 0700, err);
	if (r == 0)
		r = gt_os_open_dir(im->trees_fd, PART, &dir, err);
	if (r < 0)
		return r;
	gt_strcopy(im->unpacking_id, sizeof(im->unpacking_id), diff_id);
	gt_debug("layer %.19s is unpacked", diff_id);
	return gt_chore_start(im, &im->unpacking, unpack, (int[]){ tar, dir }, 2, on_unpacked, err);
}

static struct image_wait *complete_one(const struct images *im)
{
	struct image_wait *w;

	DL_FOREACH (im->waits, w) {
		if (!missing(w))
			return w;
	}
	return NULL;
}

static void pump(struct images *im)
{
	struct gt_err err = { 0 };
	struct image_wait *w;

	while ((w = complete_one(im)))
		finish(w, NULL);
	while (im->unpacking.pidfd < 0 && im->waits) {
		if (begin(im, missing(im->waits), &err) < 0)
			finish(im->waits, &err);
	}
}

static void on_soon(void *arg)
{
	pump(arg);
}

/* Does this kernel mount layers? Found out with the first one. */
static bool must_unpack(struct images *im, const char *diff_id)
{
	struct gt_err err = { 0 };

	if (im->config.extract == GT_EXTRACT_YES && !im->mounts_known) {
		im->unpacks = gt_image_can_mount(im, diff_id, &err) == -EOPNOTSUPP;
		im->mounts_known = true;
		if (im->unpacks)
			gt_warn("layers are unpacked into directories: %s", err.text);
	}
	return im->unpacks;
}

int gt_image_unpack(struct images *im, const struct gt_image_record *const *records, size_t n,
		    void (*fn)(const struct gt_err *failed, void *arg), void *arg,
		    struct image_wait **ret)
{
	struct image_wait *w = gt_alloc(sizeof(*w));
	size_t layers = 0;

	w->im = im;
	w->fn = fn;
	w->arg = arg;
	for (size_t i = 0; i < n; i++)
		layers += records[i]->n_layers;
	w->need = gt_alloc_array(layers + 1, sizeof(*w->need));
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < records[i]->n_layers; k++)
			gt_strcopy(w->need[w->n++], GT_REF_DIGEST_SIZE,
				   records[i]->layers[k].diff_id);
	}
	DL_APPEND(im->waits, w);
	if (w->n == 0 || !must_unpack(im, w->need[0]) || !missing(w)) {
		gt_image_wait_cancel(w);
		return 0;
	}
	*ret = w;
	gt_timer_set(im->agent->loop, &im->unpack_soon, 0, on_soon, im);
	return -EINPROGRESS;
}

void gt_image_unpack_end(struct images *im)
{
	gt_timer_clear(im->agent->loop, &im->unpack_soon);
	gt_chore_end(&im->unpacking);
	gt_chore_end(&im->removal);
	while (im->waits)
		gt_image_wait_cancel(im->waits);
}

void gt_image_wait_cancel(struct image_wait *w)
{
	if (!w)
		return;
	DL_DELETE(w->im->waits, w);
	free(w->need);
	free(w);
}
