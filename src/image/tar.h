/* tar.h - reads archives as they arrive: ustar, pax, GNU long names. No I/O; every number is
 * checked before it is used, every name is bounded. */
#ifndef GANTRY_IMAGE_TAR_H
#define GANTRY_IMAGE_TAR_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

#define TAR_BLOCK      512
#define TAR_PATH_MAX   4096
#define TAR_XATTRS_MAX 16

enum tar_type { TAR_FILE, TAR_LINK, TAR_SYMLINK, TAR_DIR, TAR_FIFO, TAR_TYPE_N };

struct tar_xattr {
	char *name; /* "user.x" */
	char *value;
	size_t len;
};

struct tar_entry {
	enum tar_type type;
	const char *path, *target; /* target of TAR_LINK and TAR_SYMLINK */
	uint32_t mode, uid, gid;   /* mode without the type */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint64_t size, offset; /* of the content, in the archive */
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

/* Strings are borrowed for the call. A negative answer ends the reading with it. */
typedef int tar_entry_fn(const struct tar_entry *e, void *arg, struct gt_err *err);

struct tar_reader;

struct tar_reader *tar_reader_new(tar_entry_fn *fn, void *arg);
void tar_reader_free(struct tar_reader *t); /* NULL is fine */
/* Slug "image_invalid". */
int tar_reader_feed(struct tar_reader *t, const void *data, size_t len, struct gt_err *err);
int tar_reader_end(struct tar_reader *t, struct gt_err *err); /* was the archive complete? */

#endif
