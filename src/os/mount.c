/* mount.c - mounts by descriptor. */
#include <gantry/os/os.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not through any link: -1 and ELOOP if there is one. */
static int open_plain(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* "/lib/x" where /lib is a link to usr/lib becomes "/usr/lib/x". */
static bool follow_first(const char *path, char *out, size_t size)
{
	char first[NAME_MAX + 2], to[PATH_MAX];
	size_t len = 1 + strcspn(path + 1, "/");
	ssize_t n;

	if (len >= sizeof(first))
		return false;
	memcpy(first, path, len);
	first[len] = '\0';
	n = readlink(first, to, sizeof(to) - 1);
	if (n <= 0)
		return false;
	to[n] = '\0';
	return snprintf(out, size, "%s%s%s", to[0] == '/' ? "" : "/", to, path + len) < (int)size;
}

int gt_os_path_open(const char *path, int *ret, struct gt_err *err)
{
	char other[PATH_MAX];
	int fd = open_plain(path);

	if (fd < 0 && errno == ELOOP) {
		if (path[0] == '/' && follow_first(path, other, sizeof(other)))
			fd = open_plain(other);
		else
			errno = ELOOP;
	}
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

int gt_os_tmpfs_mount(const char *path, const char *options, bool again, struct gt_err *err)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (again ? MS_REMOUNT : 0);

	if (mount("gantry", path, "tmpfs", flags, options) < 0)
		return gt_err_errno(err, errno, "mount a tmpfs at %s with %s", path, options);
	return 0;
}

int gt_os_unmount(const char *path, struct gt_err *err)
{
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return gt_err_errno(err, errno, "unmount %s", path);
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
