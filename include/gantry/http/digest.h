/* http/digest.h - the hash that names a token: only hashes are stored and sent around. */
#ifndef GANTRY_HTTP_DIGEST_H
#define GANTRY_HTTP_DIGEST_H

#include <gantry/base/base.h>

#define GT_SHA256_HEX_SIZE 65 /* with NUL */

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE]); /* lower case */
/* Takes the same time wherever the two differ. */
bool gt_secret_equal(const void *a, const void *b, size_t len);

#endif
