/* image_mount.c - a layer is mounted once, without a place in any tree, and lent to every container
 * that has it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <gantry/image/layer.h>
#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

static int mount_files(const struct images *im, const char *diff_id, int *ret, struct gt_err *err)
{
	gt_auto(fd) int tar = -EBADF, index = -EBADF;
	char tar_path[40], index_path[40];
	int r = gt_image_layer_open(im, diff_id, ".tar", &tar, err);

	if (r == 0)
		r = gt_image_layer_open(im, diff_id, ".erofs", &index, err);
	if (r < 0)
		return r;
	/* What was opened is what is mounted. */
	snprintf(tar_path, sizeof(tar_path), "/proc/self/fd/%d", tar);
	snprintf(index_path, sizeof(index_path), "/proc/self/fd/%d", index);
	return gt_layer_mount(tar_path, index_path, ret, err);
}

static int mount_tree(const struct images *im, const char *diff_id, int *ret, struct gt_err *err)
{
	gt_auto(fd) int dir = -EBADF;
	int r = gt_os_open_dir(im->trees_fd, gt_digest_hex(diff_id), &dir, err);

	return r < 0 ? r : gt_layer_mount_dir(dir, ret, err);
}

static int mount_layer(const struct images *im, struct image_layer *l, int *ret, struct gt_err *err)
{
	gt_auto(fd) int tree = -EBADF;
	int r = im->unpacks ? mount_tree(im, l->diff_id, &tree, err)
			    : mount_files(im, l->diff_id, &tree, err);

	if (r == 0)
		r = gt_layer_opaque(tree, &l->opaque, err);
	if (r == 0)
		*ret = gt_steal_fd(&tree);
	return r;
}

int gt_image_can_mount(struct images *im, const char *diff_id, struct gt_err *err)
{
	gt_auto(fd) int tree = -EBADF;

	return mount_files(im, diff_id, &tree, err);
}

bool gt_image_mounts_owned(const struct images *im)
{
	return !gt_runtime_layers_by_fd(im->agent->rt);
}

void gt_image_mounts_drop(const struct images *im, int *fds, size_t n)
{
	for (size_t i = 0; gt_image_mounts_owned(im) && i < n; i++)
		gt_close(fds[i]);
}

static int take(struct images *im, struct image_layer *l, int *ret, struct gt_err *err)
{
	int r = 0;

	if (gt_image_mounts_owned(im))
		return mount_layer(im, l, ret, err);
	if (l->mount < 0)
		r = mount_layer(im, l, &l->mount, err);
	if (r == 0)
		*ret = l->mount;
	return r;
}

int gt_image_mount(struct images *im, const struct gt_image_record *record, int *fds, size_t *n,
		   size_t max, bool *opaque, struct gt_err *err)
{
	*opaque = false;
	for (size_t i = record->n_layers; i-- > 0 && !*opaque;) {
		struct image_layer *l;
		int r;

		HASH_FIND_STR(im->layers, record->layers[i].diff_id, l);
		if (!l || *n == max)
			return gt_err_set(err, l ? E2BIG : ENOENT,
					  l ? "image_invalid" : "sandbox_failed",
					  l ? "%s: too many layers" : "a layer of %s is not here",
					  record->name);
		r = take(im, l, &fds[*n], err);
		if (r == -EOPNOTSUPP)
			r = gt_err_set(err, EOPNOTSUPP, "sandbox_failed",
				       "this kernel can not mount layers from files; image_extract "
				       "= yes in [agent] of the daemon's configuration unpacks "
				       "them instead");
		if (r < 0)
			return gt_err_wrap(err, "image %s", record->name);
		*opaque = l->opaque;
		(*n)++;
	}
	return 0;
}
