/* model/image.h - the parts of an image's configuration that mean something to us, and what a node
 * knows of an image it has: the record beside its layers. */
#ifndef GANTRY_MODEL_IMAGE_H
#define GANTRY_MODEL_IMAGE_H

#include <gantry/base/cleanup.h>
#include <gantry/model/ref.h>

#define GT_IMAGE_LAYERS_MAX 120 /* overlayfs takes 500, a message with descriptors 253 */

struct gt_image_layer {
	char diff_id[GT_REF_DIGEST_SIZE]; /* of the uncompressed archive: the layer's name */
	char digest[GT_REF_DIGEST_SIZE];  /* of what the registry has; "" = not known */
	uint64_t download_bytes;
};

/* Strings are bounded as those of a specification are. Lists end in NULL. */
struct gt_image_record {
	char digest[GT_REF_DIGEST_SIZE]; /* of the manifest, or of a bundle's archive */
	char index[GT_REF_DIGEST_SIZE];  /* of the index that led to it by its digest, or "" */
	char *name;                      /* the reference it was last asked for by */
	uint64_t pulled_ms;              /* wall clock */
	char **entrypoint, **cmd, **env; /* env: "NAME=value" */
	size_t n_entrypoint, n_cmd, n_env;
	char *user, *workdir, *stop_signal; /* NULL = the image does not say */
	uint16_t port;                      /* the only TCP port that it exposes, else 0 */
	struct gt_image_layer *layers;      /* lowest first */
	size_t n_layers;
};

void gt_image_record_free(struct gt_image_record *r); /* NULL is fine */
GT_CLEANUP_TYPE(image_record, struct gt_image_record *, gt_image_record_free)

/* "TERM", "SIGTERM", "15", "SIGRTMIN+3": the number, or 0 when it is none. */
int gt_signal_parse(const char *name);

/* How far the pull of an image is. All 0 until its manifest is here. */
struct gt_pull_progress {
	uint64_t done_bytes, total_bytes; /* of the downloads; layers that are here count as done */
	uint32_t done_layers, total_layers;
};

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
