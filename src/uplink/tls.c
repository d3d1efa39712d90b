#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/http/pki.h>

static int new_ctx(SSL_CTX **ret, struct gt_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1) {
		SSL_CTX_free(ctx);
		return gt_err_set(err, ENOMEM, "system_error", "OpenSSL did not start");
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, gt_pki_begun);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	*ret = ctx;
	return 0;
}

int tls_member(const char *cert_pem, const char *key_pem, const char *ca_pem,
	       struct ssl_ctx_st **ret, struct gt_err *err)
{
	gt_auto(tls) SSL_CTX *ctx = NULL;
	gt_auto(pki_cert) X509 *cert = NULL;
	gt_auto(pki_cert) X509 *ca = NULL;
	gt_auto(pki_key) EVP_PKEY *key = NULL;

	if (gt_pki_cert_read(cert_pem, strlen(cert_pem), &cert, err) < 0 ||
	    gt_pki_key_read(key_pem, strlen(key_pem), &key, err) < 0 ||
	    gt_pki_cert_read(ca_pem, strlen(ca_pem), &ca, err) < 0 || new_ctx(&ctx, err) < 0)
		return -err->code;
	if (SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) != 1) {
		ERR_clear_error();
		return gt_err_set(err, EINVAL, "bad_certificate",
				  "certificate and key do not belong together");
	}
	*ret = gt_steal(&ctx);
	return 0;
}

static int check_pin(X509_STORE_CTX *store, void *pin)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct gt_pki_id id;
	int r = leaf ? gt_pki_pinned(leaf, X509_STORE_CTX_get0_untrusted(store), pin,
				     gt_wall_ms(&gt_clock_system), &id, NULL)
		     : -EACCES;

	if (leaf && chain && X509_add_cert(chain, leaf, X509_ADD_FLAG_UP_REF) == 1)
		X509_STORE_CTX_set0_verified_chain(store, gt_steal(&chain)); /* as OpenSSL does */
	sk_X509_free(chain);
	if (r < 0)
		X509_STORE_CTX_set_error(store, r == -EKEYEXPIRED ? X509_V_ERR_CERT_HAS_EXPIRED
								  : X509_V_ERR_CERT_UNTRUSTED);
	return r == 0;
}

int tls_stranger(const char *pin, struct ssl_ctx_st **ret, struct gt_err *err)
{
	int r = new_ctx(ret, err);

	if (r == 0)
		SSL_CTX_set_cert_verify_callback(*ret, check_pin, (void *)pin);
	return r;
}

void tls_free(struct ssl_ctx_st *ctx)
{
	SSL_CTX_free(ctx);
}

struct ssl_st *tls_new(struct ssl_ctx_st *ctx)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl || SSL_set_tlsext_host_name(ssl, GT_PKI_SNI) != 1)
		gt_out_of_memory();
	SSL_set_connect_state(ssl);
	return ssl;
}

void tls_attach(struct ssl_st *ssl, int fd)
{
	if (SSL_set_fd(ssl, fd) != 1)
		gt_out_of_memory();
}

/* That its certificate is genuine was checked on the way; whose is it? */
static int check_name(const SSL *ssl, struct gt_err *err)
{
	const X509 *cert = SSL_get0_peer_certificate(ssl);
	struct gt_pki_id id;

	if (cert && gt_pki_identity(cert, &id, err) == 0 && id.kind == GT_PKI_GATEWAY)
		return 0;
	return gt_err_set(err, EACCES, "bad_certificate",
			  "who answers at the door is no gateway of the cluster");
}

/* It is genuine: that was verified before. */
static int over(const X509 *cert, struct gt_err *err)
{
	char end[GT_TIME_TEXT] = "?", now[GT_TIME_TEXT];
	struct gt_pki_id id;

	if (cert && gt_pki_identity(cert, &id, NULL) == 0)
		gt_time_text(id.not_after_ms, end);
	gt_time_text(gt_wall_ms(&gt_clock_system), now);
	return gt_err_set(err, EKEYEXPIRED, "bad_certificate",
			  "the certificate at the door is over since %s, and by this host's clock "
			  "it is %s now; is that right, and the door's clock?",
			  end, now);
}

static int failed(const SSL *ssl, struct gt_err *err)
{
	unsigned long code = ERR_peek_error();
	long verdict = SSL_get_verify_result(ssl);
	const char *why = ERR_reason_error_string(code);

	ERR_clear_error();
	if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
		return over(sk_X509_value(SSL_get0_verified_chain(ssl), 0), err);
	if (verdict != X509_V_OK)
		return gt_err_set(err, EACCES, "bad_certificate",
				  "who answers at the door is not of this cluster (%s)",
				  X509_verify_cert_error_string(verdict));
	return gt_err_set(err, EPROTO, "unavailable", "TLS with the door: %s",
			  why ? why : "the connection broke");
}

int tls_handshake(struct ssl_st *ssl, struct gt_err *err)
{
	ERR_clear_error();
	int r = SSL_do_handshake(ssl);

	if (r == 1)
		return check_name(ssl, err);
	r = SSL_get_error(ssl, r);
	if (r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	return failed(ssl, err);
}
