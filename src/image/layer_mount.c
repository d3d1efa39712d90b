/* layer_mount.c - an index and its archive as a detached mount, without a loop device. */
#include <gantry/image/layer.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>

#include "tree.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

/* What the kernel said last in the mount's own log ("e erofs: ..."), or nothing. */
static const char *kernel_says(int fs, char *buf, size_t size)
{
	ssize_t n = read(fs, buf, size - 1);

	if (n <= 0)
		return "";
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static int failed(int fs, int code, const char *index_path, struct gt_err *err)
{
	char said[200];

	/* Without support for files it looks for a block device. */
	if (code == ENOTBLK || code == ENODEV || code == ENOSYS)
		code = EOPNOTSUPP;
	return gt_err_set(err, code, "sandbox_failed", "mount layer %s: %s %s", index_path,
			  strerror(code), fs >= 0 ? kernel_says(fs, said, sizeof(said)) : "");
}

#define ATTRS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

int gt_layer_mount(const char *tar_path, const char *index_path, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fs = fsopen("erofs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0)
		return failed(fs, errno, index_path, err);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", index_path, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "device", tar_path, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return failed(fs, errno, index_path, err);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, ATTRS);
	if (mnt < 0)
		return failed(fs, errno, index_path, err);
	*ret = mnt;
	return 0;
}

int gt_layer_opaque(int mount_fd, bool *ret, struct gt_err *err)
{
	char path[32], value[1];
	ssize_t n;

	/* The descriptor of a mount is not open for reading. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mount_fd);
	n = getxattr(path, GT_TREE_OPAQUE, value, sizeof(value));
	if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP && errno != ERANGE)
		return gt_err_errno(err, errno, "read the attributes of a layer's root");
	*ret = n == 1 && value[0] == 'y';
	return 0;
}

int gt_layer_mount_dir(int dir_fd, int *ret, struct gt_err *err)
{
	gt_auto(fd) int tree = -EBADF;
	int r = gt_os_tree_open(dir_fd, &tree, err);

	if (r == 0)
		r = gt_os_tree_attr(tree, ATTRS, -1, err);
	if (r == 0)
		*ret = gt_steal_fd(&tree);
	return r;
}
