/* wire/oci.h - the documents of image registries: OCI's and Docker's (schema 2) indexes and
 * manifests, image configurations, answers of token servers.
 *
 * They are foreign: members that nobody knows are ignored. What is read is strict: types, sizes,
 * counts, digests, no NUL characters, no member twice, and a document that could be taken for both
 * an index and a manifest is refused. Slug "image_invalid"; err->path names the member. Pure. */
#ifndef GANTRY_WIRE_OCI_H
#define GANTRY_WIRE_OCI_H

#include <gantry/base/err.h>
#include <gantry/model/image.h>

#define GT_OCI_MANIFEST_MAX (4 * GT_MIB)
#define GT_OCI_CONFIG_MAX   (8 * GT_MIB)
#define GT_OCI_TOKEN_MAX    (64 * GT_KIB) /* of a token server's answer */
#define GT_OCI_INDEX_MAX    512           /* entries */
#define GT_OCI_BLOB_MAX     (1ULL << 42)  /* bytes of one layer */

enum gt_oci_media {
	GT_OCI_OTHER,
	GT_OCI_INDEX,
	GT_OCI_MANIFEST,
	GT_OCI_CONFIG,
	GT_OCI_TAR,
	GT_OCI_TAR_GZIP,
	GT_OCI_TAR_ZSTD,
	GT_OCI_FOREIGN, /* a layer that may not be in a registry */
	GT_OCI_SCHEMA1,
};

enum gt_oci_media gt_oci_media(const char *media_type);
extern const char gt_oci_accept[]; /* for the Accept field when a manifest is asked for */

struct gt_oci_descriptor {
	char media_type[128];
	enum gt_oci_media media;
	char digest[GT_REF_DIGEST_SIZE]; /* "": of another algorithm; only in an index */
	uint64_t size;
	bool has_platform;
	char os[32], arch[32], variant[16];
};

struct gt_oci_manifest {
	enum gt_oci_media kind;          /* GT_OCI_INDEX or GT_OCI_MANIFEST */
	struct gt_oci_descriptor config; /* of a manifest */
	struct gt_oci_descriptor *items; /* manifests of an index, layers of a manifest */
	size_t n;
};

/* content_type: the field's value, or NULL when the answer had none. */
GT_MUST_USE int gt_oci_manifest_read(const char *text, size_t len, const char *content_type,
				     struct gt_oci_manifest **ret, struct gt_err *err);
void gt_oci_manifest_free(struct gt_oci_manifest *m); /* NULL is fine */
GT_CLEANUP_TYPE(oci_manifest, struct gt_oci_manifest *, gt_oci_manifest_free)

/* Refuses images for anything but linux/amd64. */
GT_MUST_USE int gt_oci_image_read(const char *text, size_t len, struct gt_image_config **ret,
				  struct gt_err *err);

/* {"token" or "access_token": ..., "expires_in": seconds}; expires_s is 60 when it is not said, at
 * most a day. The token fits a header field. The caller frees it. */
GT_MUST_USE int gt_oci_token_read(const char *text, size_t len, char **ret_token,
				  uint64_t *ret_expires_s, struct gt_err *err);

#endif
