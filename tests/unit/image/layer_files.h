/* layer_files.h - directories made, packed by tar(1), mounted and compared. */
#ifndef TESTS_IMAGE_LAYER_FILES_H
#define TESTS_IMAGE_LAYER_FILES_H

#include "layer_tar.h"

struct place {
	char dir[64]; /* a directory of the test's own */
	int fd;
};

struct place *place_open(void);          /* NULL when we are not root */
void place_close(struct place *p);       /* removes all of it; NULL is fine */
void run_tool(const char *const *words); /* NULL-terminated; fails the test when the tool fails */
/* A tree with what file systems can hold, or archives of this format of tar(1) at least. */
void plant(const struct place *p, const char *name, bool xattrs);
/* Makes PLACE/NAME.tar and .index of compressed bytes; fails the test when it is refused. */
void layer_file(const struct place *p, const char *name, enum gt_layer_form form, const void *data,
		size_t len);
void layer_file_paths(const struct place *p, const char *name, char tar[128], char index[128]);
/* A mount of it for use as a directory descriptor, or -1 with a printed reason. */
int layer_mounted(const struct place *p, const char *name);
void file_content(const char *path, struct gt_buf *b);
int tmpfs_of(const char *size); /* a detached one */
/* All below two directories is the same: names, types, attributes, content, which names are one
 * file. b's owners are shifted by id_base; xattrs that begin with one of the prefixes count. */
void must_equal(int a, int b, uint32_t id_base, const char *const *xattr_prefixes);

#endif
