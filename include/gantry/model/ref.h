/* model/ref.h - the name of an image in a registry: HOST[:PORT]/PATH[:TAG][@sha256:HEX].
 *
 * The host is always written: a short name would mean whatever registry somebody configured. Pure.
 */
#ifndef GANTRY_MODEL_REF_H
#define GANTRY_MODEL_REF_H

#include <gantry/base/err.h>

#define GT_REF_HOST_SIZE   256
#define GT_REF_PATH_SIZE   256 /* the distribution specification's own limit for names */
#define GT_REF_TAG_SIZE    129
#define GT_REF_DIGEST_SIZE 72 /* "sha256:" and 64 hex digits */
#define GT_REF_TEXT_SIZE \
	(GT_REF_HOST_SIZE + GT_REF_PATH_SIZE + GT_REF_TAG_SIZE + GT_REF_DIGEST_SIZE)

struct gt_ref {
	char host[GT_REF_HOST_SIZE]; /* "registry.example:5000", "[::1]:5000" */
	char path[GT_REF_PATH_SIZE]; /* "team/echo" */
	char tag[GT_REF_TAG_SIZE];   /* "latest" when neither tag nor digest is written; else may be
					"" */
	char digest[GT_REF_DIGEST_SIZE]; /* "sha256:..." or "" */
};

/* The one registry that has several names: that of references, the one by which it answers, and the
 * address by which credential helpers know it. */
#define GT_HUB_HOST   "docker.io"
#define GT_HUB_API    "registry-1.docker.io"
#define GT_HUB_SERVER "https://index.docker.io/v1/"
bool gt_host_is_hub(const char *host); /* by whatever name */

/* -EINVAL with slug "invalid_spec"; the text says what is wrong and how to write it. */
GT_MUST_USE int gt_ref_parse(const char *text, struct gt_ref *ret, struct gt_err *err);
/* Canonical: host/path[:tag][@digest]. */
void gt_ref_format(const struct gt_ref *ref, char out[GT_REF_TEXT_SIZE]);
bool gt_digest_ok(const char *digest); /* "sha256:" and 64 lower-case hex digits, nothing else */
const char *gt_digest_hex(const char *digest); /* of one that is ok: its digits alone */

#endif
