/* tree.h - the files of one layer, put together from the entries of its archive: what each means,
 * and what is refused. Both the index and the extracted directory are made from this. */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

#include "arena.h"
#include "tar.h"

#define GT_TREE_NAME_MAX  255
#define GT_TREE_DEPTH_MAX 256            /* so that walks may recurse */
#define GT_TREE_BYTES_MAX (512 * GT_MIB) /* names, attributes and bookkeeping in memory */
#define GT_TREE_XATTR_MAX (60 * 1024)    /* names and values of one file */
#define GT_TREE_FILE_MAX  (1ull << 40)   /* what the index can say with one extent */

/* What overlayfs reads of a directory: nothing of it in lower layers counts. At the root of a layer
 * it is for whoever stacks layers, as overlayfs does not look there. */
#define GT_TREE_OPAQUE "trusted.overlay.opaque"

struct gt_tree_xattr {
	struct gt_tree_xattr *next; /* in the order of the archive */
	const char *name;
	const void *value;
	size_t len;
};

struct gt_tree_name {
	const char *name; /* first: names are compared by it alone */
	struct gt_tree_inode *inode;
	/* Something here or a whiteout has hidden what lower layers have under this name. */
	bool hides;
};

struct gt_tree_inode {
	uint32_t mode; /* with the type; a whiteout is a character device */
	uint32_t uid, gid, nlink;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t size, offset; /* of a file, in the archive; size of a link's target */
	const char *target;
	struct gt_tree_xattr *xattrs;
	/* Directories. */
	struct gt_tree_inode *parent, *next_dir; /* the root is its own parent */
	const char *name;                        /* below parent */
	void *children;                          /* tsearch(3) */
	struct gt_tree_name **names;             /* sorted by bytes; made by gt_tree_freeze */
	uint32_t n_names;
	bool opaque;
	/* For whoever walks the frozen tree: whether it came by, and where it put things. */
	bool seen;
	uint64_t place, data_at;
};

struct gt_tree {
	struct gt_arena arena;
	uint64_t entries, max_entries; /* names, also of directories that were only implied */
	struct gt_tree_inode *root, *dirs;
	/* Archives list a directory's files in a row. */
	struct gt_tree_inode *last;
	size_t last_len;
	char last_path[GT_TAR_PATH_MAX + 1];
};

GT_MUST_USE int gt_tree_init(struct gt_tree *t, uint64_t max_entries, struct gt_err *err);
void gt_tree_fini(struct gt_tree *t); /* all zero is fine */
/* Slug "image_invalid"; the text names the entry. */
GT_MUST_USE int gt_tree_add(struct gt_tree *t, const struct gt_tar_entry *e, struct gt_err *err);
/* After the last entry: sorts the names and says to overlayfs what hides what. */
GT_MUST_USE int gt_tree_freeze(struct gt_tree *t, struct gt_err *err);

/* ---- tree_path.c ---- */
struct gt_tree_where {
	struct gt_tree_inode *dir;
	char name[GT_TREE_NAME_MAX + 1]; /* "" = dir itself, the root */
};

/* Makes missing directories on the way when `make` is set, else -ENOENT. */
GT_MUST_USE int gt_tree_walk(struct gt_tree *t, const char *path, bool make,
			     struct gt_tree_where *ret, struct gt_err *err);
struct gt_tree_name *gt_tree_find(const struct gt_tree_inode *dir, const char *name);
GT_MUST_USE int gt_tree_name_new(struct gt_tree *t, struct gt_tree_inode *dir, const char *name,
				 struct gt_tree_name **ret, struct gt_err *err);
GT_MUST_USE int gt_tree_inode_new(struct gt_tree *t, uint32_t mode, struct gt_tree_inode **ret,
				  struct gt_err *err);
void gt_tree_put(struct gt_tree_name *n, struct gt_tree_inode *dir, struct gt_tree_inode *inode);
int gt_tree_full(const struct gt_tree *t, struct gt_err *err);

#endif
