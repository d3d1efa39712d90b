/* tree.h - the file tree that an archive means, before anything of it is anywhere: entries come in
 * the archive's order, later ones replace earlier ones as tar would do it, nothing leads out. */
#ifndef GANTRY_IMAGE_TREE_H
#define GANTRY_IMAGE_TREE_H

#include "tar.h"

#define TREE_NONE      UINT32_MAX
#define TREE_DEPTH_MAX 256

enum tree_kind { TREE_FILE, TREE_DIR, TREE_SYMLINK, TREE_FIFO, TREE_WHITEOUT };

/* Nodes are named by their number; 0 is the root. A hard link is a second name of a node. */
struct tree_node {
	enum tree_kind kind;
	uint32_t mode, uid, gid, mtime_ns;
	int64_t mtime_s;
	uint64_t size, offset; /* of a file's content in the archive */
	char *target;          /* of a symbolic link */
	struct tar_xattr *xattrs;
	size_t n_xattrs;
	bool opaque;     /* a directory that hides what lower layers have in it */
	uint32_t names;  /* how many there are: 0 = replaced */
	uint64_t place;  /* for whoever writes the tree */
	uint32_t parent; /* of a directory */
};

struct tree_name {
	uint32_t dir, node;
	uint32_t next; /* of the same directory, any order; TREE_NONE ends */
	char *text;    /* NULL: removed */
};

struct tree {
	struct tree_node *nodes;
	struct tree_name *names;
	uint32_t *first; /* by node: its first name when it is a directory */
	uint32_t n_nodes, n_names, room_nodes, room_names;
	uint32_t *slots; /* hash of (dir, text) to names */
	uint32_t n_slots;
	uint64_t entries_max;
};

struct tree *tree_new(uint64_t entries_max);
void tree_free(struct tree *t); /* NULL is fine */
/* Slug "image_invalid". */
int tree_add(struct tree *t, const struct tar_entry *e, struct gt_err *err);
/* Calls fn for the names of a directory, sorted by bytes. */
typedef int tree_name_fn(struct tree *t, const char *name, uint32_t node, void *arg,
			 struct gt_err *err);
int tree_each(struct tree *t, uint32_t dir, tree_name_fn *fn, void *arg, struct gt_err *err);
uint32_t tree_subdirs(const struct tree *t, uint32_t dir);

#endif
