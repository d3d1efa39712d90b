/* inject.c - the devices of a container: their nodes, and the part of /proc and /sys that tells of
 * them. Everything but the links is done in what process 1 staged itself, where nothing of an image
 * can stand in the way. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"

#define PATH_SIZE 512

static _Noreturn void fail(unsigned index)
{
	init_fail(GT_INIT_STEP_INJECT, errno, index);
}

/* All directories above the last component, below `at`. */
static void make_parents(int at, const char *path, mode_t mode)
{
	char part[PATH_SIZE];

	for (size_t len = strcspn(path, "/"); path[len]; len += 1 + strcspn(path + len + 1, "/")) {
		if (len >= sizeof(part)) {
			errno = ENAMETOOLONG;
			fail(1);
		}
		memcpy(part, path, len);
		part[len] = '\0';
		if (mkdirat(at, part, mode) < 0 && errno != EEXIST)
			fail(2);
	}
}

/* ---- /dev ---- */

static void dev_writable(bool yes)
{
	struct mount_attr attr = { .attr_set = yes ? 0 : MOUNT_ATTR_RDONLY,
				   .attr_clr = yes ? MOUNT_ATTR_RDONLY : 0 };

	if (mount_setattr(AT_FDCWD, "dev", 0, &attr, sizeof(attr)) < 0)
		fail(3);
}

/* Open to each user of the container: who may use a device is for the control group to say. */
static void make_node(int dev, const struct gt_init_node *n, const char *path, uint32_t id_base)
{
	mode_t type = n->block ? S_IFBLK : S_IFCHR;

	make_parents(dev, path, 0755);
	if (mknodat(dev, path, type | 0666, makedev(n->major, n->minor)) < 0)
		fail(4);
	if (fchmodat(dev, path, 0666, 0) < 0 ||
	    fchownat(dev, path, id_base, id_base, AT_SYMLINK_NOFOLLOW) < 0)
		fail(5);
}

static void make_nodes(const struct init_spec *spec, uint32_t id_base)
{
	int dev = open("dev", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dev < 0)
		fail(6);
	dev_writable(true);
	for (uint32_t i = 0; i < spec->inject->n_nodes; i++)
		make_node(dev, &spec->nodes[i], spec->node_paths[i], id_base);
	dev_writable(false);
	close(dev);
}

/* ---- /proc/driver ---- */

static void write_text(int at, const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd;

	make_parents(at, path, 0555);
	fd = openat(at, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fchmod(fd, 0444) < 0)
		fail(7);
	close(fd);
}

static void show_texts(const struct init_spec *spec)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "2m", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "512", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail(8);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mnt < 0)
		fail(9);
	for (uint32_t i = 0; i < spec->inject->n_texts; i++)
		write_text(mnt, spec->texts[2 * (size_t)i], spec->texts[2 * (size_t)i + 1]);
	if (mount_setattr(mnt, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0 ||
	    move_mount(mnt, "", AT_FDCWD, "proc/driver", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		fail(10);
	close(mnt);
	close(fs);
}

/* ---- /sys ---- */

static void hide(const char *below)
{
	char path[PATH_SIZE];

	if ((size_t)snprintf(path, sizeof(path), "sys/%s", below) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		fail(11);
	}
	init_mask(path, GT_INIT_STEP_INJECT);
}

void init_inject(const struct init_spec *spec, uint32_t id_base)
{
	if (spec->inject->n_nodes > 0)
		make_nodes(spec, id_base);
	if (spec->inject->n_texts > 0)
		show_texts(spec);
	for (uint32_t i = 0; i < spec->inject->n_hides; i++)
		hide(spec->hides[i]);
}

/* ---- links ---- */

static void make_link(int root, const char *path, const char *to, uint32_t id_base, unsigned index)
{
	const char *name = strrchr(path, '/') + 1;
	char dir[PATH_SIZE];
	int at;

	if ((size_t)snprintf(dir, sizeof(dir), "%.*s", (int)(name - path - 1), path) >= sizeof(dir))
		init_fail(GT_INIT_STEP_TARGET, ENAMETOOLONG, index);
	if (*dir) {
		at = init_target(root, dir, true, id_base, index);
	} else {
		at = init_open_below(root, ".", O_DIRECTORY, 0);
		if (at < 0)
			init_fail(GT_INIT_STEP_TARGET, errno, index);
	}
	if (unlinkat(at, name, 0) < 0 && errno != ENOENT)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	if (symlinkat(to, at, name) < 0 ||
	    fchownat(at, name, id_base, id_base, AT_SYMLINK_NOFOLLOW) < 0)
		init_fail(GT_INIT_STEP_TARGET, errno, index);
	close(at);
}

/* What fails is told by its place behind the mounts. */
void init_inject_links(const struct init_spec *spec, int root, uint32_t id_base)
{
	for (uint32_t i = 0; i < spec->inject->n_links; i++) {
		char *const *pair = &spec->links[2 * (size_t)i];

		if (pair[0][0] != '/')
			init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
		make_link(root, pair[0], pair[1], id_base, spec->head->n_mounts + i + 1);
	}
}
