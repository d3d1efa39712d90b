/* base/buf.h - a growing byte buffer with a hard cap. Up to 64 KiB are a small allocation (base.h);
 * no memory for more is as if the cap were passed. Always NUL-terminated after the last byte, so
 * that text in it can be used as a string. */
#ifndef GANTRY_BASE_BUF_H
#define GANTRY_BASE_BUF_H

#include <gantry/base/cleanup.h>

struct gt_buf {
	char *data; /* NULL while nothing was added */
	size_t len, cap;
	size_t max;  /* most bytes it may hold; 0 is taken as GT_BUF_MAX_DEFAULT */
	bool failed; /* an add was refused: the content is cut and must not be used */
};

#define GT_BUF_MAX_DEFAULT (64 * GT_MIB)

void gt_buf_init(struct gt_buf *b, size_t max);
void gt_buf_fini(struct gt_buf *b); /* frees; the buffer may be used again after it */
void gt_buf_wipe(struct gt_buf *b); /* the same of a secret: nothing of it stays in memory */
/* 0, or -ENOBUFS when it would pass the cap (nothing is added then, and `failed` is set). */
int gt_buf_add(struct gt_buf *b, const void *data, size_t len);
int gt_buf_adds(struct gt_buf *b, const char *s);
int gt_buf_addc(struct gt_buf *b, char c);
int gt_buf_addf(struct gt_buf *b, const char *fmt, ...) GT_PRINTF(2, 3);
/* Room for `len` more bytes to write in place; NULL past the cap. Commit by adding to b->len. */
char *gt_buf_reserve(struct gt_buf *b, size_t len);
void gt_buf_consume(struct gt_buf *b, size_t len); /* drops bytes from the front */
void gt_buf_reset(struct gt_buf *b);               /* len = 0, keeps the memory */
char *gt_buf_str(struct gt_buf *b);                /* "" when empty; owned by the buffer */
char *gt_buf_steal(struct gt_buf *b);              /* the caller frees; "" (allocated) when empty */

static inline void gt_cleanup_buf(struct gt_buf *b)
{
	gt_buf_fini(b);
}

#endif
