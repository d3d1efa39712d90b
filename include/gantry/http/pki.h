/* http/pki.h - the cluster's own certificates: who a node or a gateway is on connections between
 * hosts. One key type (ECDSA on P-256), PEM text in and out, no files and no clock: time comes in.
 * Whatever is read here may come from a stranger: sizes are bounded, other curves, other key forms
 * and more than one object in a text are refused. Any thread; nothing is shared between calls.
 *
 * Errors are -EINVAL with the slug "bad_certificate" and a text that begins with what was read, or
 * -EACCES ("bad_certificate") where something is well-formed but not what was trusted. */
#ifndef GANTRY_HTTP_PKI_H
#define GANTRY_HTTP_PKI_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct evp_pkey_st;   /* OpenSSL's EVP_PKEY */
struct x509_st;       /* X509 */
struct stack_st_X509; /* STACK_OF(X509) */
struct x509_store_ctx_st;

#define GT_PKI_PEM_MAX    (8 * GT_KIB)       /* of one key, request or certificate */
#define GT_PKI_NAME_SIZE  64                 /* [a-z0-9]([a-z0-9-]*[a-z0-9])?, with NUL */
#define GT_PKI_PIN_SIZE   44                 /* base64url of a SHA-256, with NUL */
#define GT_PKI_TOKEN_SIZE 81                 /* gtj_ secret _ pin, with NUL */
#define GT_PKI_CA_END_MS  253402300799000ULL /* 9999-12-31T23:59:59Z: for X.509, no end */
#define GT_PKI_LEAST_MS   1767225600000ULL   /* 2026: a clock that says less was never set */
#define GT_PKI_BACK_MS    (5ULL * 60 * 1000) /* certificates begin this long ago: clocks differ */
#define GT_PKI_LOOK_MS    5000ULL            /* between two looks at whether one is due */
/* What a client asks a door for by SNI to speak with the cluster and not with a web site. */
#define GT_PKI_SNI "link.gantry.internal"

enum gt_pki_kind { GT_PKI_NODE, GT_PKI_GATEWAY, GT_PKI_KINDS };
extern const char *const gt_pki_kind_names[GT_PKI_KINDS]; /* "node", "gateway" */

struct gt_pki_id {
	enum gt_pki_kind kind;
	char name[GT_PKI_NAME_SIZE];
	uint64_t not_before_ms, not_after_ms; /* Unix time */
};

/* When the holder should ask for the next certificate: two thirds of the time after it was signed
 * are over. */
static inline uint64_t gt_pki_renew_ms(const struct gt_pki_id *id)
{
	uint64_t signed_ms = id->not_before_ms + GT_PKI_BACK_MS;

	return signed_ms >= id->not_after_ms ? id->not_after_ms
					     : signed_ms + (id->not_after_ms - signed_ms) / 3 * 2;
}

/* How long its holder waits until it looks at it again: at most GT_PKI_LOOK_MS, as the clock may be
 * set meanwhile. 0: it is due. */
static inline uint64_t gt_pki_wait_ms(const struct gt_pki_id *id, uint64_t now_ms)
{
	uint64_t due_ms = gt_pki_renew_ms(id);

	return due_ms > now_ms ? GT_MIN(due_ms - now_ms, GT_PKI_LOOK_MS) : 0;
}

/* Was it signed after that wall clock's time? One from before its node joined is another machine's,
 * which had its name. Certificates tell whole seconds. */
static inline bool gt_pki_since(const struct gt_pki_id *id, uint64_t since_ms)
{
	return id->not_before_ms + GT_PKI_BACK_MS + 1000 > since_ms;
}

/* A new private key as PKCS #8 text. `pem` is initialised here; release with gt_buf_wipe. */
GT_MUST_USE int gt_pki_key_new(struct gt_buf *pem, struct gt_err *err);
/* A certificate request of the key: it carries the public key and proves that its sender has the
 * private one, nothing else. `csr` is initialised here. */
GT_MUST_USE int gt_pki_request(const char *key_pem, struct gt_buf *csr, struct gt_err *err);

/* A new authority, without an end: it may be made before the clock is right. Both buffers are
 * initialised here; wipe `key`. */
GT_MUST_USE int gt_pki_ca_new(uint64_t now_ms, struct gt_buf *key, struct gt_buf *cert,
			      struct gt_err *err);
struct gt_pki_ca; /* an authority that can sign */
/* Refuses a key that is not the certificate's, and certificates that are no authority's. */
GT_MUST_USE int gt_pki_ca_open(const char *key_pem, const char *cert_pem, struct gt_pki_ca **ret,
			       struct gt_err *err);
void gt_pki_ca_free(struct gt_pki_ca *ca); /* NULL is fine */
GT_CLEANUP_TYPE(pki_ca, struct gt_pki_ca *, gt_pki_ca_free)
const char *gt_pki_ca_pem(const struct gt_pki_ca *ca); /* its certificate; the ca's */
const char *gt_pki_ca_pin(const struct gt_pki_ca *ca); /* its pin; the ca's */
/* The pin of a request's key, once its sender has proven to have it. */
GT_MUST_USE int gt_pki_request_pin(const char *csr, size_t len, char ret[GT_PKI_PIN_SIZE],
				   struct gt_err *err);
/* Certifies the key of a request as kind and name from GT_PKI_BACK_MS before now until life_ms
 * after it, at most as long as the authority itself. Of the request only the key counts.
 * `cert` is initialised here. */
GT_MUST_USE int gt_pki_sign(const struct gt_pki_ca *ca, const char *csr, size_t len,
			    enum gt_pki_kind kind, const char *name, uint64_t now_ms,
			    uint64_t life_ms, struct gt_buf *cert, struct gt_err *err);

/* One certificate, one private key out of PEM text, as OpenSSL's objects; the caller releases
 * them with gt_pki_cert_free and gt_pki_key_free (or X509_free, EVP_PKEY_free). */
GT_MUST_USE int gt_pki_cert_read(const char *pem, size_t len, struct x509_st **ret,
				 struct gt_err *err);
void gt_pki_cert_free(struct x509_st *cert);
GT_CLEANUP_TYPE(pki_cert, struct x509_st *, gt_pki_cert_free)
GT_MUST_USE int gt_pki_key_read(const char *pem, size_t len, struct evp_pkey_st **ret,
				struct gt_err *err);
void gt_pki_key_free(struct evp_pkey_st *key);
GT_CLEANUP_TYPE(pki_key, struct evp_pkey_st *, gt_pki_key_free)

/* Whom a certificate names: its only alternative name is gantry://KIND/NAME. That it is genuine
 * and in its time must have been verified by the caller, against the cluster's authority. */
GT_MUST_USE int gt_pki_identity(const struct x509_st *cert, struct gt_pki_id *ret,
				struct gt_err *err);
/* The same of PEM text. */
GT_MUST_USE int gt_pki_identity_pem(const char *pem, size_t len, struct gt_pki_id *ret,
				    struct gt_err *err);
/* Base64url of the SHA-256 of the certificate's SubjectPublicKeyInfo: what names an authority in a
 * token, whatever certificate its key has. */
GT_MUST_USE int gt_pki_pin(const struct x509_st *cert, char ret[GT_PKI_PIN_SIZE],
			   struct gt_err *err);
/* What OpenSSL asks about each certificate of a cluster's chain: when one begins is no question, as
 * hosts' clocks differ and are set, and the authority certifies nothing for later. When it ends is.
 */
int gt_pki_begun(int ok, struct x509_store_ctx_st *ctx);
/* For a first contact, when nothing but a pin is known: among the certificates that a server
 * showed there is an authority of that pin, and it vouches for `leaf` as a server's, at now_ms.
 * Returns whom `leaf` names. -EKEYEXPIRED: it did so, until before now_ms; -EACCES: it does not. */
GT_MUST_USE int gt_pki_pinned(const struct x509_st *leaf, const struct stack_st_X509 *chain,
			      const char *pin, uint64_t now_ms, struct gt_pki_id *ret,
			      struct gt_err *err);

/* A join token: a random secret and the pin of the authority that its bearer may trust. */
GT_MUST_USE int gt_pki_token_new(const char *pin, char ret[GT_PKI_TOKEN_SIZE], struct gt_err *err);
/* The pin in it. -EINVAL, slug "bad_join_token", for what is no token. */
GT_MUST_USE int gt_pki_token_pin(const char *token, char ret[GT_PKI_PIN_SIZE], struct gt_err *err);

#endif
