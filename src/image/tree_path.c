/* tree_path.c - paths of an archive resolved in the tree, strictly: no "..", no way through
 * anything but directories of this very archive. */
#include "tree.h"

#include <search.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct gt_tree_name *gt_tree_find(const struct gt_tree_inode *dir, const char *name)
{
	void *at = tfind(&name, &dir->children, by_name);

	return at ? *(struct gt_tree_name **)at : NULL;
}

int gt_tree_full(const struct gt_tree *t, struct gt_err *err)
{
	if (t->entries >= t->max_entries)
		return gt_image_refuse(err, "more than %llu entries",
				       (unsigned long long)t->max_entries);
	if (t->arena.total + GT_TAR_PATH_MAX > t->arena.max)
		return gt_image_refuse(err, "more than %llu MiB of names and attributes",
				       (unsigned long long)(t->arena.max / GT_MIB));
	return gt_err_errno(err, ENOMEM, "the files of a layer");
}

int gt_tree_inode_new(struct gt_tree *t, uint32_t mode, struct gt_tree_inode **ret,
		      struct gt_err *err)
{
	struct gt_tree_inode *i = gt_arena_get(&t->arena, sizeof(*i));

	if (!i)
		return gt_tree_full(t, err);
	i->mode = mode;
	if (S_ISDIR(mode)) {
		i->next_dir = t->dirs;
		t->dirs = i;
	}
	*ret = i;
	return 0;
}

int gt_tree_name_new(struct gt_tree *t, struct gt_tree_inode *dir, const char *name,
		     struct gt_tree_name **ret, struct gt_err *err)
{
	struct gt_tree_name *n = gt_arena_get(&t->arena, sizeof(*n));

	if (!n || t->entries >= t->max_entries)
		return gt_tree_full(t, err);
	n->name = gt_arena_text(&t->arena, name, strlen(name));
	if (!n->name || !tsearch(n, &dir->children, by_name))
		return gt_tree_full(t, err);
	t->entries++;
	*ret = n;
	return 0;
}

void gt_tree_put(struct gt_tree_name *n, struct gt_tree_inode *dir, struct gt_tree_inode *inode)
{
	n->inode = inode;
	inode->nlink++;
	if (S_ISDIR(inode->mode)) {
		inode->parent = dir;
		inode->name = n->name;
	}
}

static int step(struct gt_tree *t, struct gt_tree_inode **dir, const char *name, bool make,
		struct gt_err *err)
{
	struct gt_tree_name *n = gt_tree_find(*dir, name);
	struct gt_tree_inode *i = NULL;
	char shown[GT_SHOWN_SIZE];
	int r;

	if (gt_starts_with(name, ".wh."))
		return gt_image_refuse(err, "passes through the whiteout %s",
				       gt_image_shown(name, shown));
	if (n && S_ISDIR(n->inode->mode)) {
		*dir = n->inode;
		return 0;
	}
	if (n && !S_ISCHR(n->inode->mode))
		return gt_image_refuse(err, "passes through %s, which is no directory",
				       gt_image_shown(name, shown));
	if (!make)
		return -ENOENT;
	/* Missing, or hidden by a whiteout so far: a directory that only its files speak of. */
	if ((r = gt_tree_inode_new(t, S_IFDIR | 0755, &i, err)) < 0 ||
	    (!n && (r = gt_tree_name_new(t, *dir, name, &n, err)) < 0))
		return r;
	gt_tree_put(n, *dir, i);
	*dir = i;
	return 0;
}

/* The next component of *path into out; *path stands behind it and its slashes then. Returns its
 * length, 0 at the end. */
static int component(const char **path, char out[GT_TREE_NAME_MAX + 1], struct gt_err *err)
{
	size_t len = strcspn(*path, "/");

	if (len > GT_TREE_NAME_MAX)
		return gt_image_refuse(err, "a name longer than %d bytes", GT_TREE_NAME_MAX);
	memcpy(out, *path, len);
	out[len] = '\0';
	*path += len;
	*path += strspn(*path, "/");
	if (strcmp(out, "..") == 0)
		return gt_image_refuse(err, "a path with \"..\"");
	return (int)len;
}

/* What stands behind the last slash, where that is the name of the entry. */
static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] && strcmp(slash + 1, ".") != 0 ? slash + 1 : NULL;
}

/* The directory of the last path again? Then only the name is left to look at. */
static const char *shortcut(const struct gt_tree *t, const char *path)
{
	const char *name = last_name(path);

	if (!t->last || !name || (size_t)(name - path) != t->last_len ||
	    memcmp(path, t->last_path, t->last_len) != 0)
		return NULL;
	return name;
}

static void remember(struct gt_tree *t, const char *path, struct gt_tree_inode *dir)
{
	const char *name = last_name(path);

	if (!name)
		return;
	t->last = dir;
	t->last_len = (size_t)(name - path);
	memcpy(t->last_path, path, t->last_len);
}

int gt_tree_walk(struct gt_tree *t, const char *path, bool make, struct gt_tree_where *ret,
		 struct gt_err *err)
{
	struct gt_tree_inode *dir = t->root;
	char name[GT_TREE_NAME_MAX + 1] = "", next[GT_TREE_NAME_MAX + 1];
	const char *at = path;
	unsigned depth = 0;
	int r;

	if (!*path)
		return gt_image_refuse(err, "an empty path");
	if (strlen(path) > GT_TAR_PATH_MAX)
		return gt_image_refuse(err, "a path longer than %d bytes", GT_TAR_PATH_MAX);
	if (make && (at = shortcut(t, path)))
		dir = t->last;
	else
		at = path + strspn(path, "/"); /* a path from the root is one from our root */
	while ((r = component(&at, next, err)) > 0) {
		if (strcmp(next, ".") == 0)
			continue;
		if (++depth > GT_TREE_DEPTH_MAX)
			return gt_image_refuse(err, "deeper than %d", GT_TREE_DEPTH_MAX);
		if (*name && (r = step(t, &dir, name, make, err)) < 0)
			return r;
		memcpy(name, next, sizeof(name));
	}
	if (r < 0)
		return r;
	if (make)
		remember(t, path, dir);
	ret->dir = dir;
	memcpy(ret->name, name, sizeof(name));
	return 0;
}
