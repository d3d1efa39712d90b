/* pki.c - keys, requests, certificates and whom they name, by OpenSSL. */
#include <gantry/http/pki.h>

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "pki_priv.h"

#define URI_SCHEME "gantry://"

const char *const gt_pki_kind_names[GT_PKI_KINDS] = { "node", "gateway" };

int gt_pki_refuse(struct gt_err *err, int code, const char *what, const char *why)
{
	unsigned long first = ERR_peek_error();
	const char *reason = first ? ERR_reason_error_string(first) : NULL;

	ERR_clear_error();
	return gt_err_set(err, code, "bad_certificate", "%s: %s%s%s", what, why, reason ? ": " : "",
			  reason ? reason : "");
}

int gt_pki_pass(char *buf, int size, int rw, void *arg)
{
	(void)buf;
	(void)size;
	(void)rw;
	(void)arg;
	return -1;
}

/* One object of the given type, and nothing else of its kind behind it. */
int gt_pki_pem_open(const char *pem, size_t len, const char *what, BIO **ret, struct gt_err *err)
{
	ERR_clear_error();
	if (len == 0 || len > GT_PKI_PEM_MAX)
		return gt_pki_refuse(err, EINVAL, what, "must have 1 to 8192 bytes");
	const char *begin = memmem(pem, len, "-----BEGIN ", 11);

	if (!begin || memmem(begin + 1, len - (size_t)(begin + 1 - pem), "-----BEGIN ", 11))
		return gt_pki_refuse(err, EINVAL, what, "must be one object in PEM form");
	*ret = BIO_new_mem_buf(pem, (int)len);
	return *ret ? 0 : gt_pki_refuse(err, ENOMEM, what, "OpenSSL has no memory");
}

/* A SubjectPublicKeyInfo of an uncompressed point on the named curve P-256 has one form. */
bool gt_pki_p256(const X509_PUBKEY *pub)
{
	static const unsigned char head[] = {
		0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
		0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
	};
	unsigned char der[sizeof(head) + 64], *at = der;

	if (i2d_X509_PUBKEY(pub, NULL) != (int)sizeof(der))
		return false;
	return i2d_X509_PUBKEY(pub, &at) == (int)sizeof(der) &&
	       memcmp(der, head, sizeof(head)) == 0;
}

/* The names that nodes, functions and gateways have everywhere. */
bool gt_pki_name_ok(const char *name, size_t len)
{
	if (len == 0 || len >= GT_PKI_NAME_SIZE || name[0] == '-' || name[len - 1] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") >= len;
}

int gt_pki_cert_read(const char *pem, size_t len, struct x509_st **ret, struct gt_err *err)
{
	BIO *bio;
	int r = gt_pki_pem_open(pem, len, "certificate", &bio, err);

	if (r < 0)
		return r;
	gt_auto(pki_cert) X509 *cert = PEM_read_bio_X509(bio, NULL, gt_pki_pass, NULL);

	BIO_free(bio);
	if (!cert)
		return gt_pki_refuse(err, EINVAL, "certificate", "is damaged");
	if (!gt_pki_p256(X509_get_X509_PUBKEY(cert)))
		return gt_pki_refuse(err, EINVAL, "certificate", "its key is not of P-256");
	*ret = gt_steal(&cert);
	return 0;
}

void gt_pki_cert_free(struct x509_st *cert)
{
	X509_free(cert);
}

int gt_pki_key_read(const char *pem, size_t len, struct evp_pkey_st **ret, struct gt_err *err)
{
	char curve[32] = "";
	BIO *bio;
	int r = gt_pki_pem_open(pem, len, "private key", &bio, err);

	if (r < 0)
		return r;
	gt_auto(pki_key) EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, gt_pki_pass, NULL);

	BIO_free(bio);
	if (!key)
		return gt_pki_refuse(err, EINVAL, "private key", "is damaged or has a passphrase");
	if (!EVP_PKEY_is_a(key, "EC") ||
	    EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) != 1 ||
	    strcmp(curve, SN_X9_62_prime256v1) != 0)
		return gt_pki_refuse(err, EINVAL, "private key", "is not of P-256");
	*ret = gt_steal(&key);
	return 0;
}

void gt_pki_key_free(struct evp_pkey_st *key)
{
	EVP_PKEY_free(key);
}

/* False when it is before 1970 or no time at all. */
static bool unix_ms(const ASN1_TIME *t, uint64_t *ret)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days = 0, secs = 0;
	bool ok = epoch && ASN1_TIME_diff(&days, &secs, epoch, t) == 1 && days >= 0 && secs >= 0;

	ASN1_TIME_free(epoch);
	if (ok)
		*ret = ((uint64_t)days * 86400 + (uint64_t)secs) * 1000;
	return ok;
}

static bool uri_read(const ASN1_IA5STRING *uri, struct gt_pki_id *ret)
{
	size_t len = (size_t)ASN1_STRING_length(uri), at = strlen(URI_SCHEME);
	const char *text = (const char *)ASN1_STRING_get0_data(uri);

	if (len <= at || memcmp(text, URI_SCHEME, at) != 0)
		return false;
	for (int k = 0; k < GT_PKI_KINDS; k++) {
		size_t n = strlen(gt_pki_kind_names[k]);

		if (len <= at + n + 1 || memcmp(text + at, gt_pki_kind_names[k], n) != 0 ||
		    text[at + n] != '/')
			continue;
		at += n + 1;
		if (len - at >= GT_PKI_NAME_SIZE)
			return false;
		ret->kind = (enum gt_pki_kind)k;
		memcpy(ret->name, text + at, len - at);
		ret->name[len - at] = '\0';
		return gt_pki_name_ok(ret->name, len - at);
	}
	return false;
}

int gt_pki_identity(const struct x509_st *cert, struct gt_pki_id *ret, struct gt_err *err)
{
	struct gt_pki_id id = { 0 };
	int where = -1;
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &where, NULL);
	/* Behind a second extension of the kind, or a second name, could stand anybody. */
	bool ok = names && where != -2 && sk_GENERAL_NAME_num(names) == 1;
	const GENERAL_NAME *one = ok ? sk_GENERAL_NAME_value(names, 0) : NULL;

	ok = ok && one->type == GEN_URI && uri_read(one->d.uniformResourceIdentifier, &id);
	GENERAL_NAMES_free(names);
	if (!ok)
		return gt_pki_refuse(err, EINVAL, "certificate", "names no node and no gateway");
	if (!unix_ms(X509_get0_notBefore(cert), &id.not_before_ms) ||
	    !unix_ms(X509_get0_notAfter(cert), &id.not_after_ms) ||
	    id.not_after_ms < id.not_before_ms)
		return gt_pki_refuse(err, EINVAL, "certificate", "its dates are none");
	*ret = id;
	return 0;
}

int gt_pki_identity_pem(const char *pem, size_t len, struct gt_pki_id *ret, struct gt_err *err)
{
	gt_auto(pki_cert) X509 *cert = NULL;
	int r = gt_pki_cert_read(pem, len, &cert, err);

	return r < 0 ? r : gt_pki_identity(cert, ret, err);
}

int gt_pki_pin_key(const X509_PUBKEY *pub, char ret[GT_PKI_PIN_SIZE], struct gt_err *err)
{
	unsigned char sum[SHA256_DIGEST_LENGTH], *der = NULL;
	int len = i2d_X509_PUBKEY(pub, &der);

	if (len <= 0)
		return gt_pki_refuse(err, EINVAL, "public key", "there is none");
	bool ok = EVP_Digest(der, (size_t)len, sum, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	if (!ok)
		return gt_pki_refuse(err, ENOMEM, "public key", "OpenSSL has no SHA-256");
	gt_pki_base64url(sum, sizeof(sum), ret);
	return 0;
}

int gt_pki_pin(const struct x509_st *cert, char ret[GT_PKI_PIN_SIZE], struct gt_err *err)
{
	return gt_pki_pin_key(X509_get_X509_PUBKEY(cert), ret, err);
}

int gt_pki_begun(int ok, struct x509_store_ctx_st *ctx)
{
	if (!ok && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_NOT_YET_VALID) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	return ok;
}

/* Does the one authority vouch for the leaf, by the whole of X.509's rules but one? */
static int vouched(X509 *ca, X509 *leaf, uint64_t now_ms, struct gt_err *err)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int why = X509_V_ERR_UNSPECIFIED, r = 0;

	if (store && ctx && X509_STORE_add_cert(store, ca) == 1 &&
	    X509_STORE_CTX_init(ctx, store, leaf, NULL) == 1 &&
	    X509_STORE_CTX_set_default(ctx, "ssl_server") == 1) {
		X509_STORE_CTX_set_time(ctx, 0, (time_t)(now_ms / 1000));
		X509_STORE_CTX_set_verify_cb(ctx, gt_pki_begun);
		why = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	}
	if (why != X509_V_OK)
		r = gt_pki_refuse(err, why == X509_V_ERR_CERT_HAS_EXPIRED ? EKEYEXPIRED : EACCES,
				  "the server's certificate", X509_verify_cert_error_string(why));
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return r;
}

int gt_pki_pinned(const struct x509_st *leaf, const struct stack_st_X509 *chain, const char *pin,
		  uint64_t now_ms, struct gt_pki_id *ret, struct gt_err *err)
{
	char have[GT_PKI_PIN_SIZE];
	X509 *ca = NULL;
	int r;

	for (int i = 0; i < sk_X509_num(chain) && !ca; i++) {
		X509 *cert = sk_X509_value(chain, i);

		if (gt_pki_pin(cert, have, NULL) == 0 && strcmp(have, pin) == 0 &&
		    gt_pki_p256(X509_get_X509_PUBKEY(cert)) && X509_check_ca(cert) == 1)
			ca = cert;
	}
	if (!ca)
		return gt_pki_refuse(err, EACCES, "the server's certificate",
				     "is of another cluster than the token");
	/* Verifying writes down what it found in the certificate: OpenSSL locks it itself. */
	r = vouched(ca, (X509 *)leaf, now_ms, err);
	return r < 0 ? r : gt_pki_identity(leaf, ret, err);
}
