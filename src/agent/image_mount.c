/* image_mount.c - a layer is mounted once, without a place in any tree, and lent to every container
 * that has it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <gantry/image/layer.h>
#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"

static int open_file(const struct images *im, const char *diff_id, const char *end, int *ret,
		     struct gt_err *err)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%.64s%s", diff_id + strlen("sha256:"), end);
	fd = openat(im->layers_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return gt_err_errno(err, errno, "open layer %s", path);
	*ret = fd;
	return 0;
}

static int mount_layer(const struct images *im, const char *diff_id, int *ret, struct gt_err *err)
{
	gt_auto(fd) int tar = -EBADF, index = -EBADF, tree = -EBADF;
	char tar_path[40], index_path[40];
	int r = open_file(im, diff_id, ".tar", &tar, err);

	if (r == 0)
		r = open_file(im, diff_id, ".erofs", &index, err);
	if (r < 0)
		return r;
	/* What was opened is what is mounted. */
	snprintf(tar_path, sizeof(tar_path), "/proc/self/fd/%d", tar);
	snprintf(index_path, sizeof(index_path), "/proc/self/fd/%d", index);
	r = gt_layer_mount(tar_path, index_path, &tree, err);
	if (r == 0)
		r = gt_os_tree_attr(tree, 0, gt_runtime_userns(im->agent->rt), err);
	if (r == 0)
		*ret = gt_steal_fd(&tree);
	return r;
}

int gt_image_mount(struct images *im, const struct gt_image_record *record, int *fds, size_t *n,
		   size_t max, struct gt_err *err)
{
	for (size_t i = record->n_layers; i-- > 0;) {
		const char *diff_id = record->layers[i].diff_id;
		struct image_layer *l;
		int r = 0;

		HASH_FIND_STR(im->layers, diff_id, l);
		if (!l || *n == max)
			return gt_err_set(err, l ? E2BIG : ENOENT,
					  l ? "image_invalid" : "sandbox_failed",
					  l ? "%s: too many layers" : "a layer of %s is not here",
					  record->name);
		if (l->mount < 0)
			r = mount_layer(im, diff_id, &l->mount, err);
		if (r < 0)
			return gt_err_wrap(err, "image %s", record->name);
		fds[(*n)++] = l->mount;
	}
	return 0;
}
