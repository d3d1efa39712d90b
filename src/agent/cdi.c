/* cdi.c - devices that documents of the Container Device Interface describe: found by name in the
 * operator's directories, and turned into what a container gets. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/gpu/inject.h>
#include <gantry/model/device.h>
#include <gantry/os/os.h>
#include <gantry/wire/cdi.h>

#include "gpus.h"

#define SLUG      "device_unavailable"
#define FILES_MAX 64 /* of one directory */

/* What is asked for, and what was found of it. */
struct search {
	const char *name, *device;
	char kind[GT_DEVICE_NAME_MAX + 1];
	struct gt_cdi *found;
	char *file;   /* which one has it */
	char *broken; /* those that could not be read, and why */
};

static void search_fini(struct search *s)
{
	gt_cdi_free(s->found);
	free(s->file);
	free(s->broken);
}

/* ---- documents ---- */

/* Whoever writes there decides what root gives to containers. */
static int check_owner(int fd, struct gt_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "look at it");
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return gt_err_set(err, EPERM, SLUG,
				  "it is no file that root owns and only root can write");
	return 0;
}

static int read_text(int fd, struct gt_buf *out, struct gt_err *err)
{
	char part[8192];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0) {
		if (gt_buf_add(out, part, (size_t)n) < 0)
			return gt_err_set(err, E2BIG, SLUG, "it has more than %d MiB",
					  (int)(GT_CDI_TEXT_MAX / GT_MIB));
	}
	return n < 0 ? gt_err_errno(err, errno, "read it") : 0;
}

static int read_file(int dir, const char *name, struct gt_cdi **ret, struct gt_err *err)
{
	gt_auto(fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	gt_auto(buf) struct gt_buf text = { 0 };
	const char *end = strrchr(name, '.');
	int r;

	gt_buf_init(&text, GT_CDI_TEXT_MAX);
	if (fd < 0)
		return gt_err_errno(err, errno, "open it");
	r = check_owner(fd, err);
	if (r == 0)
		r = read_text(fd, &text, err);
	return r < 0 ? r
		     : gt_cdi_read(gt_buf_str(&text), text.len,
				   gt_streq(end, ".json") ? GT_CDI_JSON : GT_CDI_YAML, ret, err);
}

static bool is_document(const struct dirent *e)
{
	const char *end = strrchr(e->d_name, '.');

	return e->d_name[0] != '.' && end &&
	       (gt_streq(end, ".json") || gt_streq(end, ".yaml") || gt_streq(end, ".yml"));
}

static int look_into(struct search *s, int dir, const char *path, const char *name,
		     struct gt_err *err)
{
	gt_auto(cdi) struct gt_cdi *c = NULL;
	struct gt_err why = { 0 };

	if (read_file(dir, name, &c, &why) < 0) {
		gt_warn("%s/%s: %s", path, name, why.text);
		char *more = gt_asprintf("%s; %s: %.160s", s->broken ? s->broken : "", name,
					 why.text);

		free(s->broken);
		s->broken = more;
		return 0;
	}
	if (!gt_streq(c->kind, s->kind) || !gt_cdi_find(c, s->device))
		return 0;
	if (s->found)
		return gt_err_set(err, EEXIST, SLUG, "%s is in %s and in %s/%s; keep one", s->name,
				  s->file, path, name);
	s->file = gt_asprintf("%s/%s", path, name);
	s->found = gt_steal(&c);
	return 0;
}

static int search_dir(struct search *s, const char *path, struct gt_err *err)
{
	DIR *d = opendir(path);
	struct dirent *e;
	size_t n = 0;
	int r = 0;

	if (!d)
		return 0;
	while (r == 0 && (e = readdir(d))) {
		if (!is_document(e))
			continue;
		if (++n > FILES_MAX)
			r = gt_err_set(err, E2BIG, SLUG, "%s has more than %d documents", path,
				       FILES_MAX);
		else
			r = look_into(s, dirfd(d), path, e->d_name, err);
	}
	closedir(d);
	return r;
}

/* The later directory goes over the earlier one: what a tool writes at each boot is newer. */
static int search_all(struct search *s, const char *dirs, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(dirs);
	char *end = copy + strlen(copy);
	int r = 0;

	while (r == 0 && !s->found && end > copy) {
		char *start = end;

		while (start > copy && start[-1] != ':')
			start--;
		r = search_dir(s, start, err);
		end = start > copy ? start - 1 : copy;
		*end = '\0';
	}
	if (r == 0 && !s->found)
		return gt_err_set(err, ENOENT, SLUG, "no document in %s describes %s%s", dirs,
				  s->name, s->broken ? s->broken : "");
	return r;
}

/* ---- what they ask for ---- */

static int node_of_host(const char *path, struct gt_inject_node *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r = gt_os_path_open(path, &fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)))
		return gt_err_set(err, ENODEV, SLUG, "%s is no device on this node", path);
	ret->type = S_ISBLK(st.st_mode) ? 'b' : 'c';
	ret->major = major(st.st_rdev);
	ret->minor = minor(st.st_rdev);
	return 0;
}

static int add_node(const struct gt_cdi_node *n, struct gt_inject *i, struct gt_err *err)
{
	const char *access = n->permissions ? n->permissions : "rw";
	struct gt_inject_node node = {
		.type = n->type && n->type[0] == 'b' ? 'b' : 'c',
		.read = strchr(access, 'r') != NULL,
		.write = strchr(access, 'w') != NULL,
		.major = n->major,
		.minor = n->minor,
	};
	int r = 0;

	gt_strcopy(node.path, sizeof(node.path), n->path);
	if (n->major == 0)
		r = node_of_host(n->host_path ? n->host_path : n->path, &node, err);
	return r < 0 ? r : gt_inject_node_add(i, &node, err);
}

/* What a whole document asks for is asked for by each device of it. */
static bool is_there(const struct gt_inject *i, const char *path, const struct stat *st)
{
	struct stat other;

	for (size_t k = 0; k < i->n_binds; k++) {
		if (gt_streq(i->binds[k].path, path))
			return fstat(i->binds[k].fd, &other) == 0 && other.st_dev == st->st_dev &&
			       other.st_ino == st->st_ino;
	}
	return false;
}

/* Read-only always, whatever the options say. */
static int add_mount(const struct gt_cdi_mount *m, struct gt_inject *i, struct gt_err *err)
{
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r;

	if (m->type && *m->type && !gt_streq(m->type, "bind") && !gt_streq(m->type, "none"))
		return gt_err_set(err, EINVAL, SLUG,
				  "mount at %s: \"%.20s\" is no type that is made here; only files "
				  "and directories of the node are mounted",
				  m->path, m->type);
	r = gt_os_path_open(m->host_path, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return gt_err_set(err, EINVAL, SLUG,
				  "mount of %s: it is a device; those belong into deviceNodes",
				  m->host_path);
	return is_there(i, m->path, &st) ? 0
					 : gt_inject_bind_add(i, m->path, gt_steal_fd(&fd), err);
}

static int add_env(const char *text, struct gt_inject *i, struct gt_err *err)
{
	size_t len = strcspn(text, "=");
	gt_auto(free) char *name = gt_strndup(text, len);

	/* Ours say who the replica is. */
	if (gt_starts_with(name, "GANTRY_"))
		return 0;
	return gt_inject_env_add(i, name, text + len + 1, err);
}

static int add_edits(const struct agent *a, const struct gt_cdi_edits *e, struct gt_inject *i,
		     struct gt_err *err)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < e->n_nodes; k++)
		r = add_node(&e->nodes[k], i, err);
	for (size_t k = 0; r == 0 && k < e->n_mounts; k++)
		r = add_mount(&e->mounts[k], i, err);
	for (size_t k = 0; r == 0 && k < e->n_links; k++)
		r = gt_inject_link_add(i, e->links[k].path, e->links[k].to, err);
	for (size_t k = 0; r == 0 && k < e->library_dirs.n; k++)
		r = gt_inject_library_dir_add(i, e->library_dirs.v[k], err);
	for (size_t k = 0; r == 0 && k < e->env.n; k++)
		r = add_env(e->env.v[k], i, err);
	if (r == 0 && e->driver_view)
		r = gt_gpu_inject_texts(&a->driver, i, err);
	return r;
}

/* ---- by name ---- */

int gt_cdi_inject(const struct agent *a, const char *name, struct gt_inject *ret,
		  struct gt_err *err)
{
	struct search s = { .name = name };
	int r;

	if (!gt_device_name_allowed(a->cdi_devices, name))
		return gt_err_set(err, EPERM, SLUG,
				  "the operator does not allow the device %s on this node (see "
				  "cdi_devices in the daemon's configuration)",
				  name);
	r = gt_device_name_split(name, s.kind, &s.device, err);
	if (r == 0)
		r = search_all(&s, a->cdi_dirs, err);
	if (r == 0)
		r = add_edits(a, &s.found->edits, ret, err);
	if (r == 0)
		r = add_edits(a, &gt_cdi_find(s.found, s.device)->edits, ret, err);
	if (r < 0 && s.file)
		gt_err_wrap(err, "%s of %s", name, s.file);
	if (r < 0 && err)
		gt_strcopy(err->slug, sizeof(err->slug), SLUG);
	search_fini(&s);
	return r;
}
