/* root.c - the container's root file system. Every path of the image is walked with openat2 below
 * the new root: an image may be full of links and none of them may lead out. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define PATH_SIZE 4096

int init_open_below(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = flags | O_PATH | O_CLOEXEC,
		.resolve = resolve | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	/* EAGAIN: somebody renames beside us, which on a private root can only be passing. */
	do {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

/* Makes the last component of `path` (its parent exists) as a directory or an empty file. */
static void make_entry(int root, char *path, bool dir, uint32_t id_base, unsigned index)
{
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int parent, fd;

	if (slash)
		*slash = '\0';
	parent = init_open_below(root, slash && *path ? path : ".", O_DIRECTORY, 0);
	if (parent < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	if (dir) {
		if (mkdirat(parent, name, 0755) < 0)
			init_fail(GT_INIT_STEP_TARGET, errno, index);
	} else {
		fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
			    0644);
		if (fd < 0)
			init_fail(GT_INIT_STEP_TARGET, errno, index);
		close(fd);
	}
	if (fchownat(parent, name, id_base, id_base, AT_SYMLINK_NOFOLLOW) < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	close(parent);
	if (slash)
		*slash = '/';
}

/* A link of the image may lead to the root itself, or into /proc, /sys and /dev, which no
 * specification may name: nothing is laid over those. */
static void refuse_ours(int root, int to, unsigned index)
{
	static const char *const ours[] = { "proc", "sys", "dev" };
	struct stat st, own;

	if (fstat(to, &st) < 0 || fstat(root, &own) < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	if (st.st_dev == own.st_dev && st.st_ino == own.st_ino)
		init_fail(GT_INIT_STEP_TARGET, ELOOP, index);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (fstatat(root, ours[i], &own, AT_SYMLINK_NOFOLLOW) < 0)
			init_fail(GT_INIT_STEP_TARGET, errno, index);
		if (st.st_dev == own.st_dev)
			init_fail(GT_INIT_STEP_TARGET, ELOOP, index);
	}
}

/* A descriptor of the place; what is missing of the path is made. */
static int target(int root, const char *path, bool dir, uint32_t id_base, unsigned index)
{
	char part[PATH_SIZE];
	size_t len;
	int fd;

	path += strspn(path, "/");
	fd = init_open_below(root, path, dir ? O_DIRECTORY : 0, 0);
	if (fd >= 0)
		return fd;
	if (errno != ENOENT || strlen(path) >= sizeof(part))
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	for (len = strcspn(path, "/");; len += 1 + strcspn(path + len + 1, "/")) {
		bool last = path[len] == '\0';

		memcpy(part, path, len);
		part[len] = '\0';
		fd = init_open_below(root, part, 0, 0);
		if (fd < 0 && errno == ENOENT)
			make_entry(root, part, dir || !last, id_base, index);
		else if (fd < 0)
			init_fail(GT_INIT_STEP_TARGET, errno, index);
		else
			close(fd);
		if (last)
			break;
	}
	fd = init_open_below(root, path, dir ? O_DIRECTORY : 0, 0);
	if (fd < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	return fd;
}

int init_target(int root, const char *path, bool dir, uint32_t id_base, unsigned index)
{
	int to = target(root, path, dir, id_base, index);

	refuse_ours(root, to, index);
	return to;
}

/* Older kernels take layers by path only, and only of what is attached. */
static int overlay_of_paths(const struct init_prepare *p)
{
	char options[GT_INIT_LAYERS_MAX * 12 + 64] = "upperdir=up,workdir=work,lowerdir=", path[16];
	size_t len = strlen(options);

	for (unsigned i = 0; i < p->head.n_layers; i++) {
		int n = snprintf(path, sizeof(path), "lower/%u", i);

		if (mkdir(path, 0755) < 0 || move_mount(p->fds[GT_INIT_FD_LAYERS + i], "", AT_FDCWD,
							path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			init_fail(GT_INIT_STEP_OVERLAY, errno, 1);
		if (i > 0)
			options[len++] = ':';
		memcpy(options + len, path, (size_t)n + 1);
		len += (size_t)n;
	}
	if (mount("overlay", "root", "overlay", MS_NOSUID | MS_NODEV, options) < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 3);
	return open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* On top of each other, where all of them go with the old root at once: the end of a mount that is
 * nowhere makes this process wait for all processors. Not before the overlay has them, which would
 * tell where they are. */
static void attach_layers(const struct init_prepare *p)
{
	for (unsigned i = 0; i < p->head.n_layers; i++) {
		if (move_mount(p->fds[GT_INIT_FD_LAYERS + i], "", AT_FDCWD, "lower",
			       MOVE_MOUNT_F_EMPTY_PATH) < 0)
			init_fail(GT_INIT_STEP_OVERLAY, errno, 9);
	}
}

static int overlay_of_fds(const struct init_prepare *p)
{
	int fs = fsopen("overlay", FSOPEN_CLOEXEC), mnt;

	if (fs < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 5);
	for (unsigned i = 0; i < p->head.n_layers; i++) {
		if (fsconfig(fs, FSCONFIG_SET_FD, "lowerdir+", NULL,
			     p->fds[GT_INIT_FD_LAYERS + i]) < 0)
			init_fail(GT_INIT_STEP_OVERLAY, errno, 6);
	}
	if (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", "up", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "workdir", "work", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 7);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0 || move_mount(mnt, "", AT_FDCWD, "root", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 8);
	attach_layers(p);
	close(fs);
	return mnt;
}

static void upper(const struct init_prepare *p, uint64_t disk_bytes)
{
	char size[64];
	struct stat st;

	/* Inodes cost kernel memory beside their pages: bound them by the size too. */
	snprintf(size, sizeof(size), "size=%llu,nr_inodes=%llu", (unsigned long long)disk_bytes,
		 (unsigned long long)(1024 + disk_bytes / 4096));
	if (mount(NULL, ".", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, size) < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 0);
	if (fstat(p->fds[GT_INIT_FD_LAYERS], &st) < 0 || chmod("up", st.st_mode & 07777) < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 2);
}

/* Returns a descriptor of the root. */
static int overlay(const struct init_prepare *p)
{
	int root = p->head.by_fd ? overlay_of_fds(p) : overlay_of_paths(p);

	if (root < 0)
		init_fail(GT_INIT_STEP_OVERLAY, errno, 4);
	return root;
}

/* The staged mount goes onto a real directory of the image, never through a link in its place. */
static void attach_staged(int root, const char *name, uint32_t id_base)
{
	char path[16];
	int fd = init_open_below(root, name, O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	if (fd < 0 && errno == ENOENT) {
		snprintf(path, sizeof(path), "%s", name);
		make_entry(root, path, true, id_base, 0);
		fd = init_open_below(root, name, O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	}
	if (fd < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, 0);
	if (move_mount(AT_FDCWD, name, fd, "", MOVE_MOUNT_T_EMPTY_PATH) < 0)
		init_fail(GT_INIT_STEP_MOUNT, errno, 0);
	close(fd);
}

/* Inodes are bounded by the size, as in upper(). */
static void resize_shm(uint64_t bytes)
{
	char size[64];

	snprintf(size, sizeof(size), "size=%llu,nr_inodes=%llu", (unsigned long long)bytes,
		 (unsigned long long)(1024 + bytes / 4096));
	if (mount(NULL, "dev/shm", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, size) < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 40);
}

static int make_tmpfs(uint64_t size_bytes, uint32_t id_base, unsigned index)
{
	char size[32], id[16], inodes[32];
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt;

	snprintf(size, sizeof(size), "%llu", (unsigned long long)size_bytes);
	snprintf(id, sizeof(id), "%u", id_base);
	snprintf(inodes, sizeof(inodes), "%llu", (unsigned long long)(1024 + size_bytes / 4096));
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "1777", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "uid", id, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "gid", id, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		init_fail(GT_INIT_STEP_MOUNT, errno, index);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0)
		init_fail(GT_INIT_STEP_MOUNT, errno, index);
	close(fs);
	return mnt;
}

/* index: 1 is the first of the list; 0 stands for /dev, /proc and /sys. */
static void attach_mounts(int root, const struct init_spec *spec, const struct init_prepare *p,
			  uint32_t id_base)
{
	size_t volume = GT_INIT_FD_LAYERS + p->head.n_layers;

	for (unsigned i = 0; i < spec->head->n_mounts; i++) {
		bool dir = true;
		struct stat st;
		int mnt, to;

		if (spec->mounts[i].volume) {
			if (volume >= p->n_fds)
				init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
			mnt = p->fds[volume++];
			if (fstat(mnt, &st) < 0)
				init_fail(GT_INIT_STEP_MOUNT, errno, i + 1);
			dir = S_ISDIR(st.st_mode);
		} else {
			mnt = make_tmpfs(spec->mounts[i].size_bytes, id_base, i + 1);
		}
		to = init_target(root, spec->paths[i], dir, id_base, i + 1);
		if (move_mount(mnt, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
		    0)
			init_fail(GT_INIT_STEP_MOUNT, errno, i + 1);
		close(to);
		close(mnt);
	}
}

void init_root(const struct init_spec *spec, const struct init_prepare *p,
	       const struct gt_init_stage *stage)
{
	uint32_t id_base = stage->id_base;
	int root;

	if (spec->foreign && spec->foreign->root_direct) {
		root = init_foreign_root(p, id_base);
	} else {
		upper(p, spec->head->disk_bytes);
		init_etc(spec->hostname, stage->resolv, p, id_base);
		root = overlay(p);
	}

	if (spec->head->shm_bytes)
		resize_shm(spec->head->shm_bytes);
	if (spec->inject)
		init_inject(spec, id_base);
	attach_staged(root, "proc", id_base);
	attach_staged(root, "sys", id_base);
	attach_staged(root, "dev", id_base);
	attach_mounts(root, spec, p, id_base);
	if (spec->inject)
		init_inject_links(spec, root, id_base);
	if (spec->foreign)
		init_foreign_set_up(spec, root);
	/* Onto the empty directory that this namespace begins with, as a machine's own root is on
	 * the kernel's. The scratch leaves with all that is on it. */
	if (move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    umount2(GT_INIT_SCRATCH, MNT_DETACH) < 0 || fchdir(root) < 0 || chroot(".") < 0)
		init_fail(GT_INIT_STEP_PIVOT, errno, 0);
	close(root);
	for (unsigned i = 0; i < p->head.n_layers; i++)
		close(p->fds[GT_INIT_FD_LAYERS + i]);
	if (sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		init_fail(GT_INIT_STEP_HOSTNAME, errno, 0);
}
