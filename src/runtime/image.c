/* image.c - host paths as detached mounts. A path is opened once; what was checked is what is
 * mounted. Ids are mapped, so that files of the host's root belong to the container's root. */
#include "runtime_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

/* Is path one of the prefixes, or below one? The path is absolute and free of links. */
static bool path_allowed(const char *prefixes, const char *path)
{
	while (prefixes && *prefixes) {
		size_t n = strcspn(prefixes, ":"), len = n;

		while (len > 0 && prefixes[len - 1] == '/')
			len--;
		if (n > 0 && strncmp(path, prefixes, len) == 0 &&
		    (path[len] == '/' || path[len] == '\0'))
			return true;
		prefixes += n + (prefixes[n] == ':');
	}
	return prefixes == NULL;
}

/* A tree of the host for use inside. Maps ids where the file system can; where it can not (network
 * and stacked ones), files keep the host's ids, which the container sees as nobody's. */
static int tree_take(struct gt_runtime *rt, int at, const char *name, uint64_t attr, bool map,
		     int *ret, struct gt_err *err)
{
	gt_auto(fd) int tree = -EBADF;
	int r = gt_os_tree_open(at, &tree, err);

	if (r == 0)
		r = gt_os_tree_attr(tree, attr | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, -1, err);
	if (r < 0)
		return r;
	if (map && gt_os_tree_attr(tree, 0, rt->userns, NULL) < 0)
		gt_debug("%s: its file system can not map ids", name);
	*ret = gt_steal_fd(&tree);
	return 0;
}

static int refuse_path(const char *path, const char *cause, int code, struct gt_err *err)
{
	char real[PATH_MAX];

	if (code != ELOOP || !realpath(path, real))
		return gt_err_set(err, code, cause, "%s can not be opened on the node: %s", path,
				  strerror(code));
	return gt_err_set(err, code, cause,
			  "%s goes through a symbolic link, which a program that may write there "
			  "could turn elsewhere; if it is right, write %s",
			  path, real);
}

static int path_take(struct gt_runtime *rt, const char *path, const char *cause, int *ret,
		     struct stat *st, struct gt_err *err)
{
	char real[PATH_MAX];
	gt_auto(fd) int fd = -EBADF;
	int r = gt_os_path_open(path, &fd, NULL);

	if (r < 0)
		return refuse_path(path, cause, -r, err);
	if (gt_os_fd_path(fd, real, sizeof(real), err) < 0 || fstat(fd, st) < 0)
		return gt_err_set(err, errno, "sandbox_failed", "%s: %s", path, strerror(errno));
	if (!path_allowed(rt->allow_host_paths, real))
		return gt_err_set(err, EPERM, "image_not_allowed",
				  "the operator does not allow the host path %s "
				  "(see allow_host_paths in the daemon's configuration)",
				  real);
	*ret = gt_steal_fd(&fd);
	return 0;
}

int gt_image_open(struct gt_runtime *rt, const struct gt_spec *spec, int *ret, struct gt_err *err)
{
	bool host = spec->image_kind == GT_IMAGE_HOST;
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r;

	if (host && !rt->allow_host_image)
		return gt_err_set(err, EPERM, "image_not_allowed",
				  "the operator does not allow the image \"host:\" "
				  "(see allow_host_image in the daemon's configuration)");
	if (host)
		r = gt_os_path_open("/", &fd, err);
	else
		r = path_take(rt, spec->image_path, "image_missing", &fd, &st, err);
	if (r < 0)
		return r;
	if (!host && !S_ISDIR(st.st_mode))
		return gt_err_set(err, ENOTDIR, "image_missing",
				  "image %s is not a directory on the node", spec->image);
	/* The host's own root must not become the container's root's property. */
	r = tree_take(rt, fd, spec->image, MOUNT_ATTR_RDONLY, !host, ret, err);
	if (r < 0)
		return gt_err_set(err, -r, "sandbox_failed", "image %s: %s", spec->image,
				  strerror(-r));
	return 0;
}

int gt_volume_open(struct gt_runtime *rt, const struct gt_volume *volume, int *ret,
		   struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r = path_take(rt, volume->host, "volume_missing", &fd, &st, err);

	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return gt_err_set(err, EINVAL, "volume_missing",
				  "volume %s is neither a directory nor a file", volume->host);
	r = tree_take(rt, fd, volume->host, volume->readonly ? MOUNT_ATTR_RDONLY : 0, true, ret,
		      err);
	if (r < 0)
		return gt_err_set(err, -r, "sandbox_failed", "volume %s: %s", volume->host,
				  strerror(-r));
	return 0;
}
