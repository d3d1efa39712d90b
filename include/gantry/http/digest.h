/* http/digest.h - the hash that names a token (only hashes are stored and sent around) and the
 * content of images. */
#ifndef GANTRY_HTTP_DIGEST_H
#define GANTRY_HTTP_DIGEST_H

#include <gantry/base/cleanup.h>

#define GT_SHA256_HEX_SIZE 65 /* with NUL */

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE]); /* lower case */
/* The same over bytes that arrive in pieces. A digest belongs to one thread at a time. */
struct gt_sha256;
struct gt_sha256 *gt_sha256_new(void); /* aborts when there is no memory */
void gt_sha256_add(struct gt_sha256 *s, const void *data, size_t len);
void gt_sha256_end(struct gt_sha256 *s GT_TAKES, char hex[GT_SHA256_HEX_SIZE]); /* frees s */
void gt_sha256_free(struct gt_sha256 *s); /* without a result; NULL is fine */
GT_CLEANUP_TYPE(sha256, struct gt_sha256 *, gt_sha256_free)

/* RFC 2104 over SHA-256, in base64. */
#define GT_HMAC_BASE64_SIZE 45
void gt_hmac_sha256_base64(const void *key, size_t key_len, const void *data, size_t len,
			   char out[GT_HMAC_BASE64_SIZE]);
/* The same over "ID.TIME.BODY", as webhooks are signed: a message's own id, and
 * when it is sent, in seconds. */
void gt_webhook_mac(const char *key, const char *id, uint64_t time_s, const void *body, size_t len,
		    char out[GT_HMAC_BASE64_SIZE]);
/* The value of webhook-signature: one of these for each key, "v1,MAC v1,MAC"; any that fits is
 * good. The caller's to free. */
char *gt_webhook_signature(const char *const *keys, size_t n, const char *id, uint64_t time_s,
			   const void *body, size_t len);
/* Takes the same time wherever the two differ. */
bool gt_secret_equal(const void *a, const void *b, size_t len);

#endif
