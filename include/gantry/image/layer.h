/* image/layer.h - one layer of an image: its archive in, what can be mounted out.
 *
 * The writer takes the compressed bytes as they arrive and writes two files: the archive as it is
 * uncompressed, and an erofs index of it (metadata only, file contents stay in the archive, which
 * is the index's device 1). Nothing is written but these two files, so it needs no right over
 * anything else. Whiteouts become what overlayfs understands. Every archive is hostile: entries,
 * names, sizes, links and depth are bounded, what can not be meant honestly is refused with the
 * entry's name.
 *
 * A writer belongs to one thread at a time; for large layers it has one more of its own, which
 * digests and writes and takes no signals. Its memory: about 1 MiB and 250 bytes an entry, at most
 * 512 MiB for entries (a hostile archive), and up to 128 MiB for the window of a zstd frame. */
#ifndef GANTRY_IMAGE_LAYER_H
#define GANTRY_IMAGE_LAYER_H

#include <stdint.h>

#include <gantry/base/err.h>
#include <gantry/model/ref.h>

enum gt_layer_form { GT_LAYER_TAR, GT_LAYER_GZIP, GT_LAYER_ZSTD, GT_LAYER_FORM_N };

struct gt_layer_limits {
	uint64_t bytes;   /* uncompressed; 0 = 200 GiB */
	uint64_t entries; /* 0 = 1,000,000 */
};

struct gt_layer_result {
	char diff_id[GT_REF_DIGEST_SIZE]; /* "sha256:..." of the uncompressed archive */
	uint64_t tar_bytes, index_bytes;
	uint64_t entries; /* names, those of implied directories among them */
};

struct gt_layer_writer;

/* tar_fd, index_fd: new empty files, open for reading and writing; stay the caller's. limits may be
 * NULL. */
GT_MUST_USE int gt_layer_new(enum gt_layer_form form, int tar_fd, int index_fd,
			     const struct gt_layer_limits *limits, struct gt_layer_writer **ret,
			     struct gt_err *err);
/* Slugs: "image_invalid" for what the archive does wrong, "storage_full" for a full disk. After an
 * error only gt_layer_free may follow. */
GT_MUST_USE int gt_layer_feed(struct gt_layer_writer *w, const void *data, size_t len,
			      struct gt_err *err);
/* After the last byte: completes the index. Neither file is synced: when both must outlive a crash
 * is the caller's to say. */
GT_MUST_USE int gt_layer_finish(struct gt_layer_writer *w, struct gt_layer_result *ret,
				struct gt_err *err);
void gt_layer_free(struct gt_layer_writer *w); /* NULL is fine */

/* The layer as a read-only detached mount (nosuid, nodev), without id mapping. tar_path and
 * index_path must be absolute. -EOPNOTSUPP when this kernel can not mount erofs from files; slug
 * "sandbox_failed". */
GT_MUST_USE int gt_layer_mount(const char *tar_path, const char *index_path, int *ret,
			       struct gt_err *err);

/* The same of a directory that gt_layer_extract filled. */
GT_MUST_USE int gt_layer_mount_dir(int dir_fd, int *ret, struct gt_err *err);

/* Does the layer's root hide all layers below it? Then they must be left out: overlayfs does not
 * look at the attributes of a root. mount_fd: of one of the two above, by root. */
GT_MUST_USE int gt_layer_opaque(int mount_fd, bool *ret, struct gt_err *err);

/* The fallback: unpacks an uncompressed archive that a writer accepted into the empty directory
 * dir, with the archive's owners shifted by id_base, whiteouts and opaque directories as overlayfs
 * wants them. As root, but confined: no path resolves outside of dir. */
GT_MUST_USE int gt_layer_extract(int tar_fd, int dir_fd, uint32_t id_base, struct gt_err *err);

#endif
