#include "door.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#define DAY_MS (86400ULL * 1000)

static uint64_t now_ms(void)
{
	return gt_wall_ms(&gt_clock_system);
}

static SSL_CTX *server(struct gt_pki_ca *ca, uint64_t ago_ms)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct gt_buf key = { 0 }, csr = { 0 }, cert = { 0 };
	X509 *x, *root;
	EVP_PKEY *k;
	struct gt_err err;

	assert_int_equal(gt_pki_key_new(&key, &err), 0);
	assert_int_equal(gt_pki_request(key.data, &csr, &err), 0);
	assert_int_equal(gt_pki_sign(ca, csr.data, csr.len, GT_PKI_GATEWAY, "gw-1",
				     now_ms() - ago_ms, DAY_MS, &cert, &err),
			 0);
	assert_int_equal(gt_pki_cert_read(cert.data, cert.len, &x, &err), 0);
	assert_int_equal(gt_pki_key_read(key.data, key.len, &k, &err), 0);
	assert_int_equal(
		gt_pki_cert_read(gt_pki_ca_pem(ca), strlen(gt_pki_ca_pem(ca)), &root, &err), 0);
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_use_certificate(ctx, x);
	SSL_CTX_use_PrivateKey(ctx, k);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), root);
	SSL_CTX_add_extra_chain_cert(ctx, root); /* takes it */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_num_tickets(ctx, 0);
	X509_free(x);
	EVP_PKEY_free(k);
	gt_buf_wipe(&key);
	gt_buf_fini(&csr);
	gt_buf_fini(&cert);
	return ctx;
}

static void listen_anywhere(struct door *d)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);

	d->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(d->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(d->fd, 64), 0);
	assert_int_equal(getsockname(d->fd, (struct sockaddr *)&at, &size), 0);
	snprintf(d->url, sizeof(d->url), "https://127.0.0.1:%u", ntohs(at.sin_port));
}

void door_open_other(struct door *d, const struct door *first)
{
	*d = (struct door){ .ctx = server(first->ca, 0) };
	listen_anywhere(d);
}

void door_open(struct door *d)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err;

	assert_int_equal(gt_pki_ca_new(now_ms(), &key, &cert, &err), 0);
	assert_int_equal(gt_pki_ca_open(key.data, cert.data, &d->ca, &err), 0);
	assert_int_equal(gt_pki_token_new(gt_pki_ca_pin(d->ca), d->token, &err), 0);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	d->ctx = server(d->ca, 0);
	listen_anywhere(d);
}

void door_certify(struct door *d, uint64_t ago_ms)
{
	SSL_CTX_free(d->ctx);
	d->ctx = server(d->ca, ago_ms);
}

void door_close(struct door *d)
{
	SSL_CTX_free(d->ctx);
	gt_pki_ca_free(d->ca);
	gt_close(d->fd);
}

static size_t body_of(const char *head)
{
	const char *length = strstr(head, "Content-Length: ");

	return length ? strtoul(length + strlen("Content-Length: "), NULL, 10) : 0;
}

static bool read_request(struct guest *g)
{
	size_t len = 0;
	char *end = NULL;

	while (!end || len < (size_t)(end + 4 - g->head) + body_of(g->head)) {
		int n = SSL_read(g->ssl, g->head + len, (int)(sizeof(g->head) - 1 - len));

		if (n <= 0)
			return false;
		len += (size_t)n;
		g->head[len] = '\0';
		end = strstr(g->head, "\r\n\r\n");
	}
	g->body = end + 4;
	return true;
}

bool door_guest(struct door *d, int wait_ms, struct guest *ret)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	const struct timeval limit = { .tv_sec = 5 };
	struct gt_pki_id id;
	struct gt_err err;

	*ret = (struct guest){ .fd = -EBADF };
	if (poll(&p, 1, wait_ms) != 1)
		return false;
	ret->fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(ret->fd >= 0);
	setsockopt(ret->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(ret->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	ret->ssl = SSL_new(d->ctx);
	SSL_set_fd(ret->ssl, ret->fd);
	if (SSL_accept(ret->ssl) != 1) {
		guest_leave(ret);
		return false;
	}
	assert_string_equal(SSL_get_servername(ret->ssl, TLSEXT_NAMETYPE_host_name), GT_PKI_SNI);
	X509 *cert = SSL_get0_peer_certificate(ret->ssl);
	if (cert) {
		assert_int_equal(gt_pki_identity(cert, &id, &err), 0);
		assert_int_equal(id.kind, d->gateways ? GT_PKI_GATEWAY : GT_PKI_NODE);
		snprintf(ret->node, sizeof(ret->node), "%s", id.name);
	}
	if (read_request(ret))
		return true;
	guest_leave(ret);
	return false;
}

void door_sign(struct door *d, const char *body, const char *node, uint64_t life_ms,
	       struct gt_buf *ret)
{
	gt_auto(value) struct gt_value *v = NULL;
	gt_auto(buf) struct gt_buf cert = { 0 };
	struct gt_json j;
	struct gt_err err;

	assert_int_equal(gt_value_parse(body, strlen(body), &v, &err), 0);
	const char *csr = gt_value_str(v, "csr", "");

	assert_int_equal(gt_pki_sign(d->ca, csr, strlen(csr), GT_PKI_NODE, node,
				     now_ms() - d->back_ms, life_ms, &cert, &err),
			 0);
	gt_buf_init(ret, 0);
	gt_json_begin(&j, ret);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "certificate", gt_buf_str(&cert));
	gt_json_str(&j, "ca", gt_pki_ca_pem(d->ca));
	gt_json_str(&j, "node", node);
	gt_json_close(&j, '}');
}

void guest_send(struct guest *g, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int n = SSL_write(g->ssl, (const char *)data + done, (int)(len - done));

		assert_true(n > 0);
		done += (size_t)n;
	}
}

void guest_say(struct guest *g, const char *text)
{
	guest_send(g, text, strlen(text));
}

void guest_answer(struct guest *g, const char *status, const char *json)
{
	gt_auto(free) char *head = gt_asprintf(
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: "
		"%zu\r\n\r\n%s",
		status, strlen(json), json);

	guest_say(g, head);
}

size_t guest_read(struct guest *g, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		int n = SSL_read(g->ssl, (char *)buf + got, (int)(len - got));

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

void guest_shut(struct guest *g)
{
	SSL_shutdown(g->ssl);
}

void guest_leave(struct guest *g)
{
	SSL_free(g->ssl);
	g->ssl = NULL;
	g->fd = gt_close(g->fd);
}
