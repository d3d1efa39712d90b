/* mount.c - a layer's index and its archive as one detached mount. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/image/layer.h>

static int refused(int code, const char *index_path, struct gt_err *err)
{
	/* No such file system; a block device is wanted, or too many are stacked below this one. */
	if (code == ENODEV || code == ENOTBLK || code == EOPNOTSUPP)
		return gt_err_set(
			err, EOPNOTSUPP, "sandbox_failed",
			"this kernel can not mount layers from files: it takes Linux 6.12 "
			"with erofs (see gantry doctor)");
	return gt_err_set(err, code, "sandbox_failed", "mount layer %s: %s", index_path,
			  strerror(code));
}

int gt_layer_mount(const char *tar_path, const char *index_path, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fs = fsopen("erofs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0)
		return refused(errno, index_path, err);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", index_path, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "device", tar_path, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return refused(errno, index_path, err);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0)
		return refused(errno, index_path, err);
	*ret = mnt;
	return 0;
}
