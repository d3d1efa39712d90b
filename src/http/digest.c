/* digest.c - SHA-256 as text and comparison in constant time, by OpenSSL. */
#include <gantry/base/buf.h>
#include <gantry/http/digest.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

struct gt_sha256 {
	EVP_MD_CTX *ctx;
};

static void to_hex(const unsigned char sum[SHA256_DIGEST_LENGTH], char out[GT_SHA256_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
		out[2 * i] = digits[sum[i] >> 4];
		out[2 * i + 1] = digits[sum[i] & 15];
	}
	out[2 * SHA256_DIGEST_LENGTH] = '\0';
}

/* A digest that went wrong would vouch for anything; SHA-256 only fails without memory. */
static void must(int ok)
{
	if (ok != 1)
		gt_out_of_memory();
}

/* OpenSSL's allocations are small ones as ours are: it does not survive it everywhere that one
 * fails. Before it makes the first; all that use it for connections use digests, too. */
static void *allocate(size_t size, const char *file GT_UNUSED, int line GT_UNUSED)
{
	return size ? gt_grow(NULL, size, 1) : NULL;
}

static void *grow(void *p, size_t size, const char *file GT_UNUSED, int line GT_UNUSED)
{
	if (size)
		return gt_grow(p, size, 1);
	free(p);
	return NULL;
}

static void release(void *p, const char *file GT_UNUSED, int line GT_UNUSED)
{
	free(p);
}

__attribute__((constructor)) static void begin(void)
{
	CRYPTO_set_mem_functions(allocate, grow, release);
}

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* looking it up costs more than the digest of a token */

static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	must(sha256 != NULL);
}

void gt_sha256_hex(const void *data, size_t len, char out[GT_SHA256_HEX_SIZE])
{
	unsigned char sum[SHA256_DIGEST_LENGTH];

	pthread_once(&fetch_once, fetch);
	must(EVP_Digest(data, len, sum, NULL, sha256, NULL));
	to_hex(sum, out);
}

struct gt_sha256 *gt_sha256_new(void)
{
	struct gt_sha256 *s = gt_alloc(sizeof(*s));

	s->ctx = EVP_MD_CTX_new();
	must(s->ctx && EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL));
	return s;
}

void gt_sha256_add(struct gt_sha256 *s, const void *data, size_t len)
{
	must(EVP_DigestUpdate(s->ctx, data, len));
}

void gt_sha256_end(struct gt_sha256 *s, char hex[GT_SHA256_HEX_SIZE])
{
	unsigned char sum[SHA256_DIGEST_LENGTH];

	must(EVP_DigestFinal_ex(s->ctx, sum, NULL));
	to_hex(sum, hex);
	gt_sha256_free(s);
}

void gt_sha256_free(struct gt_sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

void gt_hmac_sha256_base64(const void *key, size_t key_len, const void *data, size_t len,
			   char out[GT_HMAC_BASE64_SIZE])
{
	unsigned char mac[SHA256_DIGEST_LENGTH];
	unsigned n = sizeof(mac);

	must(HMAC(EVP_sha256(), key, (int)key_len, data, len, mac, &n) != NULL);
	EVP_EncodeBlock((unsigned char *)out, mac, sizeof(mac));
}

void gt_webhook_mac(const char *key, const char *id, uint64_t time_s, const void *body, size_t len,
		    char out[GT_HMAC_BASE64_SIZE])
{
	struct gt_buf content = { 0 };

	gt_buf_addf(&content, "%s.%llu.", id, (unsigned long long)time_s);
	gt_buf_add(&content, body, len);
	gt_hmac_sha256_base64(key, strlen(key), content.data, content.len, out);
	gt_buf_wipe(&content); /* the body may have a token in it */
}

char *gt_webhook_signature(const char *const *keys, size_t n, const char *id, uint64_t time_s,
			   const void *body, size_t len)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	char mac[GT_HMAC_BASE64_SIZE];

	for (size_t i = 0; i < n; i++) {
		gt_webhook_mac(keys[i], id, time_s, body, len, mac);
		gt_buf_addf(&text, "%sv1,%s", i ? " " : "", mac);
	}
	return gt_strdup(gt_buf_str(&text));
}

bool gt_secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
