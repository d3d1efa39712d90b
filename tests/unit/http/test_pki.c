/* test_pki.c - the authority signs what is proven, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <gantry/http/pki.h>

#define NOW  1900000000000ULL /* long after today: nothing here may ask the machine's clock */
#define WEEK (7ULL * 86400 * 1000)

struct world {
	struct gt_pki_ca *ca;
	struct gt_buf ca_key, ca_cert, key, csr, cert;
};

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	struct gt_err err;

	assert_int_equal(gt_pki_ca_new(NOW, &w->ca_key, &w->ca_cert, &err), 0);
	assert_int_equal(gt_pki_ca_open(w->ca_key.data, w->ca_cert.data, &w->ca, &err), 0);
	assert_int_equal(gt_pki_key_new(&w->key, &err), 0);
	assert_int_equal(gt_pki_request(w->key.data, &w->csr, &err), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_pki_ca_free(w->ca);
	gt_buf_wipe(&w->ca_key);
	gt_buf_fini(&w->ca_cert);
	gt_buf_wipe(&w->key);
	gt_buf_fini(&w->csr);
	gt_buf_fini(&w->cert);
	free(w);
	return 0;
}

static int sign(struct world *w, enum gt_pki_kind kind, const char *name, uint64_t life_ms)
{
	struct gt_err err = { 0 };

	gt_buf_fini(&w->cert);
	return gt_pki_sign(w->ca, w->csr.data, w->csr.len, kind, name, NOW, life_ms, &w->cert,
			   &err);
}

/* Most of its life is the time that it is dated back; it is not renewed for that at once. */
static void a_short_certificate_is_renewed_in_its_time(void **state)
{
	struct world *w = *state;
	struct gt_pki_id id;
	struct gt_err err;

	assert_int_equal(sign(w, GT_PKI_NODE, "n-1", 3000), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_int_equal(gt_pki_renew_ms(&id), NOW + 2000);
	assert_int_equal(gt_pki_wait_ms(&id, NOW + 1500), 500);
	assert_int_equal(gt_pki_wait_ms(&id, NOW - WEEK), GT_PKI_LOOK_MS); /* it may be set again */
	assert_int_equal(gt_pki_wait_ms(&id, NOW + 2000), 0);
	assert_int_equal(gt_pki_wait_ms(&id, NOW + WEEK), 0);
}

static X509 *read_cert(const struct gt_buf *pem)
{
	struct gt_err err;
	X509 *x = NULL;

	assert_int_equal(gt_pki_cert_read(pem->data, pem->len, &x, &err), 0);
	return x;
}

static void a_certificate_names_its_holder(void **state)
{
	struct world *w = *state;
	struct gt_pki_id id;
	struct gt_err err;

	assert_int_equal(sign(w, GT_PKI_NODE, "n-1", WEEK), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_int_equal(id.kind, GT_PKI_NODE);
	assert_string_equal(id.name, "n-1");
	assert_int_equal(id.not_before_ms, NOW - GT_PKI_BACK_MS);
	assert_int_equal(id.not_after_ms, NOW + WEEK);
	assert_int_equal(gt_pki_renew_ms(&id), NOW + WEEK / 3 * 2);

	gt_auto(pki_cert) X509 *x = read_cert(&w->cert);
	gt_auto(pki_key) EVP_PKEY *key = NULL;

	assert_int_equal(gt_pki_key_read(w->key.data, w->key.len, &key, &err), 0);
	assert_int_equal(X509_check_private_key(x, key), 1);
	char pin[GT_PKI_PIN_SIZE], asked[GT_PKI_PIN_SIZE];

	assert_int_equal(gt_pki_pin(x, pin, &err), 0);
	assert_int_equal(gt_pki_request_pin(w->csr.data, w->csr.len, asked, &err), 0);
	assert_string_equal(pin, asked);
	assert_true(ASN1_STRING_length(X509_get0_serialNumber(x)) >= 12); /* of 16 random bytes */
	assert_int_equal(sign(w, GT_PKI_GATEWAY, "g", WEEK), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_int_equal(id.kind, GT_PKI_GATEWAY);
}

static void a_certificate_from_before_its_node_joined_is_anothers(void **state)
{
	struct world *w = *state;
	struct gt_pki_id id;
	struct gt_err err;

	assert_int_equal(sign(w, GT_PKI_NODE, "n", WEEK), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_true(gt_pki_since(&id, NOW));
	assert_true(gt_pki_since(&id, NOW - WEEK));
	assert_false(gt_pki_since(&id, NOW + 1000));
}

static void names_that_are_none_get_no_certificate(void **state)
{
	static const char *const bad[] = {
		"", "-a", "a-", "A", "a/b", "a b", "a,URI:gantry://node/b", "a\nb", "a.b", "a_b"
	};
	char name[66];

	for (size_t i = 0; i < GT_LEN(bad); i++)
		assert_int_equal(sign(*state, GT_PKI_NODE, bad[i], WEEK), -EINVAL);
	memset(name, 'a', sizeof(name));
	name[64] = '\0';
	assert_int_equal(sign(*state, GT_PKI_NODE, name, WEEK), -EINVAL);
	name[63] = '\0';
	assert_int_equal(sign(*state, GT_PKI_NODE, name, WEEK), 0);
}

static void no_certificate_outlives_the_authority(void **state)
{
	struct world *w = *state;
	struct gt_pki_id id;
	struct gt_err err;

	assert_int_equal(sign(w, GT_PKI_NODE, "n", GT_PKI_CA_END_MS), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_int_equal(id.not_after_ms, GT_PKI_CA_END_MS);
}

/* A machine's first start may be before its clock is set. */
static void an_authority_of_1970_is_good_in_2100(void **state)
{
	struct world *w = *state;
	struct gt_pki_id id;
	struct gt_err err;
	gt_auto(buf) struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_pki_ca *before = w->ca;

	assert_int_equal(gt_pki_ca_new(60000, &key, &cert, &err), 0);
	assert_int_equal(gt_pki_ca_open(gt_buf_str(&key), gt_buf_str(&cert), &w->ca, &err), 0);
	gt_pki_ca_free(before);
	assert_int_equal(sign(w, GT_PKI_NODE, "n", 100 * 365 * 86400000ULL), 0);
	assert_int_equal(gt_pki_identity_pem(w->cert.data, w->cert.len, &id, &err), 0);
	assert_int_equal(id.not_after_ms, NOW + 100 * 365 * 86400000ULL);
}

/* ---- requests ------------------------------------------------------------------------------ */

static int sign_text(struct world *w, const char *csr, size_t len)
{
	gt_auto(buf) struct gt_buf cert = { 0 };
	struct gt_err err = { 0 };
	int r = gt_pki_sign(w->ca, csr, len, GT_PKI_NODE, "n", NOW, WEEK, &cert, &err);

	assert_true(r == 0 || (err.text[0] && strcmp(err.slug, "bad_certificate") == 0));
	return r;
}

/* A request of the key, signed by `signer`; what the key is not asked for is in it too. */
static char *make_request(EVP_PKEY *key, EVP_PKEY *signer, const EVP_MD *md)
{
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
	char *text, *copy;

	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC,
				   (const unsigned char *)"root", -1, -1, 0);
	sk_X509_EXTENSION_push(exts, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
							 "URI:gantry://gateway/g"));
	sk_X509_EXTENSION_push(
		exts, X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE"));
	assert_int_equal(X509_REQ_add_extensions(req, exts), 1);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
	assert_true(X509_REQ_sign(req, signer, md) > 0);
	assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
	long len = BIO_get_mem_data(bio, &text);

	copy = gt_strndup(text, (size_t)len);
	BIO_free(bio);
	X509_REQ_free(req);
	return copy;
}

static int sign_made(struct world *w, EVP_PKEY *key, EVP_PKEY *signer, const EVP_MD *md)
{
	gt_auto(free) char *text = make_request(key, signer, md);

	return sign_text(w, text, strlen(text));
}

static void only_a_key_of_p256_that_proves_itself_is_certified(void **state)
{
	struct world *w = *state;
	EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-256");
	EVP_PKEY *p384 = EVP_EC_gen("P-384"), *rsa = EVP_RSA_gen(2048);
	EVP_PKEY *k1 = EVP_EC_gen("secp256k1");

	assert_int_equal(sign_made(w, a, a, EVP_sha256()), 0);
	assert_int_equal(sign_made(w, a, b, EVP_sha256()), -EINVAL); /* another's key */
	assert_int_equal(sign_made(w, a, a, EVP_sha1()), -EINVAL);
	assert_int_equal(sign_made(w, p384, p384, EVP_sha256()), -EINVAL);
	assert_int_equal(sign_made(w, k1, k1, EVP_sha256()), -EINVAL);
	assert_int_equal(sign_made(w, rsa, rsa, EVP_sha256()), -EINVAL);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(k1);
}

static void explicit_parameters_are_no_named_curve(void **state)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1), 1);
	assert_int_equal(EVP_PKEY_CTX_set_ec_param_enc(ctx, OPENSSL_EC_EXPLICIT_CURVE), 1);
	assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(sign_made(*state, key, key, EVP_sha256()), -EINVAL);
	EVP_PKEY_free(key);
}

static void of_a_request_only_the_key_counts(void **state)
{
	struct world *w = *state;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	gt_auto(free) char *text = make_request(key, key, EVP_sha256());
	gt_auto(buf) struct gt_buf cert = { 0 };
	struct gt_pki_id id;
	struct gt_err err;
	char cn[65];

	assert_int_equal(
		gt_pki_sign(w->ca, text, strlen(text), GT_PKI_NODE, "n", NOW, WEEK, &cert, &err),
		0);
	assert_int_equal(gt_pki_identity_pem(cert.data, cert.len, &id, &err), 0);
	assert_int_equal(id.kind, GT_PKI_NODE);
	assert_string_equal(id.name, "n");
	gt_auto(pki_cert) X509 *x = read_cert(&cert);

	assert_int_equal(X509_check_ca(x), 0);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof(cn));
	assert_string_equal(cn, "n");
	EVP_PKEY_free(key);
}

static void damaged_requests_are_refused(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf twice = { 0 };
	char *copy = gt_strndup(w->csr.data, w->csr.len);

	/* Every byte of the body in turn: a flipped one breaks the form or the signature. */
	for (size_t i = strlen("-----BEGIN CERTIFICATE REQUEST-----\n"); i < w->csr.len - 40; i++) {
		char was = copy[i];

		if (was == '\n')
			continue;
		copy[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(sign_text(w, copy, w->csr.len), -EINVAL);
		copy[i] = was;
	}
	for (size_t n = 0; n < w->csr.len - 1; n++)
		assert_int_equal(sign_text(w, copy, n), -EINVAL);
	free(copy);
	gt_buf_init(&twice, 0);
	gt_buf_add(&twice, w->csr.data, w->csr.len);
	gt_buf_add(&twice, w->csr.data, w->csr.len);
	assert_int_equal(sign_text(w, twice.data, twice.len), -EINVAL);
	assert_int_equal(sign_text(w, "x", 1), -EINVAL);
	assert_int_equal(sign_text(w, w->key.data, w->key.len), -EINVAL);
}

static void a_request_may_not_be_large(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf large = { 0 };

	gt_buf_init(&large, 0);
	gt_buf_add(&large, w->csr.data, w->csr.len);
	while (large.len <= GT_PKI_PEM_MAX)
		gt_buf_addc(&large, '\n');
	assert_int_equal(sign_text(w, large.data, GT_PKI_PEM_MAX), 0);
	assert_int_equal(sign_text(w, large.data, GT_PKI_PEM_MAX + 1), -EINVAL);
}

/* ---- identities ---------------------------------------------------------------------------- */

/* A certificate with any alternative names, signed by its own key. */
static X509 *forged(const char *names)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	X509_set_version(x, X509_VERSION_3);
	ASN1_TIME_set(X509_getm_notBefore(x), 1);
	ASN1_TIME_set(X509_getm_notAfter(x), 4000000000);
	X509_set_pubkey(x, key);
	if (names) {
		X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);

		assert_non_null(ext);
		X509_add_ext(x, ext, -1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	EVP_PKEY_free(key);
	return x;
}

static int identity_of(const char *names)
{
	gt_auto(pki_cert) X509 *x = forged(names);
	struct gt_pki_id id;
	struct gt_err err;

	return gt_pki_identity(x, &id, &err);
}

static void an_identity_is_one_name_of_the_one_form(void **state)
{
	static const char *const bad[] = {
		"DNS:n",
		"URI:https://node/n",
		"URI:gantry://node/",
		"URI:gantry://node",
		"URI:gantry://nodes/n",
		"URI:gantry://node/N",
		"URI:gantry://node/n/",
		"URI:gantry://node/n?x",
		"URI:gantry://pod/n",
		"URI:gantry://node/n,URI:gantry://node/m",
		"URI:gantry://node/n,DNS:n",
		"otherName:1.2.3.4;UTF8:gantry://node/n",
	};

	(void)state;
	assert_int_equal(identity_of("URI:gantry://node/n"), 0);
	assert_int_equal(identity_of("URI:gantry://gateway/n-2"), 0);
	assert_int_equal(identity_of(NULL), -EINVAL);
	for (size_t i = 0; i < GT_LEN(bad); i++)
		if (identity_of(bad[i]) != -EINVAL)
			fail_msg("%s is an identity", bad[i]);
}

static void a_second_extension_of_names_makes_none(void **state)
{
	gt_auto(pki_cert) X509 *x = forged("URI:gantry://node/n");
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
						  "URI:gantry://node/m");
	struct gt_pki_id id;
	struct gt_err err;

	(void)state;
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	assert_int_equal(gt_pki_identity(x, &id, &err), -EINVAL);
}

static void a_name_with_a_nul_is_none(void **state)
{
	static const char text[] = "gantry://node/n\0.evil";
	gt_auto(pki_cert) X509 *x = forged(NULL);
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *one = GENERAL_NAME_new();
	ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
	struct gt_pki_id id;
	struct gt_err err;

	(void)state;
	ASN1_STRING_set(uri, text, sizeof(text) - 1);
	GENERAL_NAME_set0_value(one, GEN_URI, uri);
	sk_GENERAL_NAME_push(names, one);
	assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
	GENERAL_NAMES_free(names);
	assert_int_equal(gt_pki_identity(x, &id, &err), -EINVAL);
}

/* ---- pins and tokens ----------------------------------------------------------------------- */

static int pinned(struct world *w, const struct gt_buf *authority, const char *pin, uint64_t now_ms,
		  struct gt_err *err)
{
	gt_auto(pki_cert) X509 *leaf = read_cert(&w->cert), *ca = read_cert(authority);
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct gt_pki_id id;

	sk_X509_push(chain, leaf);
	sk_X509_push(chain, ca);
	int r = gt_pki_pinned(leaf, chain, pin, now_ms, &id, err);

	sk_X509_free(chain);
	if (r == 0)
		assert_string_equal(id.name, "g");
	return r;
}

static void a_first_contact_believes_the_pinned_authority_alone(void **state)
{
	struct world *w = *state, *other = NULL;
	const char *pin = gt_pki_ca_pin(w->ca);
	struct gt_err err = { 0 };

	setup((void **)&other);
	assert_int_equal(sign(w, GT_PKI_GATEWAY, "g", WEEK), 0);
	assert_int_equal(pinned(w, &w->ca_cert, pin, NOW, &err), 0);
	/* Its end, and not its beginning: clocks differ. */
	assert_int_equal(pinned(w, &w->ca_cert, pin, NOW - WEEK, &err), 0);
	assert_int_equal(pinned(w, &w->ca_cert, pin, NOW + WEEK + 1000, &err), -EKEYEXPIRED);
	assert_int_equal(pinned(w, &other->ca_cert, pin, NOW + WEEK + 1000, &err), -EACCES);
	/* Another authority: with its own pin in the token, or under the wrong leaf. */
	assert_int_equal(pinned(w, &other->ca_cert, pin, NOW, &err), -EACCES);
	assert_int_equal(pinned(w, &other->ca_cert, gt_pki_ca_pin(other->ca), NOW, &err), -EACCES);
	/* A leaf's own pin makes no authority of it. */
	char own[GT_PKI_PIN_SIZE];
	gt_auto(pki_cert) X509 *leaf = read_cert(&w->cert);

	assert_int_equal(gt_pki_pin(leaf, own, &err), 0);
	assert_int_equal(pinned(w, &w->ca_cert, own, NOW, &err), -EACCES);
	teardown((void **)&other);
}

static void an_authority_is_opened_with_its_own_key(void **state)
{
	struct world *w = *state;
	struct gt_pki_ca *ca = NULL;
	struct gt_err err = { 0 };

	assert_int_equal(gt_pki_ca_open(w->key.data, w->ca_cert.data, &ca, &err), -EINVAL);
	assert_int_equal(sign(w, GT_PKI_NODE, "n", WEEK), 0);
	assert_int_equal(gt_pki_ca_open(w->key.data, w->cert.data, &ca, &err), -EINVAL);
	assert_non_null(strstr(err.text, "may not sign"));
	assert_null(ca);
	assert_string_equal(gt_pki_ca_pem(w->ca), w->ca_cert.data);
}

static void a_token_carries_the_pin(void **state)
{
	struct world *w = *state;
	char a[GT_PKI_TOKEN_SIZE], b[GT_PKI_TOKEN_SIZE], pin[GT_PKI_PIN_SIZE];
	struct gt_err err = { 0 };

	assert_int_equal(gt_pki_token_new(gt_pki_ca_pin(w->ca), a, &err), 0);
	assert_int_equal(gt_pki_token_new(gt_pki_ca_pin(w->ca), b, &err), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), GT_PKI_TOKEN_SIZE - 1);
	assert_int_equal(gt_pki_token_pin(a, pin, &err), 0);
	assert_string_equal(pin, gt_pki_ca_pin(w->ca));
	a[10] = '*';
	assert_int_equal(gt_pki_token_pin(a, pin, &err), -EINVAL);
	assert_string_equal(err.slug, "bad_join_token");
	b[GT_PKI_TOKEN_SIZE - 2] = '\0';
	assert_int_equal(gt_pki_token_pin(b, pin, &err), -EINVAL);
	assert_int_equal(gt_pki_token_pin("", pin, &err), -EINVAL);
}

/* RFC 7469, 2.4: what openssl(1) makes of a key, in base64url. */
static void a_pin_is_the_digest_of_the_key(void **state)
{
	struct world *w = *state;
	unsigned char *der = NULL, sum[32], back[33 * 2];
	char text[GT_PKI_PIN_SIZE + 1];
	gt_auto(pki_cert) X509 *ca = read_cert(&w->ca_cert);
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ca), &der);

	assert_int_equal(EVP_Digest(der, (size_t)len, sum, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	snprintf(text, sizeof(text), "%s=", gt_pki_ca_pin(w->ca));
	for (char *c = text; *c; c++)
		*c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
	assert_int_equal(EVP_DecodeBlock(back, (unsigned char *)text, 44), 33);
	assert_memory_equal(back, sum, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_certificate_names_its_holder, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_certificate_from_before_its_node_joined_is_anothers, setup, teardown),
		cmocka_unit_test_setup_teardown(names_that_are_none_get_no_certificate, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_authority_of_1970_is_good_in_2100, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_certificate_outlives_the_authority, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_a_key_of_p256_that_proves_itself_is_certified,
						setup, teardown),
		cmocka_unit_test_setup_teardown(explicit_parameters_are_no_named_curve, setup,
						teardown),
		cmocka_unit_test_setup_teardown(of_a_request_only_the_key_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_requests_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_may_not_be_large, setup, teardown),
		cmocka_unit_test_setup_teardown(a_short_certificate_is_renewed_in_its_time, setup,
						teardown),
		cmocka_unit_test(an_identity_is_one_name_of_the_one_form),
		cmocka_unit_test(a_second_extension_of_names_makes_none),
		cmocka_unit_test(a_name_with_a_nul_is_none),
		cmocka_unit_test_setup_teardown(a_first_contact_believes_the_pinned_authority_alone,
						setup, teardown),
		cmocka_unit_test_setup_teardown(an_authority_is_opened_with_its_own_key, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_token_carries_the_pin, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pin_is_the_digest_of_the_key, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
