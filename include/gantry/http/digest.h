/* http/digest.h - SHA-256: of tokens, of which only hashes are stored and sent around, and of what
 * is named by its content. */
#ifndef GANTRY_HTTP_DIGEST_H
#define GANTRY_HTTP_DIGEST_H

#include <gantry/base/base.h>

#define GT_SHA256_HEX_SIZE 65 /* with NUL */

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE]); /* lower case */
/* The same over bytes that come one after the other. _end writes the digest and frees. */
struct gt_sha256;
struct gt_sha256 *gt_sha256_new(void);
void gt_sha256_add(struct gt_sha256 *s, const void *data, size_t len);
void gt_sha256_end(struct gt_sha256 *s, char out[GT_SHA256_HEX_SIZE]);
void gt_sha256_free(struct gt_sha256 *s); /* NULL is fine */
/* Takes the same time wherever the two differ. */
bool gt_secret_equal(const void *a, const void *b, size_t len);

#endif
