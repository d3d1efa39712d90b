/* issuer.h - a key with its certificate, and the tokens that Debian's docker-registry takes when it
 * trusts that certificate. */
#ifndef TESTS_IMAGE_ISSUER_H
#define TESTS_IMAGE_ISSUER_H

#include <openssl/evp.h>

struct issuer {
	EVP_PKEY *key;
	char cert[4096]; /* base64 of its DER */
};

/* Writes DIR/cert.pem (for the host name, signed by itself) and DIR/key.pem. */
void issuer_init(struct issuer *i, const char *dir, const char *host);
void issuer_fini(struct issuer *i);
/* Pulls from repository; the caller frees it. */
char *issuer_token(const struct issuer *i, const char *repository);

#endif
