/* file.c - small files: the kernel's control files, directories, FIFOs, sealed memory. */
#include <gantry/os/os.h>

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int gt_os_write_at(int dirfd, const char *path, const char *text, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "open %s for writing", path);
	if (write(fd, text, strlen(text)) < 0)
		return gt_err_errno(err, errno, "write \"%s\" to %s", text, path);
	return 0;
}

int gt_os_read_at(int dirfd, const char *path, char *buf, size_t size, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	while (len < size - 1) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return gt_err_errno(err, errno, "read %s", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	while (len > 0 && (buf[len - 1] == '\n' || buf[len - 1] == ' '))
		len--;
	buf[len] = '\0';
	return 0;
}

int gt_os_open_dir(int dirfd, const char *path, int *ret, struct gt_err *err)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return gt_err_errno(err, errno, "open directory %s", path);
	*ret = fd;
	return 0;
}

DIR *gt_os_list(int dirfd)
{
	gt_auto(fd) int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d)
		gt_steal_fd(&fd); /* its own now */
	return d;
}

int gt_os_open_in(int root, const char *path, int flags, int *ret, struct gt_err *err)
{
	const struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC,
				      .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd;

	do {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EAGAIN || errno == EINTR)); /* something was renamed */
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

int gt_os_mkdir_at(int dirfd, const char *path, mode_t mode, struct gt_err *err)
{
	if (mkdirat(dirfd, path, mode) < 0 && errno != EEXIST)
		return gt_err_errno(err, errno, "make directory %s", path);
	return 0;
}

int gt_os_rmdir_at(int dirfd, const char *path, struct gt_err *err)
{
	if (unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return gt_err_errno(err, errno, "remove directory %s", path);
	return 0;
}

int gt_os_fifo_at(int dirfd, const char *name, struct gt_err *err)
{
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return gt_err_errno(err, errno, "remove %s", name);
	if (mkfifoat(dirfd, name, 0600) < 0)
		return gt_err_errno(err, errno, "make FIFO %s", name);
	return 0;
}

int gt_os_memfd(const char *name, const void *data, size_t len, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const char *at = data;

	if (fd < 0)
		return gt_err_errno(err, errno, "memfd %s", name);
	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return gt_err_errno(err, errno, "fill memfd %s", name);
		at += n;
		len -= (size_t)n;
	}
	if (fchmod(fd, 0500) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return gt_err_errno(err, errno, "seal memfd %s", name);
	*ret = gt_steal_fd(&fd);
	return 0;
}
