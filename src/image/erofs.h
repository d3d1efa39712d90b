/* erofs.h - the index of an archive: an erofs image without file contents, which stay in the
 * archive (the image's first extra device, addressed in its own blocks of 512 bytes). */
#ifndef GANTRY_IMAGE_EROFS_H
#define GANTRY_IMAGE_EROFS_H

#include "tree.h"

/* Writes it from offset 0 of fd. tar_bytes: of the archive. Uses the nodes' `place`. */
int erofs_write(struct tree *t, uint64_t tar_bytes, int fd, uint64_t *ret_bytes,
		struct gt_err *err);

#endif
