/* tls_server.c - certificate, key and rules of the TLS server, out of files. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/log.h>

#include "tls.h"

#define FILE_MAX      ((size_t)GT_MIB)
#define CHAIN_MAX     16
#define DEPTH_MAX     8
#define SESSION_S     7200
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20"

static int refuse(struct gt_err *err, const char *key, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return gt_err_set(err, EINVAL, "bad_config", "%s: %s%s%s", key, what, why ? ": " : "",
			  why ? why : "");
}

/* The whole file, whoever read from the descriptor before. */
static int slurp(int fd, const char *key, struct gt_buf *out, struct gt_err *err)
{
	char *at;
	ssize_t n;

	gt_buf_init(out, FILE_MAX);
	do {
		at = gt_buf_reserve(out, 4096);
		if (!at)
			return gt_err_set(err, EINVAL, "bad_config", "%s: larger than 1 MiB", key);
		n = pread(fd, at, 4096, (off_t)out->len);
		if (n < 0)
			return gt_err_errno(err, errno, "%s", key);
		out->len += (size_t)n;
	} while (n > 0);
	return 0;
}

static int no_passphrase(char *buf, int size, int rw, void *arg)
{
	(void)buf;
	(void)size;
	(void)rw;
	(void)arg;
	return -1;
}

/* Calls fn with each certificate of a PEM file; fn takes it and returns false to stop. */
static int each_cert(int fd, const char *key, bool (*fn)(SSL_CTX *ctx, X509 *cert, int i),
		     SSL_CTX *ctx, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf pem = { 0 };
	X509 *cert;
	int n = 0;

	if (slurp(fd, key, &pem, err) < 0)
		return -err->code;
	BIO *bio = BIO_new_mem_buf(gt_buf_str(&pem), (int)pem.len);

	ERR_clear_error();
	while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL))) {
		if (!fn(ctx, cert, n++)) {
			BIO_free(bio);
			return refuse(err, key, "a certificate can not be used");
		}
	}
	BIO_free(bio);
	/* That no more begins is how the file ends; anything else is damage. */
	if (n && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		ERR_clear_error();
	else
		return refuse(err, key, "no certificates in PEM form");
	return n;
}

static bool add_own(SSL_CTX *ctx, X509 *cert, int i)
{
	if (i > 0)
		return i < CHAIN_MAX && SSL_CTX_add0_chain_cert(ctx, cert) == 1;
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		gt_warn("gateway: tls_cert has expired");
	bool ok = SSL_CTX_use_certificate(ctx, cert) == 1;

	X509_free(cert);
	return ok;
}

static bool add_ca(SSL_CTX *ctx, X509 *cert, int i)
{
	bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1 &&
		  SSL_CTX_add_client_CA(ctx, cert) == 1;

	(void)i;
	X509_free(cert);
	return ok;
}

static int use_key(SSL_CTX *ctx, int fd, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf pem = { 0 };
	int r = slurp(fd, "tls_key", &pem, err);

	if (r < 0)
		return r;
	BIO *bio = BIO_new_mem_buf(gt_buf_str(&pem), (int)pem.len);
	EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);

	BIO_free(bio);
	OPENSSL_cleanse(pem.data, pem.len);
	if (!pkey)
		return refuse(err, "tls_key", "no private key without a passphrase in PEM form");
	if (SSL_CTX_use_PrivateKey(ctx, pkey) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		r = refuse(err, "tls_key", "is not the key of tls_cert");
	EVP_PKEY_free(pkey);
	return r;
}

/* Of what the client offers only HTTP/1.1; who offers none of it is told so by an alert. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof(ours) - 1, in,
				  in_len) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_rules(SSL_CTX *ctx)
{
	static const unsigned char context[] = "gantry";

	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION |
					 SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	/* Sessions live in the clients' tickets; nothing is kept here. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, SESSION_S);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 &&
	       SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1) == 1;
}

static int ask_clients(SSL_CTX *ctx, int ca_fd, bool optional, struct gt_err *err)
{
	int r = each_cert(ca_fd, "tls_client_ca", add_ca, ctx, err);

	if (r < 0)
		return r;
	SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
			   NULL);
	return 0;
}

int gt_tls_server_new(int cert_fd, int key_fd, int client_ca_fd, bool client_optional,
		      struct ssl_ctx_st **ret, struct gt_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int r = ctx && set_rules(ctx) ? 0 : refuse(err, "tls", "OpenSSL can not be used");

	if (r == 0)
		r = each_cert(cert_fd, "tls_cert", add_own, ctx, err);
	if (r >= 0)
		r = use_key(ctx, key_fd, err);
	if (r == 0 && client_ca_fd >= 0)
		r = ask_clients(ctx, client_ca_fd, client_optional, err);
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	gt_tls_choose(ctx);
	*ret = ctx;
	return 0;
}

/* ---- the cluster's own ---- */

/* An end without a goodbye is an error here: bytes are missing. */
#define LINK_OPTIONS SSL_OP_NO_TICKET

void gt_tls_link_rules(struct ssl_st *ssl)
{
	SSL_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_set_options(ssl, LINK_OPTIONS);
	SSL_set_num_tickets(ssl, 0);
	SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, gt_pki_begun);
	SSL_set_verify_depth(ssl, DEPTH_MAX);
}

static bool use_link(SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, X509 *ca)
{
	static const unsigned char context[] = "gantry-link";

	SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_options(ctx, LINK_OPTIONS);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, gt_pki_begun);
	SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1) == 1 &&
	       SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
	       SSL_CTX_check_private_key(ctx) == 1 && SSL_CTX_add1_chain_cert(ctx, ca) == 1 &&
	       X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) == 1 &&
	       SSL_CTX_add_client_CA(ctx, ca) == 1;
}

int gt_tls_link_new(const char *cert_pem, const char *key_pem, const char *ca_pem,
		    struct ssl_ctx_st **ret, struct gt_err *err)
{
	gt_auto(pki_cert) X509 *cert = NULL;
	gt_auto(pki_cert) X509 *ca = NULL;
	gt_auto(pki_key) EVP_PKEY *key = NULL;

	if (gt_pki_cert_read(cert_pem, strlen(cert_pem), &cert, err) < 0 ||
	    gt_pki_cert_read(ca_pem, strlen(ca_pem), &ca, err) < 0 ||
	    gt_pki_key_read(key_pem, strlen(key_pem), &key, err) < 0)
		return -err->code;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx || !set_rules(ctx) || !use_link(ctx, cert, key, ca)) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return gt_err_set(err, EINVAL, "bad_certificate",
				  "the gateway's certificate can not be used");
	}
	*ret = ctx;
	return 0;
}

struct ssl_ctx_st *gt_tls_server_share(struct ssl_ctx_st *server)
{
	if (server)
		SSL_CTX_up_ref(server);
	return server;
}

void gt_tls_server_free(struct ssl_ctx_st *server)
{
	SSL_CTX_free(server);
}
