/* image/registry.h - a client of OCI distribution registries. Blocking: for worker threads of a
 * process without rights. One struct gt_registry may be used by several threads at once.
 *
 * What comes back is verified: a manifest's bytes against the digest asked for (or announced), a
 * blob's size and digest while it streams. Credentials are sent to the host they belong to and to
 * no host it redirects to. */
#ifndef GANTRY_IMAGE_REGISTRY_H
#define GANTRY_IMAGE_REGISTRY_H

#include <stdatomic.h>

#include <gantry/base/clock.h>
#include <gantry/base/err.h>
#include <gantry/image/layer.h>
#include <gantry/model/image.h>

struct gt_registry;

struct gt_registry_config {
	/* Text of a docker config.json (auths, credHelpers, credsStore), or NULL. Copied. */
	const char *docker_config;
	/* Hosts (as in a reference) that are spoken to by plain HTTP; NULL-terminated, or NULL.
	 * Loopback addresses always may. */
	const char *const *insecure;
	const char *ca_file; /* extra CA certificates, or NULL */
	unsigned per_host;   /* requests at once to one host; 0 = 6 */
	unsigned stall_s;    /* give up a transfer that moves nothing for so long; 0 = 20 */
	unsigned tries;      /* of one request, with growing pauses; 0 = 5. 2 are the most where
				nobody has answered yet: refused, silent, no such host */
	unsigned pause_ms;   /* before the second try; doubled for each one more, at most 64 times
				this, also when a registry asks for more; 0 = 500 */
	/* Where docker-credential-NAME programs are looked for, as in PATH. NULL = the usual
	 * directories of the system. They get this PATH, HOME and nothing else. Copied. */
	const char *helper_path;
	unsigned helper_ms;           /* how long one may take; 0 = 10000 */
	const struct gt_clock *clock; /* for the age of tokens; NULL = the system's */
};

GT_MUST_USE int gt_registry_new(const struct gt_registry_config *config, struct gt_registry **ret,
				struct gt_err *err);
void gt_registry_free(struct gt_registry *r); /* no call may be running; NULL is fine */

struct gt_blob {
	char digest[GT_REF_DIGEST_SIZE];
	uint64_t bytes;
	enum gt_layer_form form; /* of layers */
};

struct gt_manifest {
	char digest[GT_REF_DIGEST_SIZE]; /* of the image manifest of this platform, not of an index
					  */
	char index[GT_REF_DIGEST_SIZE];  /* of the (outermost) index it was chosen from, or "" */
	struct gt_blob config;
	struct gt_blob *layers; /* lowest first, as many as config's diff ids */
	size_t n_layers;
};

/* Finds the manifest for linux/amd64, following an index. `cancel` may be NULL; when it becomes
 * true the call ends soon with -ECANCELED. Slugs: "image_missing" (404), "image_denied" (401, 403),
 * "registry_unavailable" (no answer, 5xx, 429 after all tries), "image_invalid" (what came is not
 * what it should be, or is for other platforms only). */
GT_MUST_USE int gt_registry_manifest(struct gt_registry *r, const struct gt_ref *ref,
				     const atomic_bool *cancel, struct gt_manifest **ret,
				     struct gt_err *err);
void gt_manifest_free(struct gt_manifest *m); /* NULL is fine */

/* Fetches and reads the config; counts its diff ids against the manifest's layers. */
GT_MUST_USE int gt_registry_config(struct gt_registry *r, const struct gt_ref *ref,
				   const struct gt_manifest *m, const atomic_bool *cancel,
				   struct gt_image_config **ret, struct gt_err *err);

/* Streams a blob in order; the sink gets each byte once, however often the transfer had to be taken
 * up again (by Range). A negative answer of the sink ends the transfer with it; its err is kept.
 * Returns 0 only after size and digest were found right. */
typedef int gt_blob_sink(const void *data, size_t len, void *arg, struct gt_err *err);
GT_MUST_USE int gt_registry_blob(struct gt_registry *r, const struct gt_ref *ref,
				 const struct gt_blob *blob, const atomic_bool *cancel,
				 gt_blob_sink *sink, void *arg, struct gt_err *err);

#endif
