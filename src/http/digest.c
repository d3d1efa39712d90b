/* digest.c - SHA-256 as text and comparison in constant time, by OpenSSL. */
#include <gantry/http/digest.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char sum[SHA256_DIGEST_LENGTH];

	SHA256(data, len, sum);
	for (size_t i = 0; i < sizeof(sum); i++) {
		out[2 * i] = digits[sum[i] >> 4];
		out[2 * i + 1] = digits[sum[i] & 15];
	}
	out[2 * sizeof(sum)] = '\0';
}

bool gt_secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
