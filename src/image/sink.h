/* sink.h - writes what a layer is uncompressed and digests it, on a second thread: decompression
 * takes about as long as both together. */
#ifndef IMAGE_SINK_H
#define IMAGE_SINK_H

#include <gantry/base/err.h>
#include <gantry/http/digest.h>

struct gt_sink;

/* fd stays the caller's. */
struct gt_sink *gt_sink_new(int fd);
/* The place for the next bytes, *room of them and never none; waits when the disk is behind. What
 * went wrong with earlier bytes is told here. */
GT_MUST_USE int gt_sink_room(struct gt_sink *s, uint8_t **ret, size_t *room, struct gt_err *err);
void gt_sink_commit(struct gt_sink *s, size_t len); /* at most *room */
/* Waits until all is written. */
GT_MUST_USE int gt_sink_finish(struct gt_sink *s, char hex[GT_SHA256_HEX_SIZE], struct gt_err *err);
void gt_sink_free(struct gt_sink *s); /* NULL is fine */

/* Slug "storage_full" where that is the reason. */
int gt_image_write_error(struct gt_err *err, int code, const char *what);

#endif
