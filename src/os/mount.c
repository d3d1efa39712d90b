/* mount.c - mounts by descriptor. */
#include <gantry/os/os.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int gt_os_path_open(const char *path, int *ret, struct gt_err *err)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

int gt_os_tree_open(int at, int *ret, struct gt_err *err)
{
	int fd = open_tree(at, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "copy a mount");
	*ret = fd;
	return 0;
}

int gt_os_tree_attr(int tree, uint64_t set, int userns, struct gt_err *err)
{
	struct mount_attr attr = { .attr_set = set };

	if (userns >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns;
	}
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return gt_err_errno(err, errno, "set mount attributes %#llx",
				    (unsigned long long)attr.attr_set);
	return 0;
}

int gt_os_fd_path(int fd, char *buf, size_t size, struct gt_err *err)
{
	char link[40];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size);
	if (n < 0)
		return gt_err_errno(err, errno, "read %s", link);
	if ((size_t)n >= size)
		return gt_err_errno(err, ENAMETOOLONG, "read %s", link);
	buf[n] = '\0';
	return 0;
}

int gt_os_mounts_private(struct gt_err *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return gt_err_errno(err, errno, "make an own mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return gt_err_errno(err, errno, "make all mounts private");
	return 0;
}
