/* pki_make.c - keys, requests, the authority and what it signs. */
#include "pki_priv.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define SERIAL_BITS 127

struct gt_pki_ca {
	EVP_PKEY *key;
	X509 *cert;
	struct gt_buf pem;
	char pin[GT_PKI_PIN_SIZE];
};

/* What a memory BIO holds becomes the buffer's; the BIO is wiped and freed. `ok` says whether all
 * that was written to it was. */
static int take(BIO *bio, bool ok, const char *what, struct gt_buf *out, struct gt_err *err)
{
	char *text = NULL;
	long len = ok && bio ? BIO_get_mem_data(bio, &text) : 0;

	gt_buf_init(out, GT_PKI_PEM_MAX);
	/* In one step, so that no copy of a key is left in memory that grew. */
	if (len > 0)
		gt_buf_add(out, text, (size_t)len);
	if (text)
		OPENSSL_cleanse(text, (size_t)len);
	BIO_free(bio);
	if (len <= 0 || out->failed)
		return gt_pki_refuse(err, EINVAL, what, "can not be made");
	return 0;
}

static int key_text(EVP_PKEY *key, struct gt_buf *pem, struct gt_err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = bio &&
		  PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, gt_pki_pass, NULL) == 1;

	return take(bio, ok, "private key", pem, err);
}

static int cert_text(X509 *cert, struct gt_buf *pem, struct gt_err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take(bio, bio && PEM_write_bio_X509(bio, cert) == 1, "certificate", pem, err);
}

int gt_pki_key_new(struct gt_buf *pem, struct gt_err *err)
{
	gt_auto(pki_key) EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		return gt_pki_refuse(err, EINVAL, "private key", "can not be made");
	return key_text(key, pem, err);
}

int gt_pki_request(const char *key_pem, struct gt_buf *csr, struct gt_err *err)
{
	gt_auto(pki_key) EVP_PKEY *key = NULL;
	int r = gt_pki_key_read(key_pem, strlen(key_pem), &key, err);

	if (r < 0)
		return r;
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = req && bio && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
		  X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0 &&
		  PEM_write_bio_X509_REQ(bio, req) == 1;

	X509_REQ_free(req);
	return take(bio, ok, "certificate request", csr, err);
}

/* ---- certificates -------------------------------------------------------------------------- */

static bool add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1) == 1;

	X509_EXTENSION_free(ext);
	return ok;
}

static bool set_serial(X509 *cert)
{
	BIGNUM *bn = BN_new();
	bool ok = bn && BN_rand(bn, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL;

	BN_free(bn);
	return ok;
}

static bool set_time(ASN1_TIME *t, uint64_t ms)
{
	return ASN1_TIME_set(t, (time_t)(ms / 1000)) != NULL;
}

/* Everything but extensions and signature. */
static bool fill(X509 *cert, X509 *issuer, EVP_PKEY *key, const char *cn, uint64_t from_ms,
		 uint64_t to_ms)
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	       set_time(X509_getm_notBefore(cert), from_ms) &&
	       set_time(X509_getm_notAfter(cert), to_ms) && X509_set_pubkey(cert, key) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1,
					  -1, 0) == 1 &&
	       X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1;
}

static uint64_t backdated(uint64_t now_ms)
{
	return now_ms > GT_PKI_BACK_MS ? now_ms - GT_PKI_BACK_MS : 0;
}

int gt_pki_ca_new(uint64_t now_ms, struct gt_buf *key, struct gt_buf *cert, struct gt_err *err)
{
	gt_auto(pki_key) EVP_PKEY *pkey = EVP_EC_gen("P-256");
	gt_auto(pki_cert) X509 *x = X509_new();
	bool ok = pkey && x &&
		  fill(x, x, pkey, "Gantry cluster", backdated(now_ms), GT_PKI_CA_END_MS) &&
		  add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		  add_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		  add_ext(x, x, NID_subject_key_identifier, "hash") &&
		  X509_sign(x, pkey, EVP_sha256()) > 0;

	if (!ok)
		return gt_pki_refuse(err, EINVAL, "authority", "can not be made");
	int r = key_text(pkey, key, err);

	if (r == 0 && (r = cert_text(x, cert, err)) < 0)
		gt_buf_wipe(key);
	return r;
}

int gt_pki_ca_open(const char *key_pem, const char *cert_pem, struct gt_pki_ca **ret,
		   struct gt_err *err)
{
	gt_auto(pki_ca) struct gt_pki_ca *ca = gt_alloc(sizeof(*ca));
	int r = gt_pki_key_read(key_pem, strlen(key_pem), &ca->key, err);

	if (r == 0)
		r = gt_pki_cert_read(cert_pem, strlen(cert_pem), &ca->cert, err);
	if (r == 0)
		r = gt_pki_pin(ca->cert, ca->pin, err);
	if (r < 0)
		return r;
	if (X509_check_private_key(ca->cert, ca->key) != 1)
		return gt_pki_refuse(err, EINVAL, "authority", "the key is not the certificate's");
	if (X509_check_ca(ca->cert) != 1)
		return gt_pki_refuse(err, EINVAL, "authority", "its certificate may not sign");
	/* As it will be sent: without what else the text may have had around it. */
	r = cert_text(ca->cert, &ca->pem, err);
	if (r == 0)
		*ret = gt_steal(&ca);
	return r;
}

void gt_pki_ca_free(struct gt_pki_ca *ca)
{
	if (!ca)
		return;
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	gt_buf_fini(&ca->pem);
	free(ca);
}

const char *gt_pki_ca_pem(const struct gt_pki_ca *ca)
{
	return ca->pem.data;
}

const char *gt_pki_ca_pin(const struct gt_pki_ca *ca)
{
	return ca->pin;
}

/* A request whose sender has shown that the private key is his. */
static int request_read(const char *csr, size_t len, X509_REQ **ret, struct gt_err *err)
{
	static const char what[] = "certificate request";
	BIO *bio;
	int r = gt_pki_pem_open(csr, len, what, &bio, err);

	if (r < 0)
		return r;
	X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, gt_pki_pass, NULL);

	BIO_free(bio);
	if (!req)
		r = gt_pki_refuse(err, EINVAL, what, "is damaged");
	else if (!gt_pki_p256(X509_REQ_get_X509_PUBKEY(req)))
		r = gt_pki_refuse(err, EINVAL, what, "its key is not of P-256");
	else if (X509_REQ_get_signature_nid(req) != NID_ecdsa_with_SHA256)
		r = gt_pki_refuse(err, EINVAL, what, "is not signed by ECDSA with SHA-256");
	else if (X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1)
		r = gt_pki_refuse(err, EINVAL, what, "is not signed by its own key");
	if (r == 0)
		*ret = req;
	else
		X509_REQ_free(req);
	return r;
}

int gt_pki_request_pin(const char *csr, size_t len, char ret[GT_PKI_PIN_SIZE], struct gt_err *err)
{
	X509_REQ *req = NULL;
	int r = request_read(csr, len, &req, err);

	if (r == 0)
		r = gt_pki_pin_key(X509_REQ_get_X509_PUBKEY(req), ret, err);
	X509_REQ_free(req);
	return r;
}

static bool names_it(X509 *cert, X509 *ca, enum gt_pki_kind kind, const char *name)
{
	char san[GT_PKI_NAME_SIZE + 32];

	snprintf(san, sizeof(san), "URI:gantry://%s/%s", gt_pki_kind_names[kind], name);
	return add_ext(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_ext(cert, ca, NID_key_usage, "critical,digitalSignature") &&
	       add_ext(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
	       add_ext(cert, ca, NID_authority_key_identifier, "keyid:always") &&
	       add_ext(cert, ca, NID_subject_alt_name, san);
}

int gt_pki_sign(const struct gt_pki_ca *ca, const char *csr, size_t len, enum gt_pki_kind kind,
		const char *name, uint64_t now_ms, uint64_t life_ms, struct gt_buf *cert,
		struct gt_err *err)
{
	X509_REQ *req = NULL;
	gt_auto(pki_cert) X509 *x = X509_new();
	time_t end = (time_t)((now_ms + life_ms) / 1000);
	int r;

	if (!gt_pki_name_ok(name, strlen(name)))
		return gt_pki_refuse(err, EINVAL, "certificate", "the name is none");
	r = request_read(csr, len, &req, err);
	if (r < 0)
		return r;
	bool ok = x && fill(x, ca->cert, X509_REQ_get0_pubkey(req), name, backdated(now_ms),
			    now_ms + life_ms);

	X509_REQ_free(req);
	if (ok && ASN1_TIME_cmp_time_t(X509_get0_notAfter(ca->cert), end) < 0)
		ok = X509_set1_notAfter(x, X509_get0_notAfter(ca->cert)) == 1;
	if (!ok || !names_it(x, ca->cert, kind, name) || X509_sign(x, ca->key, EVP_sha256()) <= 0)
		return gt_pki_refuse(err, EINVAL, "certificate", "can not be made");
	return cert_text(x, cert, err);
}
