/* layer_tar.h - archives written by hand, so that they can lie; layers made of them in memory; what
 * their index holds as text. */
#ifndef TESTS_IMAGE_LAYER_TAR_H
#define TESTS_IMAGE_LAYER_TAR_H

#include <gantry/base/buf.h>
#include <gantry/image/layer.h>

struct tar_entry {
	const char *path, *link, *data;
	char type;               /* 0 = '0' */
	unsigned mode, uid, gid; /* mode 0 = 0644 */
	const char *size;        /* the field as it shall be, 12 bytes; NULL = of data */
	const char *pax;         /* "key=value\n..." for an 'x' before it */
	const char *raw_pax;     /* the same, as it shall be */
	const char *global;      /* for a 'g' before it */
	struct {
		size_t at, len;
		const char *bytes;
	} poke; /* over the finished header, before its checksum */
	bool bad_sum;
};

void tar_add(struct gt_buf *b, const struct tar_entry *e);
void tar_end(struct gt_buf *b); /* two zero blocks */
/* One header block with `len` bytes of content behind it, padded. */
void tar_block(struct gt_buf *b, const struct tar_entry *e, char type, const char *path,
	       const void *data, size_t len);

struct layer {
	int tar_fd, index_fd; /* memory */
	struct gt_layer_result res;
	struct gt_err err;
};

/* Feeds data in pieces of `step` bytes (0 = at once). Returns what the writer returned; the layer
 * is to be closed in any case. */
int layer_make(struct layer *l, enum gt_layer_form form, const void *data, size_t len, size_t step,
	       const struct gt_layer_limits *limits);
void layer_close(struct layer *l);
/* A line for each file: path, type, mode, owner, links, size, target, attributes. Fails the test
 * when the index is not sound. */
char *layer_list(const struct layer *l);
void fd_content(int fd, struct gt_buf *b);
void gzip_of(const struct gt_buf *plain, struct gt_buf *ret);
void zstd_of(const struct gt_buf *plain, struct gt_buf *ret);

#endif
