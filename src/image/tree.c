/* tree.c - what the entries of an archive mean together: later ones replace earlier ones, hard
 * links are names, whiteouts speak to lower layers. */
#include "tree.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WHITEOUT        ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

int gt_tree_init(struct gt_tree *t, uint64_t max_entries, struct gt_err *err)
{
	int r;

	memset(t, 0, sizeof(*t));
	t->max_entries = max_entries;
	t->arena.max = GT_TREE_BYTES_MAX;
	if ((r = gt_tree_inode_new(t, S_IFDIR | 0755, &t->root, err)) < 0)
		return r;
	t->root->parent = t->root;
	t->root->nlink = 1;
	return 0;
}

static void release_nothing(void *name)
{
	(void)name; /* is the arena's */
}

void gt_tree_fini(struct gt_tree *t)
{
	for (struct gt_tree_inode *d = t->dirs; d; d = d->next_dir) {
		tdestroy(d->children, release_nothing);
		free(d->names);
	}
	gt_arena_fini(&t->arena);
	t->dirs = NULL;
}

static void drop_inode(struct gt_tree_inode *i);

static void drop_one(const void *node, VISIT visit, void *arg)
{
	(void)arg;
	if (visit == postorder || visit == leaf)
		drop_inode((*(struct gt_tree_name *const *)node)->inode);
}

/* One name of it is gone; with a directory all that is below it. Depth is bounded by the paths. */
static void drop_inode(struct gt_tree_inode *i)
{
	i->nlink--;
	if (!S_ISDIR(i->mode))
		return;
	twalk_r(i->children, drop_one, NULL);
	tdestroy(i->children, release_nothing);
	i->children = NULL;
}

static int copy_xattrs(struct gt_tree *t, const struct gt_tar_entry *e, struct gt_tree_inode *i,
		       struct gt_err *err)
{
	struct gt_tree_xattr **end = &i->xattrs;
	size_t sum = 0;

	i->xattrs = NULL;
	for (size_t k = 0; k < e->n_xattrs; k++) {
		const struct gt_tar_xattr *x = &e->xattrs[k];
		size_t len = strlen(x->name);

		/* Rights, labels and what a file system keeps for itself are nothing that an image
		 * may bring along; overlayfs would obey its own in user.* too, if asked to. The
		 * kernel has user.* only for files and directories. */
		if (!gt_starts_with(x->name, "user.") || gt_starts_with(x->name, "user.overlay.") ||
		    (!S_ISREG(i->mode) && !S_ISDIR(i->mode)))
			continue;
		sum += len + x->len;
		if (len == strlen("user.") || len > GT_TREE_NAME_MAX || sum > GT_TREE_XATTR_MAX)
			return gt_image_refuse(err, "extended attributes the kernel can not hold");
		struct gt_tree_xattr *to = gt_arena_get(&t->arena, sizeof(*to));
		const char *name = gt_arena_text(&t->arena, x->name, len);
		const void *value = gt_arena_text(&t->arena, x->value, x->len);

		if (!to || !name || !value)
			return gt_tree_full(t, err);
		*to = (struct gt_tree_xattr){ .name = name, .value = value, .len = x->len };
		*end = to;
		end = &to->next;
	}
	return 0;
}

static int attributes(struct gt_tree *t, const struct gt_tar_entry *e, struct gt_tree_inode *i,
		      struct gt_err *err)
{
	i->mode = (i->mode & S_IFMT) | (S_ISLNK(i->mode) ? 0777 : e->mode); /* links have none */
	i->uid = e->uid;
	i->gid = e->gid;
	i->mtime = e->mtime;
	i->mtime_ns = e->mtime_ns;
	return copy_xattrs(t, e, i, err);
}

static int fill(struct gt_tree *t, const struct gt_tar_entry *e, struct gt_tree_inode *i,
		struct gt_err *err)
{
	if (e->type == GT_TAR_SYMLINK) {
		size_t len = strlen(e->link);

		if (len == 0 || len > GT_TAR_LINK_MAX)
			return gt_image_refuse(err, "a symbolic link of %zu bytes", len);
		i->target = gt_arena_text(&t->arena, e->link, len);
		if (!i->target)
			return gt_tree_full(t, err);
		i->size = len;
		return 0;
	}
	if (e->type == GT_TAR_FILE) {
		if (e->size > GT_TREE_FILE_MAX)
			return gt_image_refuse(err, "a file of %llu bytes",
					       (unsigned long long)e->size);
		i->size = e->size;
		i->offset = e->offset;
	}
	return 0;
}

/* The file that a hard link means: it must be there already. */
static int link_target(struct gt_tree *t, const char *link, struct gt_tree_inode **ret,
		       struct gt_err *err)
{
	struct gt_tree_where w;
	struct gt_tree_name *n;
	char shown[GT_SHOWN_SIZE];
	int r = gt_tree_walk(t, link, false, &w, err);

	if (r < 0 && r != -ENOENT)
		return gt_err_wrap(err, "hard link to %s", gt_image_shown(link, shown));
	n = r == 0 && w.name[0] ? gt_tree_find(w.dir, w.name) : NULL;
	if (r == 0 && !w.name[0])
		return gt_image_refuse(err, "a hard link to a directory");
	if (!n || S_ISCHR(n->inode->mode))
		return gt_image_refuse(err, "a hard link to %s, which is not there",
				       gt_image_shown(link, shown));
	if (S_ISDIR(n->inode->mode))
		return gt_image_refuse(err, "a hard link to a directory");
	*ret = n->inode;
	return 0;
}

static int add_hardlink(struct gt_tree *t, const struct gt_tar_entry *e,
			const struct gt_tree_where *w, struct gt_tree_name *n, struct gt_err *err)
{
	struct gt_tree_inode *to = NULL;
	int r;

	if (n && S_ISDIR(n->inode->mode)) {
		/* First, as it may take the target with it. */
		drop_inode(n->inode);
		t->last = NULL;
		if ((r = gt_tree_inode_new(t, S_IFCHR, &n->inode, err)) < 0)
			return r;
		gt_tree_put(n, w->dir, n->inode);
	}
	if ((r = link_target(t, e->link, &to, err)) < 0 ||
	    (!n && (r = gt_tree_name_new(t, w->dir, w->name, &n, err)) < 0))
		return r;
	if (to == n->inode)
		return 0;
	if (n->inode)
		drop_inode(n->inode);
	n->hides = true;
	gt_tree_put(n, w->dir, to);
	return 0;
}

static uint32_t type_bits(enum gt_tar_type type)
{
	switch (type) {
	case GT_TAR_DIR:
		return S_IFDIR;
	case GT_TAR_SYMLINK:
		return S_IFLNK;
	case GT_TAR_FIFO:
		return S_IFIFO;
	default:
		return S_IFREG;
	}
}

static int add_named(struct gt_tree *t, const struct gt_tar_entry *e, const struct gt_tree_where *w,
		     struct gt_err *err)
{
	struct gt_tree_name *n = gt_tree_find(w->dir, w->name);
	struct gt_tree_inode *i;
	int r;

	if (e->type == GT_TAR_HARDLINK)
		return add_hardlink(t, e, w, n, err);
	if (n && e->type == GT_TAR_DIR && S_ISDIR(n->inode->mode))
		return attributes(t, e, n->inode, err);
	if ((r = gt_tree_inode_new(t, type_bits(e->type), &i, err)) < 0 ||
	    (r = attributes(t, e, i, err)) < 0 || (r = fill(t, e, i, err)) < 0 ||
	    (!n && (r = gt_tree_name_new(t, w->dir, w->name, &n, err)) < 0))
		return r;
	if (n->inode) {
		if (S_ISDIR(n->inode->mode))
			t->last = NULL; /* it may be the one that goes */
		drop_inode(n->inode);
	}
	if (e->type != GT_TAR_DIR)
		n->hides = true;
	gt_tree_put(n, w->dir, i);
	return 0;
}

static int add_whiteout(struct gt_tree *t, const struct gt_tar_entry *e,
			const struct gt_tree_where *w, struct gt_err *err)
{
	const char *name = w->name + strlen(WHITEOUT);
	struct gt_tree_name *n;
	struct gt_tree_inode *i;
	int r;

	if (e->type != GT_TAR_FILE || e->size)
		return gt_image_refuse(err, "a whiteout that is no empty file");
	if (strcmp(w->name, WHITEOUT_OPAQUE) == 0) {
		w->dir->opaque = true;
		return 0;
	}
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    gt_starts_with(name, WHITEOUT))
		return gt_image_refuse(err, "a whiteout of nothing");
	n = gt_tree_find(w->dir, name);
	if (n) { /* it is not meant for what this layer has under that name */
		n->hides = true;
		return 0;
	}
	if ((r = gt_tree_inode_new(t, S_IFCHR, &i, err)) < 0 ||
	    (r = gt_tree_name_new(t, w->dir, name, &n, err)) < 0)
		return r;
	n->hides = true;
	gt_tree_put(n, w->dir, i);
	return 0;
}

int gt_tree_add(struct gt_tree *t, const struct gt_tar_entry *e, struct gt_err *err)
{
	struct gt_tree_where w;
	char shown[GT_SHOWN_SIZE];
	int r;

	if ((r = gt_tree_walk(t, e->path, true, &w, err)) == 0) {
		if (w.name[0] == '\0')
			r = e->type == GT_TAR_DIR
				    ? attributes(t, e, t->root, err)
				    : gt_image_refuse(err, "the root is no directory");
		else if (gt_starts_with(w.name, WHITEOUT))
			r = add_whiteout(t, e, &w, err);
		else
			r = add_named(t, e, &w, err);
	}
	return r < 0 ? gt_err_wrap(err, "%s", gt_image_shown(e->path, shown)) : 0;
}

/* ---- the end ---- */
struct collect {
	struct gt_tree_name **names;
	uint32_t n;
	bool opaque, whiteouts;
};

static void collect_one(const void *node, VISIT visit, void *arg)
{
	struct gt_tree_name *n = *(struct gt_tree_name *const *)node;
	struct collect *c = arg;

	if (visit != postorder && visit != leaf)
		return;
	if (S_ISCHR(n->inode->mode)) {
		if (c->opaque) /* hides all there is anyway */
			return;
		c->whiteouts = true;
	}
	if (S_ISDIR(n->inode->mode) && n->hides)
		n->inode->opaque = true;
	if (c->names)
		c->names[c->n] = n;
	c->n++;
}

static int say_to_overlay(struct gt_tree *t, struct gt_tree_inode *dir, const char *name,
			  const char *value, struct gt_err *err)
{
	struct gt_tree_xattr *x = gt_arena_get(&t->arena, sizeof(*x));

	if (!x)
		return gt_tree_full(t, err);
	*x = (struct gt_tree_xattr){ dir->xattrs, name, value, strlen(value) };
	dir->xattrs = x;
	return 0;
}

static int freeze_dir(struct gt_tree *t, struct gt_tree_inode *dir, struct gt_err *err)
{
	struct collect c = { .opaque = dir->opaque };
	int r;

	twalk_r(dir->children, collect_one, &c);
	dir->names = calloc(c.n + 1, sizeof(struct gt_tree_name *));
	if (!dir->names)
		return gt_tree_full(t, err);
	c.names = dir->names;
	c.n = 0;
	twalk_r(dir->children, collect_one, &c);
	dir->n_names = c.n;
	/* Without an origin overlayfs would list a directory that no other layer has as it is,
	 * whiteouts included. */
	if (c.whiteouts && (r = say_to_overlay(t, dir, "trusted.overlay.origin", "", err)) < 0)
		return r;
	if (dir->opaque && (r = say_to_overlay(t, dir, GT_TREE_OPAQUE, "y", err)) < 0)
		return r;
	for (uint32_t i = 0; i < c.n; i++) {
		struct gt_tree_inode *child = dir->names[i]->inode;

		if (S_ISDIR(child->mode) && (r = freeze_dir(t, child, err)) < 0)
			return r;
	}
	return 0;
}

int gt_tree_freeze(struct gt_tree *t, struct gt_err *err)
{
	return freeze_dir(t, t->root, err);
}
