/* image.c - layers and host paths as detached mounts. A path is opened once; what was checked is
 * what is mounted. Ids are mapped, so that files of the host's root belong to the container's root:
 * each sandbox has copies of the mounts, as a mount can be mapped for one range of ids only, and
 * once. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>
#include <gantry/runtime/foreign.h>

#include "runtime_impl.h"

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

static int map_layer(int tree, uint64_t attr, int userns, struct gt_err *err)
{
	int r = gt_os_tree_attr(tree, attr, userns, err);

	return r == -EINVAL
		       ? gt_err_set(err, EINVAL, "sandbox_failed",
				    "the file system of the state directory can not map ids, "
				    "which unpacked layers need: keep it on ext4, xfs or btrfs")
		       : r;
}

int gt_tree_take(const struct plan *p, const struct plan_tree *t, int userns, int *ret,
		 struct gt_err *err)
{
	uint64_t attr = t->attr | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	gt_auto(fd) int tree = -EBADF;
	int r = 0;

	/* Before 6.15 there is no copy of what is detached. */
	if (t->layer && p->once)
		tree = fcntl(t->fd, F_DUPFD_CLOEXEC, 3);
	else
		r = gt_os_tree_open(t->fd, &tree, err);
	if (r == 0)
		r = t->layer ? map_layer(tree, attr, userns, err)
			     : gt_os_tree_attr(tree, attr, -1, err);
	if (r < 0) {
		gt_err_wrap(err, "%s", t->name);
		return gt_cause_set(err, r);
	}
	if (t->map && gt_os_tree_attr(tree, 0, userns, NULL) < 0)
		gt_debug("%s: its file system can not map ids", t->name);
	*ret = gt_steal_fd(&tree);
	return 0;
}

/* Takes the descriptor. */
static void add_tree(struct plan *p, struct plan_tree t, const struct stat *st, const char *name)
{
	t.name = gt_strdup(name);
	t.id[0] = st->st_dev;
	t.id[1] = st->st_ino;
	p->trees[p->n_trees++] = t;
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

static int host_open(struct gt_runtime *rt, const struct gt_container_args *args, struct plan *p,
		     struct gt_err *err)
{
	const struct gt_spec *spec = args->spec;
	bool host = spec->image_kind == GT_IMAGE_HOST;
	gt_auto(fd) int fd = -EBADF;
	struct stat st = { 0 };
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
	add_tree(p,
		 (struct plan_tree){ .fd = gt_steal_fd(&fd),
				     .attr = args->foreign && args->foreign->root_direct
						     ? 0
						     : MOUNT_ATTR_RDONLY,
				     .map = !host },
		 &st, spec->image);
	p->n_layers = 1;
	return 0;
}

int gt_image_open(struct gt_runtime *rt, const struct gt_container_args *args, struct plan *p,
		  struct gt_err *err)
{
	if (args->n_layers == 0)
		return host_open(rt, args, p, err);
	if (args->n_layers > GT_RUNTIME_LAYERS_MAX)
		return gt_err_set(err, E2BIG, "sandbox_failed", "image %s has more than %d layers",
				  args->spec->image, GT_RUNTIME_LAYERS_MAX);
	if (!rt->layers_by_fd && !args->layers_owned)
		return gt_err_set(err, EOPNOTSUPP, "sandbox_failed",
				  "this kernel's overlay can not share layers between containers");
	for (size_t i = 0; i < args->n_layers; i++) {
		gt_auto(fd) int fd = fcntl(args->layers[i], F_DUPFD_CLOEXEC, 3);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			return gt_err_set(err, errno, "sandbox_failed", "layer %zu of image %s: %s",
					  i, args->spec->image, strerror(errno));
		add_tree(p,
			 (struct plan_tree){
				 .fd = gt_steal_fd(&fd), .layer = true, .attr = MOUNT_ATTR_RDONLY },
			 &st, args->spec->image);
	}
	p->n_layers = args->n_layers;
	p->once = args->layers_owned;
	return 0;
}

/* By trying, as the kernel does not tell: network file systems, some of FUSE, stacked ones can not.
 * There, files keep the host's ids, which the container sees as nobody's. What it may write itself
 * must be its own when it is started again. */
static bool maps_ids(struct gt_runtime *rt, int fd)
{
	gt_auto(fd) int tree = -EBADF;
	int userns;

	return gt_idrange_userns(&rt->ids, rt->ids.base, &userns, NULL) == 0 &&
	       gt_os_tree_open(fd, &tree, NULL) == 0 && gt_os_tree_attr(tree, 0, userns, NULL) == 0;
}

int gt_runtime_path_open(struct gt_runtime *rt, const char *path, int *ret, struct gt_err *err)
{
	struct stat st;

	return path_take(rt, path, "volume_missing", ret, &st, err);
}

int gt_file_add(const struct gt_container_file *file, struct plan *p, struct gt_err *err)
{
	gt_auto(fd) int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_set(err, errno, "sandbox_failed", "file at %s: %s", file->path,
				  strerror(errno));
	add_tree(p,
		 (struct plan_tree){
			 .fd = gt_steal_fd(&fd), .attr = MOUNT_ATTR_RDONLY, .map = true },
		 &st, file->path);
	p->passing = true;
	return 0;
}

int gt_volume_open(struct gt_runtime *rt, const struct gt_volume *volume, struct plan *p,
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
	p->shared_ids |= !volume->readonly && !maps_ids(rt, fd);
	add_tree(p,
		 (struct plan_tree){ .fd = gt_steal_fd(&fd),
				     .attr = volume->readonly ? MOUNT_ATTR_RDONLY : 0,
				     .map = true },
		 &st, volume->host);
	return 0;
}

/* As they are on the node: the program may read them, and they are not its own. */
int gt_bind_open(const struct gt_inject_bind *bind, struct plan *p, struct gt_err *err)
{
	gt_auto(fd) int fd = fcntl(bind->fd, F_DUPFD_CLOEXEC, 3);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return gt_err_set(err, errno, "device_unavailable", "%s: %s", bind->path,
				  strerror(errno));
	add_tree(p, (struct plan_tree){ .fd = gt_steal_fd(&fd), .attr = MOUNT_ATTR_RDONLY }, &st,
		 bind->path);
	return 0;
}
