/* tls.c - the layer: OpenSSL above, the socket's own transport below.
 *
 * OpenSSL may have to write in order to read, and the other way round; so on such a socket any
 * event allows both (gt_sock.both). A read goes on until the buffer is full or the transport is
 * empty: then a short one means the same as on a plain socket. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#define RECORD_MAX  16384
#define GATHER_MAX  4096 /* larger pieces are not copied together with others */
#define SUBJECT_MAX 511

struct gt_tls {
	SSL *ssl;
	const struct gt_sock_ops *below;
	struct gt_sock *sock;
	bool begun; /* a byte of the client was seen */
	bool ended; /* it sends no more */
	bool plain, established;
	bool broken; /* by an error, or by us: no word of goodbye */
	bool said_goodbye;
	bool linked; /* the client asked for the cluster */
	struct ssl_ctx_st *const *link;
	struct gt_buf ahead; /* was read before the layer came */
	char *subject;       /* of the client's certificate; NULL = none */
	void *kept;          /* gt_tls_keep */
};

static struct gt_tls *tls_of(const struct gt_sock *s)
{
	return s->layer;
}

/* ---- OpenSSL to the transport ---- */

static ssize_t take_ahead(struct gt_tls *t, char *data, size_t len)
{
	size_t n = GT_MIN(len, t->ahead.len);

	memcpy(data, t->ahead.data, n);
	gt_buf_consume(&t->ahead, n);
	if (!t->ahead.len)
		gt_buf_fini(&t->ahead);
	return (ssize_t)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
	struct gt_tls *t = BIO_get_data(bio);
	ssize_t n = t->ahead.len ? take_ahead(t, data, (size_t)len)
				 : t->below->read(t->sock, data, (size_t)len);

	BIO_clear_retry_flags(bio);
	if (n == -EAGAIN)
		BIO_set_retry_read(bio);
	if (n > 0 && !t->begun) {
		t->begun = true;
		t->plain = data[0] != GT_TLS_FIRST_BYTE;
		if (t->plain)
			return -1;
	}
	t->ended |= n == 0;
	return n < 0 ? -1 : (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct gt_tls *t = BIO_get_data(bio);
	const struct iovec iov = { (char *)data, (size_t)len };
	ssize_t n = t->below->write(t->sock, &iov, 1);

	BIO_clear_retry_flags(bio);
	if (n == -EAGAIN || n == 0) {
		BIO_set_retry_write(bio);
		return -1;
	}
	return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *arg)
{
	const struct gt_tls *t = BIO_get_data(bio);

	(void)num;
	(void)arg;
	return cmd == BIO_CTRL_EOF ? t->ended : cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gantry");
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO_METHOD *bio_method(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_method);
	return method;
}

/* ---- the socket's operations ---- */

/* What a call that returned `r` means: -EAGAIN, 0 for the peer's orderly end, or another -errno. */
static int outcome(struct gt_tls *t, int r)
{
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		t->sock->hup = true;
		return 0;
	default:
		t->sock->hup = true;
		t->sock->failed = true;
		t->broken = true;
		ERR_clear_error();
		return -EPROTO;
	}
}

static ssize_t tls_read(struct gt_sock *s, void *buf, size_t len)
{
	struct gt_tls *t = tls_of(s);
	size_t got = 0, n;

	while (got < len) {
		ERR_clear_error();
		int r = SSL_read_ex(t->ssl, (char *)buf + got, len - got, &n);

		if (r != 1) {
			int end = outcome(t, r); /* told again by the next read, if it is one */

			return got ? (ssize_t)got : end;
		}
		got += n;
	}
	return (ssize_t)got;
}

/* The next bytes for one record: small pieces together. */
static size_t gather(const struct iovec *iov, size_t n, size_t skip, char piece[RECORD_MAX],
		     const char **data)
{
	size_t i = 0, len = 0;

	while (i < n && skip >= iov[i].iov_len)
		skip -= iov[i++].iov_len;
	if (i == n)
		return 0;
	*data = (const char *)iov[i].iov_base + skip;
	len = iov[i].iov_len - skip;
	if (len >= GATHER_MAX || i + 1 == n)
		return GT_MIN(len, (size_t)RECORD_MAX);
	for (len = 0; i < n && len < RECORD_MAX; i++, skip = 0) {
		size_t part = GT_MIN(iov[i].iov_len - skip, RECORD_MAX - len);

		if (part)
			memcpy(piece + len, (const char *)iov[i].iov_base + skip, part);
		len += part;
	}
	*data = piece;
	return len;
}

/* What OpenSSL could not send it wants to see again, at least as much of it: the queue of the
 * socket offers it again from the same byte on. */
static ssize_t tls_write(struct gt_sock *s, const struct iovec *iov, size_t n)
{
	struct gt_tls *t = tls_of(s);
	char piece[RECORD_MAX];
	size_t taken = 0, len, done;
	const char *data = NULL;

	while ((len = gather(iov, n, taken, piece, &data)) > 0) {
		ERR_clear_error();
		int r = SSL_write_ex(t->ssl, data, len, &done);

		if (r != 1) {
			int end = outcome(t, r);

			return taken ? (ssize_t)taken : end == 0 ? -EPIPE : end;
		}
		taken += done;
	}
	return (ssize_t)taken;
}

/* Bytes that OpenSSL holds already are told by no event. */
static bool tls_silent(struct gt_sock *s)
{
	struct gt_tls *t = tls_of(s);
	char c;

	ERR_clear_error();
	int r = SSL_peek(t->ssl, &c, 1);

	return r <= 0 && outcome(t, r) == -EAGAIN;
}

static bool tls_delivered(struct gt_sock *s)
{
	return tls_of(s)->below->delivered(s);
}

static void say_goodbye(struct gt_tls *t)
{
	if (!t->established || t->broken || t->said_goodbye)
		return;
	t->said_goodbye = true;
	ERR_clear_error();
	SSL_shutdown(t->ssl); /* does not wait for the peer's */
	ERR_clear_error();
}

static void tls_shut(struct gt_sock *s)
{
	say_goodbye(tls_of(s));
	tls_of(s)->below->shut(s);
}

static void tls_reset(struct gt_sock *s)
{
	tls_of(s)->broken = true;
	tls_of(s)->below->reset(s);
}

static void take_off(struct gt_sock *s)
{
	struct gt_tls *t = tls_of(s);

	s->ops = t->below;
	s->layer = NULL;
	s->both = false;
	SSL_free(t->ssl);
	gt_buf_fini(&t->ahead);
	free(t->subject);
	free(t->kept);
	free(t);
}

static void tls_close(struct gt_sock *s)
{
	say_goodbye(tls_of(s));
	take_off(s);
	s->ops->close(s);
}

static const struct gt_sock_ops tls_ops = {
	.read = tls_read, /* what peers' sockets are asked for, and no more */
	.write = tls_write,
	.silent = tls_silent,
	.delivered = tls_delivered,
	.shut = tls_shut,
	.reset = tls_reset,
	.close = tls_close,
};

/* ---- the handshake ---- */

/* The extension is a list of names, of which only one of type 0 can be there. */
static bool names_link(SSL *ssl)
{
	static const char name[] = GT_PKI_SNI;
	const size_t len = sizeof(name) - 1;
	const unsigned char *p;
	size_t n;

	return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) == 1 &&
	       n == 5 + len && p[0] == 0 && p[1] == 3 + len && p[2] == TLSEXT_NAMETYPE_host_name &&
	       p[3] == 0 && p[4] == len && !memcmp(p + 5, name, len);
}

/* The first thing that is done with a client's greeting. */
static int choose_identity(SSL *ssl, int *alert, void *arg)
{
	struct gt_tls *t = SSL_get_app_data(ssl);

	(void)alert;
	(void)arg;
	if (!t->link || !names_link(ssl))
		return SSL_CLIENT_HELLO_SUCCESS;
	t->linked = true;
	if (!*t->link)
		return SSL_CLIENT_HELLO_RETRY;
	SSL_set_SSL_CTX(ssl, *t->link);
	gt_tls_link_rules(ssl);
	return SSL_CLIENT_HELLO_SUCCESS;
}

void gt_tls_choose(struct ssl_ctx_st *server)
{
	SSL_CTX_set_client_hello_cb(server, choose_identity, NULL);
}

void gt_tls_begin(struct gt_sock *s, struct ssl_ctx_st *server, struct ssl_ctx_st *const *link)
{
	struct gt_tls *t = gt_alloc(sizeof(*t));
	BIO *bio = BIO_new(bio_method());

	t->below = s->ops;
	t->sock = s;
	t->linked = server == NULL;
	t->link = server ? link : NULL;
	t->ssl = SSL_new(server ? server : *link);
	if (!bio || !t->ssl)
		gt_out_of_memory();
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	SSL_set_accept_state(t->ssl);
	gt_buf_init(&t->ahead, 0);
	s->ops = &tls_ops;
	s->layer = t;
	s->both = true;
}

void gt_tls_unread(struct gt_sock *s, const char *data, size_t len)
{
	gt_buf_add(&tls_of(s)->ahead, data, len);
	s->can_read = true;
}

void gt_tls_moved(struct gt_sock *s)
{
	tls_of(s)->sock = s;
}

/* NULL as gt_tls_subject. */
static char *read_subject(const SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	BIO *bio = cert && SSL_get_verify_result(ssl) == X509_V_OK ? BIO_new(BIO_s_mem()) : NULL;
	char *subject = NULL, *text;

	if (!bio)
		return NULL;
	int n = X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);

	if (n > 0 && n <= SUBJECT_MAX && BIO_get_mem_data(bio, &text) == n)
		subject = gt_strndup(text, (size_t)n);
	BIO_free(bio);
	return subject;
}

enum gt_tls_event gt_tls_handshake(struct gt_sock *s)
{
	struct gt_tls *t = tls_of(s);

	ERR_clear_error();
	int r = SSL_do_handshake(t->ssl);

	if (r == 1) {
		t->established = true;
		t->subject = t->linked ? NULL : read_subject(t->ssl);
		return GT_TLS_DONE;
	}
	if (t->plain) {
		take_off(s);
		ERR_clear_error();
		return GT_TLS_PLAIN;
	}
	if (outcome(t, r) != -EAGAIN)
		return GT_TLS_FAILED;
	s->can_read = false;
	return GT_TLS_MORE;
}

bool gt_tls_resumed(const struct gt_sock *s)
{
	return SSL_session_reused(tls_of(s)->ssl) == 1;
}

bool gt_tls_is_link(const struct gt_sock *s)
{
	return s->layer && tls_of(s)->linked;
}

int gt_tls_peer(const struct gt_sock *s, struct gt_pki_id *ret, struct gt_err *err)
{
	const struct gt_tls *t = tls_of(s);
	const X509 *cert = SSL_get0_peer_certificate(t->ssl);

	if (!t->linked || SSL_session_reused(t->ssl))
		return gt_err_set(err, EACCES, "forbidden", "it was not asked for a certificate");
	if (!cert)
		return 0;
	if (SSL_get_verify_result(t->ssl) != X509_V_OK)
		return gt_err_set(err, EACCES, "forbidden", "its certificate is not the cluster's");
	return gt_pki_identity(cert, ret, err) < 0 ? -EACCES : 1;
}

void gt_tls_keep(struct gt_sock *s, void *kept GT_TAKES)
{
	tls_of(s)->kept = kept;
}

void *gt_tls_kept(const struct gt_sock *s)
{
	return tls_of(s)->kept;
}

const char *gt_tls_subject(const struct gt_sock *s)
{
	return s->ops == &tls_ops ? tls_of(s)->subject : NULL; /* other layers: a durable call's */
}
