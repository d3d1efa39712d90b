/* erofs.h - the index: an erofs file system of metadata alone, whose file contents are extents of
 * device 1, the plain archive. Blocks are of 512 bytes, since that is what archives align to.
 *
 *   0      1024         1152       1280                    data block
 *   | zero | superblock | device 1 | inodes in order of    | large directories,
 *                                  | the walk, with        | long link targets
 *                                  | attributes and small  |
 *                                  | directories and links |
 */
#ifndef IMAGE_EROFS_H
#define IMAGE_EROFS_H

#include "tree.h"

#define EROFS_BLOCK_BITS  9
#define EROFS_BLOCK       (1u << EROFS_BLOCK_BITS)
#define EROFS_SUPER_AT    1024
#define EROFS_DEVICE_AT   1152
#define EROFS_FIRST_INODE 1280
#define EROFS_SLOT        32 /* an inode's number is its offset in these */
#define EROFS_INODE_BYTES 64
#define EROFS_DIRENT      12

enum { EROFS_FLAT_PLAIN = 0, EROFS_FLAT_INLINE = 2, EROFS_CHUNK_BASED = 4 };

/* The walk over a frozen tree with where everything goes. */
struct gt_erofs_layout {
	struct gt_tree_inode *
		*inodes; /* in the order of their places; directories before children */
	size_t n;
	uint64_t inodes_end, end; /* offsets in the index */
};

GT_MUST_USE int gt_erofs_layout(struct gt_tree *t, struct gt_erofs_layout *ret, struct gt_err *err);
/* Bytes that an inode's attributes take after it. */
size_t gt_erofs_xattr_bytes(const struct gt_tree_inode *i);
/* A directory's names in order, "." and ".." among them; at = 0 .. n_names + 1. */
struct gt_erofs_name {
	const char *name;
	const struct gt_tree_inode *inode;
};
struct gt_erofs_cursor {
	const struct gt_tree_inode *dir;
	uint32_t next; /* of dir->names */
	unsigned dots; /* of "." and ".." done */
};
bool gt_erofs_next(struct gt_erofs_cursor *c, struct gt_erofs_name *ret);
/* Takes from c the names that fit into one block. Returns how many; *bytes is what they take. */
unsigned gt_erofs_block_names(struct gt_erofs_cursor *c, struct gt_erofs_name *names,
			      size_t *bytes);
#define EROFS_BLOCK_NAMES (EROFS_BLOCK / (EROFS_DIRENT + 1))

/* Writes the index of a frozen tree to the empty file fd; id is 16 bytes that name the layer. */
GT_MUST_USE int gt_erofs_write(struct gt_tree *t, uint64_t tar_bytes, const uint8_t id[16], int fd,
			       uint64_t *ret_bytes, struct gt_err *err);

#endif
