/* extract.c - the fallback: the same tree as the index has, as files in a directory. */
#include <gantry/image/layer.h>

#include "sink.h"
#include "tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)

struct extract {
	int tar_fd, root_fd;
	uint32_t id_base;
};

/* One name below dir, and never through a link: the names are the archive's. */
static int open_below(int dir, const char *path, int flags, struct gt_err *err)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW,
				.mode = flags & O_CREAT ? 0600 : 0,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	char shown[GT_SHOWN_SIZE];
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	if (fd < 0)
		return gt_image_write_error(err, errno, gt_image_shown(path, shown));
	return fd;
}

static int copy_content(const struct extract *x, const struct gt_tree_inode *i, int fd)
{
	off_t at = (off_t)i->offset;
	uint64_t left = i->size;

	while (left > 0) {
		ssize_t n = sendfile(fd, x->tar_fd, &at, (size_t)GT_MIN(left, GT_GIB));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		left -= (uint64_t)n;
	}
	return 0;
}

/* Owner before mode, since a change of the owner takes setuid away; times last. */
static int fd_attributes(const struct extract *x, const struct gt_tree_inode *i, int fd)
{
	struct timespec times[2] = { { .tv_sec = i->mtime, .tv_nsec = i->mtime_ns } };

	times[1] = times[0];
	for (const struct gt_tree_xattr *a = i->xattrs; a; a = a->next)
		if (fsetxattr(fd, a->name, a->value, a->len, 0) < 0)
			return -errno;
	if (fchown(fd, x->id_base + i->uid, x->id_base + i->gid) < 0 ||
	    fchmod(fd, i->mode & 07777) < 0 || futimens(fd, times) < 0)
		return -errno;
	return 0;
}

static int name_attributes(const struct extract *x, const struct gt_tree_inode *i, int dir,
			   const char *name)
{
	struct timespec times[2] = { { .tv_sec = i->mtime, .tv_nsec = i->mtime_ns } };

	times[1] = times[0];
	if (fchownat(dir, name, x->id_base + i->uid, x->id_base + i->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	/* We made it and it is no link. */
	if (!S_ISLNK(i->mode) && fchmodat(dir, name, i->mode & 07777, 0) < 0)
		return -errno;
	return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int make_file(const struct extract *x, const struct gt_tree_inode *i, int dir,
		     const char *name, struct gt_err *err)
{
	gt_auto(fd) int fd = open_below(dir, name, O_WRONLY | O_CREAT | O_EXCL, err);
	int r;

	if (fd < 0)
		return fd;
	if ((r = copy_content(x, i, fd)) < 0 || (r = fd_attributes(x, i, fd)) < 0)
		return gt_image_write_error(err, -r, "content and attributes");
	return 0;
}

static int make_special(const struct extract *x, const struct gt_tree_inode *i, int dir,
			const char *name, struct gt_err *err)
{
	int r = S_ISLNK(i->mode) ? symlinkat(i->target, dir, name)
				 : mknodat(dir, name, i->mode & S_IFMT, 0);

	r = r < 0 ? -errno : name_attributes(x, i, dir, name);
	return r < 0 ? gt_image_write_error(err, -r, "node and attributes") : 0;
}

/* From the root of the layer, without a slash in front. */
static const char *path_of(const struct gt_tree_inode *i, char *buf, size_t size)
{
	char *at = buf + size - 1;

	*at = '\0';
	for (; i->parent != i; i = i->parent) {
		size_t len = strlen(i->name);

		if (*at)
			*--at = '/';
		at -= len;
		memcpy(at, i->name, len);
	}
	return at;
}

/* One more name of what was made before, by its first one. */
static int make_link(const struct extract *x, const struct gt_tree_inode *i, int dir,
		     const char *name, struct gt_err *err)
{
	char path[GT_TAR_PATH_MAX + 1];
	gt_auto(fd) int fd = open_below(x->root_fd, path_of(i, path, sizeof(path)), O_PATH, err);

	if (fd < 0)
		return fd;
	if (linkat(fd, "", dir, name, AT_EMPTY_PATH) < 0)
		return gt_image_write_error(err, errno, "hard link");
	return 0;
}

static int make_tree(const struct extract *x, const struct gt_tree_inode *d, int fd,
		     struct gt_err *err);

static int make_dir(const struct extract *x, const struct gt_tree_inode *i, int dir,
		    const char *name, struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;

	if (mkdirat(dir, name, 0700) < 0)
		return gt_image_write_error(err, errno, "directory");
	fd = open_below(dir, name, O_RDONLY | O_DIRECTORY, err);
	return fd < 0 ? fd : make_tree(x, i, fd, err);
}

static int make(const struct extract *x, struct gt_tree_inode *i, const struct gt_tree_inode *d,
		int dir, const char *name, struct gt_err *err)
{
	/* The last id is none. */
	if (i->uid >= UINT32_MAX - x->id_base || i->gid >= UINT32_MAX - x->id_base)
		return gt_image_refuse(err, "an owner that can not be shifted by %u", x->id_base);
	if (S_ISDIR(i->mode))
		return make_dir(x, i, dir, name, err);
	if (i->seen)
		return make_link(x, i, dir, name, err);
	i->seen = true;
	i->parent = (struct gt_tree_inode *)(uintptr_t)d;
	i->name = name;
	return S_ISREG(i->mode) ? make_file(x, i, dir, name, err)
				: make_special(x, i, dir, name, err);
}

static int make_tree(const struct extract *x, const struct gt_tree_inode *d, int fd,
		     struct gt_err *err)
{
	char shown[GT_SHOWN_SIZE];
	int r;

	for (uint32_t k = 0; k < d->n_names; k++) {
		const struct gt_tree_name *n = d->names[k];

		if ((r = make(x, n->inode, d, fd, n->name, err)) < 0)
			return gt_err_wrap(err, "%s", gt_image_shown(n->name, shown));
	}
	r = fd_attributes(x, d, fd); /* after its files: they change its times */
	return r < 0 ? gt_image_write_error(err, -r, "attributes of a directory") : 0;
}

static int on_entry(const struct gt_tar_entry *e, void *arg, struct gt_err *err)
{
	return gt_tree_add(arg, e, err);
}

static int read_tree(struct gt_tar *tar, int fd, struct gt_err *err)
{
	gt_auto(free) uint8_t *buf = gt_alloc(READ_BYTES);
	ssize_t n;
	int r;

	for (off_t at = 0; (n = pread(fd, buf, READ_BYTES, at)) > 0; at += n)
		if ((r = gt_tar_feed(tar, buf, (size_t)n, err)) < 0)
			return r;
	if (n < 0)
		return gt_err_errno(err, errno, "archive of a layer");
	return gt_tar_finish(tar, err);
}

int gt_layer_extract(int tar_fd, int dir_fd, uint32_t id_base, struct gt_err *err)
{
	gt_auto(fd) int root = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct extract x = { tar_fd, root, id_base };
	struct gt_tree tree;
	struct gt_tar tar;
	int r;

	if (root < 0)
		return gt_err_errno(err, errno, "directory of a layer");
	gt_tar_init(&tar, on_entry, &tree);
	/* Whatever the writer's limits were, it had this archive already. */
	if ((r = gt_tree_init(&tree, UINT32_MAX, err)) == 0 &&
	    (r = read_tree(&tar, tar_fd, err)) == 0 && (r = gt_tree_freeze(&tree, err)) == 0)
		r = make_tree(&x, tree.root, root, err);
	gt_tar_fini(&tar);
	gt_tree_fini(&tree);
	return r;
}
