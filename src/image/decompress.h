/* decompress.h - gzip, zstd or nothing, as one stream of bytes out. */
#ifndef IMAGE_DECOMPRESS_H
#define IMAGE_DECOMPRESS_H

#include <gantry/base/err.h>
#include <gantry/image/layer.h>

struct gt_decompress;

GT_MUST_USE int gt_decompress_new(enum gt_layer_form form, struct gt_decompress **ret,
				  struct gt_err *err);
void gt_decompress_free(struct gt_decompress *d); /* NULL is fine */
/* Takes from *in and moves it on, writes up to `room` bytes (at least 1) to out and says how many.
 * To be called until it writes nothing and *in_len is 0. Slug "image_invalid". */
GT_MUST_USE int gt_decompress_run(struct gt_decompress *d, const uint8_t **in, size_t *in_len,
				  uint8_t *out, size_t room, size_t *ret, struct gt_err *err);
/* After the last byte: -EBADMSG when the stream is not complete. */
GT_MUST_USE int gt_decompress_finish(const struct gt_decompress *d, struct gt_err *err);

#endif
