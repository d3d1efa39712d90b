/* decompress.h - one door to the forms that layers come in. Bytes in, bytes out through a sink. */
#ifndef GANTRY_IMAGE_DECOMPRESS_H
#define GANTRY_IMAGE_DECOMPRESS_H

#include <gantry/base/err.h>
#include <gantry/image/layer.h>

struct decompressor;
typedef int decompress_sink(const void *data, size_t len, void *arg, struct gt_err *err);

int decompress_new(enum gt_layer_form form, decompress_sink *sink, void *arg,
		   struct decompressor **ret, struct gt_err *err);
void decompress_free(struct decompressor *d); /* NULL is fine */
/* Slug "image_invalid", or what the sink says. */
int decompress_feed(struct decompressor *d, const void *data, size_t len, struct gt_err *err);
int decompress_end(struct decompressor *d, struct gt_err *err); /* was the stream complete? */

#endif
