/* model/image.h - the parts of an image's configuration that mean something to us. */
#ifndef GANTRY_MODEL_IMAGE_H
#define GANTRY_MODEL_IMAGE_H

#include <gantry/base/cleanup.h>
#include <gantry/model/ref.h>

#define GT_IMAGE_LAYERS_MAX 128

/* Strings are bounded as a function's specification is (model/limits.h). */
struct gt_image_config {
	char **entrypoint, **cmd, **env;      /* NULL-terminated, never NULL; env is "NAME=value" */
	char *user, *workdir, *stop_signal;   /* NULL = not said */
	uint16_t port;                        /* the only exposed TCP port, else 0 */
	char (*diff_ids)[GT_REF_DIGEST_SIZE]; /* of the layers uncompressed, lowest first */
	size_t n_diff_ids;
};

void gt_image_config_free(struct gt_image_config *c); /* NULL is fine */
GT_CLEANUP_TYPE(image_config, struct gt_image_config *, gt_image_config_free)

#endif
