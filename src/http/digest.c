/* digest.c - SHA-256 as text and comparison in constant time, by OpenSSL. */
#include <gantry/http/digest.h>

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct gt_sha256 {
	EVP_MD_CTX *ctx;
};

/* OpenSSL fails here only without memory, or when it was told to refuse SHA-256. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

struct gt_sha256 *gt_sha256_new(void)
{
	struct gt_sha256 *s = gt_alloc(sizeof(*s));

	s->ctx = EVP_MD_CTX_new();
	must(s->ctx != NULL && EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL));
	return s;
}

void gt_sha256_free(struct gt_sha256 *s)
{
	if (s)
		EVP_MD_CTX_free(s->ctx);
	free(s);
}

void gt_sha256_add(struct gt_sha256 *s, const void *data, size_t len)
{
	must(EVP_DigestUpdate(s->ctx, data, len));
}

void gt_sha256_end(struct gt_sha256 *s, char out[GT_SHA256_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char sum[(GT_SHA256_HEX_SIZE - 1) / 2];

	must(EVP_DigestFinal_ex(s->ctx, sum, NULL));
	gt_sha256_free(s);
	for (size_t i = 0; i < sizeof(sum); i++) {
		out[2 * i] = digits[sum[i] >> 4];
		out[2 * i + 1] = digits[sum[i] & 15];
	}
	out[2 * sizeof(sum)] = '\0';
}

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE])
{
	struct gt_sha256 *s = gt_sha256_new();

	gt_sha256_add(s, data, len);
	gt_sha256_end(s, out);
}

bool gt_secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
