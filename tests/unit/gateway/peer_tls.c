/* peer_tls.c - nodes of a scripted cluster. */
#include "peer_tls.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <gantry/os/os.h>

#include "nodes.h"
#include "tls.h"

#define HOUR_MS ((uint64_t)3600 * 1000)

/* OpenSSL's own; clock_gettime() is another one here. */
static uint64_t real_ms(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (uint64_t)tv.tv_sec * 1000;
}

static void must(int r, const struct gt_err *err)
{
	if (r < 0) {
		fprintf(stderr, "%s\n", err->text);
		abort();
	}
}

struct cluster cluster_make(void)
{
	struct cluster c = { 0 };
	struct gt_err err = { 0 };

	must(gt_pki_ca_new(real_ms(), &c.ca_key, &c.ca_cert, &err), &err);
	must(gt_pki_ca_open(gt_buf_str(&c.ca_key), gt_buf_str(&c.ca_cert), &c.ca, &err), &err);
	return c;
}

void cluster_free(struct cluster *c)
{
	gt_pki_ca_free(c->ca);
	gt_buf_wipe(&c->ca_key);
	gt_buf_fini(&c->ca_cert);
}

static void certify(struct cluster *c, enum gt_pki_kind kind, const char *name, int64_t life_ms,
		    struct gt_buf *key, struct gt_buf *cert)
{
	gt_auto(buf) struct gt_buf request = { 0 };
	uint64_t now_ms = real_ms() + (uint64_t)c->ahead_ms - (life_ms < 0 ? HOUR_MS : 0);
	struct gt_err err = { 0 };

	must(gt_pki_key_new(key, &err), &err);
	must(gt_pki_request(gt_buf_str(key), &request, &err), &err);
	must(gt_pki_sign(c->ca, gt_buf_str(&request), request.len, kind, name, now_ms,
			 (uint64_t)llabs(life_ms), cert, &err),
	     &err);
}

struct ssl_ctx_st *cluster_identity(struct cluster *c)
{
	struct gt_buf key, cert;
	struct ssl_ctx_st *tls = NULL;
	struct gt_err err = { 0 };

	certify(c, GT_PKI_GATEWAY, "gw-1", (int64_t)HOUR_MS, &key, &cert);
	must(gt_tls_link_new(gt_buf_str(&cert), gt_buf_str(&key), gt_buf_str(&c->ca_cert), &tls,
			     &err),
	     &err);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	return tls;
}

void cluster_identify(struct cluster *c, struct script *s)
{
	struct ssl_ctx_st *tls = cluster_identity(c);

	s->wall_ms = real_ms() - s->now_ns / GT_NS_PER_MS;
	for (unsigned i = 0; i < SCRIPT_SHARDS && s->shards[i]; i++)
		gt_identity_use(s->shards[i], gt_tls_server_share(tls));
	gt_tls_server_free(tls);
	script_run(s);
}

static int to_file(const struct gt_buf *pem)
{
	int fd = -1;
	struct gt_err err = { 0 };

	must(gt_os_memfd("pem", pem->data, pem->len, &fd, &err), &err);
	return fd;
}

void cluster_serve(struct cluster *c, struct script *s)
{
	struct gt_buf key, cert;
	struct gt_err err = { 0 };

	certify(c, GT_PKI_GATEWAY, "web", (int64_t)HOUR_MS, &key, &cert);
	int key_fd = to_file(&key), cert_fd = to_file(&cert);

	must(gt_tls_server_new(cert_fd, key_fd, -1, false, &s->gw->tls, &err), &err);
	s->gw->listeners[GT_LISTEN_PLAIN].tls = true;
	gt_close(key_fd);
	gt_close(cert_fd);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
}

void cluster_members(struct script *s, ...)
{
	static struct gt_member members[8];
	const char *name;
	size_t n = 0;
	va_list names;

	va_start(names, s);
	while ((name = va_arg(names, const char *)) && n < GT_LEN(members))
		gt_strcopy(members[n++].node, sizeof(members[0].node), name);
	va_end(names);
	script_members(s, members, n);
}

/* ---- a node ---- */

static void use_cert(SSL_CTX *ctx, struct cluster *c, enum gt_pki_kind kind, const char *name,
		     int64_t life_ms)
{
	struct gt_buf key, cert;
	struct x509_st *x509 = NULL;
	struct evp_pkey_st *pkey = NULL;
	struct gt_err err = { 0 };

	certify(c, kind, name, life_ms, &key, &cert);
	must(gt_pki_cert_read(gt_buf_str(&cert), cert.len, &x509, &err), &err);
	must(gt_pki_key_read(gt_buf_str(&key), key.len, &pkey, &err), &err);
	assert(SSL_CTX_use_certificate(ctx, x509) == 1 && SSL_CTX_use_PrivateKey(ctx, pkey) == 1);
	gt_pki_cert_free(x509);
	gt_pki_key_free(pkey);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
}

static SSL_CTX *trusting(struct cluster *c)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct x509_st *ca = NULL;
	struct gt_err err = { 0 };

	must(gt_pki_cert_read(gt_buf_str(&c->ca_cert), c->ca_cert.len, &ca, &err), &err);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca);
	gt_pki_cert_free(ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

SSL_CTX *cluster_node(struct cluster *c, const char *name)
{
	SSL_CTX *ctx = trusting(c);

	use_cert(ctx, c, GT_PKI_NODE, name, (int64_t)HOUR_MS);
	return ctx;
}

static struct node_end begin(SSL_CTX *ctx, struct script_end *end, const char *sni,
			     SSL_SESSION *session)
{
	struct node_end n = { .end = end, .ctx = ctx };

	n.ssl = SSL_new(n.ctx);
	if (sni)
		SSL_set_tlsext_host_name(n.ssl, sni);
	if (session)
		SSL_set_session(n.ssl, session);
	SSL_set_bio(n.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(n.ssl);
	node_pump(&n);
	return n;
}

struct node_end node_on(struct cluster *c, struct script_end *end, enum gt_pki_kind kind,
			const char *name, int64_t life_ms)
{
	SSL_CTX *ctx = trusting(c);

	if (name)
		use_cert(ctx, c, kind, name, life_ms);
	return begin(ctx, end, GT_PKI_SNI, NULL);
}

struct node_end node_client(struct cluster *c, struct script *s, SSL_SESSION *session)
{
	return begin(trusting(c), script_client(s, "10.0.0.9"), NULL, session);
}

struct node_end node_resume(struct cluster *c, struct script *s, SSL_SESSION *session)
{
	return begin(trusting(c), script_client(s, "10.0.0.9"), GT_PKI_SNI, session);
}

struct node_end node_open(struct cluster *c, struct script *s, enum gt_pki_kind kind,
			  const char *name, int64_t life_ms)
{
	return node_on(c, script_client(s, "10.0.0.9"), kind, name, life_ms);
}

void node_close(struct node_end *n)
{
	if (n->end->open)
		script_fail(n->end, ECONNRESET);
	SSL_free(n->ssl);
	SSL_CTX_free(n->ctx);
	gt_buf_fini(&n->said);
}

void node_pump(struct node_end *n)
{
	static char piece[70000];
	bool moved = true;
	int r;

	while (moved) {
		moved = false;
		SSL_do_handshake(n->ssl);
		while ((r = SSL_read(n->ssl, piece, sizeof(piece))) > 0)
			gt_buf_add(&n->said, piece, (size_t)r);
		n->goodbye |= (SSL_get_shutdown(n->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
		while (n->end->open &&
		       (r = BIO_read(SSL_get_wbio(n->ssl), piece, sizeof(piece))) > 0) {
			script_put(n->end, piece, (size_t)r);
			moved = true;
		}
		if (n->seen < n->end->got.len) {
			BIO_write(SSL_get_rbio(n->ssl), n->end->got.data + n->seen,
				  (int)(n->end->got.len - n->seen));
			n->seen = n->end->got.len;
			moved = true;
		}
	}
}

void node_say(struct node_end *n, const char *text)
{
	if (SSL_write(n->ssl, text, (int)strlen(text)) > 0)
		node_pump(n);
}

bool node_has(struct node_end *n, const char *text)
{
	node_pump(n);
	return strstr(gt_buf_str(&n->said), text) != NULL;
}

void node_forget(struct node_end *n)
{
	gt_buf_reset(&n->said);
}

struct node_end node_pipe(struct cluster *c, struct script *s, const char *name, unsigned shard)
{
	struct node_end n = node_open(c, s, GT_PKI_NODE, name, (int64_t)HOUR_MS);
	char text[256];

	snprintf(text, sizeof(text),
		 "GET /link/v1/nodes/%s/pipe?shard=%u HTTP/1.1\r\nHost: h\r\n"
		 "Connection: Upgrade\r\nUpgrade: gantry-pipe\r\n\r\n",
		 name, shard);
	node_say(&n, text);
	assert(node_has(&n, "HTTP/1.1 101 "));
	/* What follows may be a question already. */
	gt_buf_consume(&n.said, (size_t)(strstr(n.said.data, "\r\n\r\n") + 4 - n.said.data));
	return n;
}
