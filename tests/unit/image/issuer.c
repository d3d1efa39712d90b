/* issuer.c - see the header. */
#include "issuer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>

static void extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, (char *)value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(cert, e, -1), 1);
	X509_EXTENSION_free(e);
}

static X509 *cert_make(EVP_PKEY *key, const char *host)
{
	gt_auto(free) char *san = gt_asprintf("DNS:%s", host);
	X509 *cert = X509_new();

	assert_non_null(cert);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)host, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	extension(cert, NID_basic_constraints, "critical,CA:TRUE");
	extension(cert, NID_subject_alt_name, san);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	return cert;
}

void issuer_init(struct issuer *i, const char *dir, const char *host)
{
	gt_auto(free) char *cert_path = gt_asprintf("%s/cert.pem", dir);
	gt_auto(free) char *key_path = gt_asprintf("%s/key.pem", dir);
	gt_auto(file) FILE *cert_file = fopen(cert_path, "w");
	gt_auto(file) FILE *key_file = fopen(key_path, "w");
	unsigned char *der = NULL;

	i->key = EVP_RSA_gen(2048);
	assert_non_null(i->key);
	X509 *cert = cert_make(i->key, host);
	int len = i2d_X509(cert, &der);

	assert_true(len > 0 && (size_t)len < sizeof(i->cert) / 2);
	EVP_EncodeBlock((unsigned char *)i->cert, der, len);
	assert_true(cert_file && key_file);
	assert_int_equal(PEM_write_X509(cert_file, cert), 1);
	assert_int_equal(PEM_write_PrivateKey(key_file, i->key, NULL, NULL, 0, NULL, NULL), 1);
	OPENSSL_free(der);
	X509_free(cert);
}

void issuer_fini(struct issuer *i)
{
	EVP_PKEY_free(i->key);
}

/* Base64 as in URLs, without padding; the caller frees it. */
static char *base64url(const void *data, size_t len)
{
	char *out = malloc(4 * ((len + 2) / 3) + 1);

	assert_non_null(out);
	EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	for (char *p = out; *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p == '=' ? '\0' : *p;
	return out;
}

char *issuer_token(const struct issuer *i, const char *repository)
{
	unsigned long long now = gt_wall_ms(&gt_clock_system) / 1000;
	gt_auto(free) char *head = gt_asprintf(
		"{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"%s\"]}", i->cert);
	gt_auto(free) char *claims = gt_asprintf(
		"{\"iss\":\"issuer\",\"sub\":\"\",\"aud\":\"test\",\"jti\":\"1\",\"iat\":%llu,"
		"\"nbf\":%llu,\"exp\":%llu,\"access\":[{\"type\":\"repository\",\"name\":\"%s\","
		"\"actions\":[\"pull\"]}]}",
		now, now - 60, now + 300, repository);
	gt_auto(free) char *head64 = base64url(head, strlen(head));
	gt_auto(free) char *claims64 = base64url(claims, strlen(claims));
	gt_auto(free) char *text = gt_asprintf("%s.%s", head64, claims64);
	unsigned char signature[512];
	size_t len = sizeof(signature);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, i->key), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &len, (unsigned char *)text, strlen(text)),
			 1);
	EVP_MD_CTX_free(ctx);
	gt_auto(free) char *signature64 = base64url(signature, len);

	return gt_asprintf("%s.%s", text, signature64);
}
