/* TLS between scripted peers: a client of OpenSSL's whose bytes go by hand, in pieces of any size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <gantry/os/os.h>

#include "script.h"
#include "tls.h"

#define AUTH  "Host: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET   "GET /f/echo/x HTTP/1.1\r\n" AUTH "\r\n"
#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* ---- certificates ---- */

struct identity {
	EVP_PKEY *key;
	X509 *cert;
	int cert_fd, key_fd;
};

static int to_file(int (*write_pem)(BIO *bio, const struct identity *id), const struct identity *id)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	int fd;

	assert_int_equal(write_pem(bio, id), 1);
	long len = BIO_get_mem_data(bio, &text);

	assert_int_equal(gt_os_memfd("pem", text, (size_t)len, &fd, NULL), 0);
	BIO_free(bio);
	return fd;
}

static int write_cert(BIO *bio, const struct identity *id)
{
	return PEM_write_bio_X509(bio, id->cert);
}

static int write_key(BIO *bio, const struct identity *id)
{
	return PEM_write_bio_PrivateKey(bio, id->key, NULL, NULL, 0, NULL, NULL);
}

/* Signed by `ca`, or by itself. */
static struct identity identity_make(const char *name, const struct identity *ca)
{
	struct identity id = { .key = EVP_EC_gen("P-256"), .cert = X509_new() };
	X509_NAME *subject = X509_get_subject_name(id.cert);

	X509_set_version(id.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(id.cert), ca ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(id.cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(id.cert), 3600);
	X509_set_pubkey(id.cert, id.key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
				   -1, 0);
	X509_set_issuer_name(id.cert, ca ? X509_get_subject_name(ca->cert) : subject);
	if (!ca) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
							"critical,CA:TRUE");

		X509_add_ext(id.cert, e, -1);
		X509_EXTENSION_free(e);
	}
	assert_true(X509_sign(id.cert, ca ? ca->key : id.key, EVP_sha256()) > 0);
	id.cert_fd = to_file(write_cert, &id);
	id.key_fd = to_file(write_key, &id);
	return id;
}

static void identity_free(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	close(id->cert_fd);
	close(id->key_fd);
}

/* ---- a gateway and a client ---- */

static struct identity ca, server, alice;

static int make_identities(void **state)
{
	(void)state;
	ca = identity_make("ca", NULL);
	server = identity_make("gantry", &ca);
	alice = identity_make("al\xc3\xac"
			      "ce, \r\nX: 1",
			      &ca);
	return 0;
}

static int free_identities(void **state)
{
	(void)state;
	identity_free(&ca);
	identity_free(&server);
	identity_free(&alice);
	return 0;
}

static struct script *open_tls(int client_ca_fd, bool optional)
{
	struct script *s = script_open(1);
	struct gt_err err = { 0 };

	if (gt_tls_server_new(server.cert_fd, server.key_fd, client_ca_fd, optional, &s->gw->tls,
			      &err) < 0)
		fail_msg("%s", err.text);
	s->gw->listeners[0].tls = true;
	return s;
}

struct client {
	struct script_end *end;
	SSL_CTX *ctx;
	SSL *ssl;
	size_t seen;  /* of end->got */
	size_t step;  /* bytes that go over at once */
	bool goodbye; /* the gateway's */
	struct gt_buf said;
};

static struct client client_open(struct script *s, const struct identity *id, SSL_SESSION *session)
{
	struct client c = { .end = script_client(s, "10.0.0.9"),
			    .ctx = SSL_CTX_new(TLS_client_method()),
			    .step = SIZE_MAX };

	X509_STORE_add_cert(SSL_CTX_get_cert_store(c.ctx), ca.cert);
	SSL_CTX_set_verify(c.ctx, SSL_VERIFY_PEER, NULL);
	if (id) {
		SSL_CTX_use_certificate(c.ctx, id->cert);
		SSL_CTX_use_PrivateKey(c.ctx, id->key);
	}
	c.ssl = SSL_new(c.ctx);
	SSL_set_bio(c.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(c.ssl);
	if (session)
		SSL_set_session(c.ssl, session);
	return c;
}

static void client_close(struct client *c)
{
	if (c->end->open)
		script_fail(c->end, ECONNRESET);
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	gt_buf_fini(&c->said);
}

/* Carries bytes until nothing moves; what the gateway says is collected. */
static void pump(struct client *c)
{
	static char piece[70000];
	bool moved = true;
	int n;

	while (moved) {
		moved = false;
		SSL_do_handshake(c->ssl);
		while ((n = SSL_read(c->ssl, piece, sizeof(piece))) > 0)
			gt_buf_add(&c->said, piece, (size_t)n);
		c->goodbye |= (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
		while (c->end->open && (n = BIO_read(SSL_get_wbio(c->ssl), piece,
						     (int)GT_MIN(c->step, sizeof(piece)))) > 0) {
			script_put(c->end, piece, (size_t)n);
			moved = true;
		}
		if (c->seen < c->end->got.len) {
			size_t more = GT_MIN(c->end->got.len - c->seen, c->step);

			BIO_write(SSL_get_rbio(c->ssl), c->end->got.data + c->seen, (int)more);
			c->seen += more;
			moved = true;
		}
	}
}

static void client_say(struct client *c, const char *text)
{
	assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), strlen(text));
	pump(c);
}

static bool client_has(struct client *c, const char *text)
{
	return strstr(gt_buf_str(&c->said), text) != NULL;
}

static struct script_end *up(struct script *s, size_t i)
{
	struct script_end *e = script_up(s, SCRIPT_UP, i);

	assert_non_null(e);
	return e;
}

/* ---- tests ---- */

static void test_a_call_in_pieces_of_any_size(void **state)
{
	static const size_t steps[] = { 1, 2, 7, 100, SIZE_MAX };

	(void)state;
	for (size_t i = 0; i < GT_LEN(steps); i++) {
		struct script *s = open_tls(-1, false);
		struct client c = client_open(s, NULL, NULL);

		c.step = steps[i];
		pump(&c);
		assert_true(SSL_is_init_finished(c.ssl));
		client_say(&c, GET);
		assert_true(script_has(up(s, 0), "GET /x HTTP/1.1\r\n"));
		assert_true(script_has(up(s, 0), "X-Forwarded-Proto: https\r\n"));
		script_puts(up(s, 0), OK_HI);
		pump(&c);
		assert_true(client_has(&c, "\r\n\r\nhi"));
		client_say(&c, GET); /* and again */
		script_puts(up(s, 0), OK_HI);
		pump(&c);
		assert_int_equal(s->gw->stats.tls_handshakes, 1);
		client_close(&c);
		assert_int_equal(script_close(s), 0);
	}
}

/* The client reads in drops: records are sent in parts, and every byte arrives once. */
static void test_large_bodies_through_a_narrow_pipe(void **state)
{
	struct script *s = open_tls(-1, false);
	size_t len = 300000, room = 0;
	char *body = gt_alloc(len);
	uint64_t seed = 5;
	const struct gt_rand rnd = gt_rand_seeded(&seed);

	(void)state;
	rnd.fill(rnd.arg, body, len);
	s->room = 100; /* not even the handshake fits */
	struct client c = client_open(s, NULL, NULL);

	s->room = SIZE_MAX / 2;
	pump(&c);
	assert_false(SSL_is_init_finished(c.ssl));
	for (int i = 0; i < 100 && !SSL_is_init_finished(c.ssl); i++) {
		script_room(c.end, 100);
		pump(&c);
	}
	script_room(c.end, 1000); /* and its ticket */
	client_say(&c, GET);
	script_puts(up(s, 0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n");
	for (size_t at = 0; at < len; at += 10000)
		script_put(up(s, 0), body + at, 10000);
	script_puts(up(s, 0), "\r\n0\r\n\r\n");
	for (int i = 0; i < 3000 && !client_has(&c, "0\r\n\r\n"); i++) {
		script_room(c.end, 1 + room++ * 37 % 999);
		pump(&c);
	}
	/* Out of its chunks again. */
	gt_auto(buf) struct gt_buf got = { 0 };
	struct gt_h1 resp;
	struct gt_h1_body piece;
	size_t at = 0, used;
	enum gt_h1_event ev;

	gt_h1_init(&resp, GT_H1_RESPONSE);
	do {
		ev = gt_h1_feed(&resp, c.said.data + at, c.said.len - at, &used, &piece);
		at += used;
		if (ev == GT_H1_DATA)
			gt_buf_add(&got, piece.data, piece.len);
	} while (ev == GT_H1_HEAD || ev == GT_H1_DATA);
	assert_int_equal(ev, GT_H1_END);
	assert_int_equal(got.len, len);
	assert_memory_equal(got.data, body, len);
	gt_h1_fini(&resp);
	client_close(&c);
	free(body);
	assert_int_equal(script_close(s), 0);
}

/* Many records at once: none stays behind unread. */
static void test_a_large_body_upwards(void **state)
{
	struct script *s = open_tls(-1, false);
	struct client c = client_open(s, NULL, NULL);
	size_t len = 400000;
	char *body = gt_alloc(len);

	(void)state;
	memset(body, 'x', len);
	pump(&c);
	client_say(&c, "POST /f/echo/x HTTP/1.1\r\n" AUTH "Content-Length: 400000\r\n\r\n");
	assert_int_equal(SSL_write(c.ssl, body, (int)len), len);
	pump(&c);
	assert_true(up(s, 0)->got.len > len);
	script_puts(up(s, 0), OK_HI);
	pump(&c);
	assert_true(client_has(&c, "\r\n\r\nhi"));
	client_close(&c);
	free(body);
	assert_int_equal(script_close(s), 0);
}

static void test_ends(void **state)
{
	struct script *s = open_tls(-1, false);
	struct client last = client_open(s, NULL, NULL), gone = client_open(s, NULL, NULL);

	(void)state;
	pump(&last);
	client_say(&last, "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_true(client_has(&last, "HTTP/1.1 200"));
	assert_true(last.goodbye); /* nobody can have cut it */
	/* A client that says goodbye and closes while its call runs has left. */
	pump(&gone);
	client_say(&gone, GET);
	assert_true(script_has(up(s, 0), "GET /x"));
	SSL_shutdown(gone.ssl);
	pump(&gone);
	script_eof(gone.end);
	assert_true(up(s, 0)->closed);
	assert_true(gone.end->closed);
	client_close(&last);
	client_close(&gone);
	assert_int_equal(script_close(s), 0);
}

static void test_who_does_not_speak_tls_is_told(void **state)
{
	struct script *s = open_tls(-1, false);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET);
	assert_true(script_has(c, "HTTP/1.1 400 Bad Request\r\n"));
	assert_true(script_has(c, "use an https:// address"));
	assert_true(c->shut);
	assert_null(script_up(s, SCRIPT_UP, 0));
	assert_int_equal(s->gw->stats.tls_failed, 1);
	assert_int_equal(s->gw->n_handshakes, 0);
	script_eof(c);
	/* Neither are bytes that only begin like TLS. */
	c = script_client(s, "10.0.0.9");
	script_put(c, "\x16\x03\x01\xff\xff nonsense", 15);
	assert_true(c->closed);
	assert_int_equal(script_close(s), 0);
}

static void test_handshakes_are_limited_in_time_and_number(void **state)
{
	struct script *s = open_tls(-1, false);
	struct script_end *slow[4];

	(void)state;
	s->gw->handshakes_max = 3;
	for (int i = 0; i < 4; i++) {
		slow[i] = script_client(s, "10.0.0.9");
		script_put(slow[i], "\x16\x03", 2);
	}
	assert_true(slow[0]->closed); /* the oldest made room */
	assert_false(slow[1]->closed);
	assert_int_equal(s->gw->n_handshakes, 3);
	struct client c = client_open(s, NULL, NULL);

	pump(&c);
	assert_true(slow[1]->closed);
	assert_true(SSL_is_init_finished(c.ssl));
	assert_int_equal(s->gw->n_handshakes, 2);
	script_wait(s, GT_GW_HEAD_MS + 10);
	assert_true(slow[2]->closed && slow[3]->closed);
	assert_true(c.end->open); /* it is idle: it has longer */
	assert_int_equal(s->gw->stats.tls_failed, 4);
	client_close(&c);
	assert_int_equal(script_close(s), 0);
}

static void test_sessions_are_resumed(void **state)
{
	struct script *s = open_tls(-1, false);
	struct client first = client_open(s, NULL, NULL);

	(void)state;
	pump(&first);
	client_say(&first, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n");
	SSL_SESSION *session = SSL_get1_session(first.ssl);
	struct client second = client_open(s, NULL, session);

	pump(&second);
	assert_true(SSL_session_reused(second.ssl));
	assert_int_equal(s->gw->stats.tls_handshakes, 2);
	assert_int_equal(s->gw->stats.tls_resumed, 1);
	SSL_SESSION_free(session);
	client_close(&first);
	client_close(&second);
	assert_int_equal(script_close(s), 0);
}

static void test_clients_are_named_by_their_certificates_alone(void **state)
{
	struct script *s = open_tls(ca.cert_fd, true);
	struct client c = client_open(s, &alice, NULL), none = client_open(s, NULL, NULL),
		      own = client_open(s, NULL, NULL);

	(void)state;
	pump(&c);
	client_say(&c, "GET /f/echo/x HTTP/1.1\r\nGantry-Client-Subject: CN=root\r\n" AUTH "\r\n");
	/* Escaped: what is in a certificate writes no header of its own. */
	assert_true(script_has(up(s, 0),
			       "\r\nGantry-Client-Subject: CN=al\\C3\\ACce\\, \\0D\\0AX: 1\r\n"));
	assert_false(script_has(up(s, 0), "CN=root"));
	gt_buf_reset(&up(s, 0)->got);
	script_puts(up(s, 0), OK_HI);
	pump(&none);
	client_say(&none,
		   "GET /f/echo/y HTTP/1.1\r\nGantry-Client-Subject: CN=root\r\n" AUTH "\r\n");
	assert_true(script_has(up(s, 0), "GET /y"));
	assert_false(script_has(up(s, 0), "Gantry-Client-Subject"));
	/* One that no CA of ours has signed. */
	struct identity mallory = identity_make("mallory", NULL);

	SSL_use_certificate(own.ssl, mallory.cert);
	SSL_use_PrivateKey(own.ssl, mallory.key);
	pump(&own);
	assert_true(own.end->closed);
	identity_free(&mallory);
	client_close(&c);
	client_close(&none);
	client_close(&own);
	assert_int_equal(script_close(s), 0);

	s = open_tls(ca.cert_fd, false);
	none = client_open(s, NULL, NULL);
	pump(&none);
	assert_true(none.end->closed);
	client_close(&none);
	assert_int_equal(script_close(s), 0);
}

static void test_a_proxy_header_comes_before(void **state)
{
	static const char header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01"
				     "\x30\x39\x01\xbb";
	struct script *s = open_tls(-1, false);

	(void)state;
	s->gw->listeners[0].proxies = gt_alloc(sizeof(struct gt_cidr));
	s->gw->listeners[0].n_proxies = 1;
	assert_true(gt_cidr_parse("10.0.0.9", s->gw->listeners[0].proxies));
	struct client c = client_open(s, NULL, NULL);
	gt_auto(buf) struct gt_buf first = { 0 };
	char hello[4096];

	/* Both at once: no byte of TLS is taken for the header. */
	SSL_do_handshake(c.ssl);
	gt_buf_add(&first, header, sizeof(header) - 1);
	gt_buf_add(&first, hello, (size_t)BIO_read(SSL_get_wbio(c.ssl), hello, sizeof(hello)));
	script_put(c.end, first.data, first.len);
	pump(&c);
	client_say(&c, GET);
	assert_true(script_has(up(s, 0), "X-Forwarded-For: 192.0.2.7\r\n"));
	client_close(&c);
	assert_int_equal(script_close(s), 0);
}

static void test_files_that_do_not_fit(void **state)
{
	struct ssl_ctx_st *ctx = NULL;
	struct gt_err err = { 0 };
	int junk;

	(void)state;
	assert_int_equal(
		gt_os_memfd("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n", 32, &junk, NULL), 0);
	assert_true(gt_tls_server_new(junk, server.key_fd, -1, false, &ctx, &err) < 0);
	assert_non_null(strstr(err.text, "tls_cert: "));
	assert_true(gt_tls_server_new(server.cert_fd, junk, -1, false, &ctx, &err) < 0);
	assert_non_null(strstr(err.text, "tls_key: "));
	assert_true(gt_tls_server_new(server.cert_fd, alice.key_fd, -1, false, &ctx, &err) < 0);
	assert_non_null(strstr(err.text, "is not the key of tls_cert"));
	assert_true(gt_tls_server_new(server.cert_fd, server.key_fd, junk, false, &ctx, &err) < 0);
	assert_non_null(strstr(err.text, "tls_client_ca: "));
	assert_null(ctx);
	close(junk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_call_in_pieces_of_any_size),
		cmocka_unit_test(test_large_bodies_through_a_narrow_pipe),
		cmocka_unit_test(test_a_large_body_upwards),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_who_does_not_speak_tls_is_told),
		cmocka_unit_test(test_handshakes_are_limited_in_time_and_number),
		cmocka_unit_test(test_sessions_are_resumed),
		cmocka_unit_test(test_clients_are_named_by_their_certificates_alone),
		cmocka_unit_test(test_a_proxy_header_comes_before),
		cmocka_unit_test(test_files_that_do_not_fit),
	};

	return cmocka_run_group_tests_name("gateway_tls", tests, make_identities, free_identities);
}
