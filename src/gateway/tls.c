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

#define RECORD_MAX     16384
#define GATHER_MAX     4096 /* larger pieces are not copied together with others */
#define SUBJECT_MAX    511
#define HANDSHAKE_BYTE 22 /* begins each first record of a client */

struct gt_tls {
	SSL *ssl;
	const struct gt_sock_ops *below;
	struct gt_sock *sock;
	bool begun; /* a byte of the client was seen */
	bool ended; /* it sends no more */
	bool plain, established;
	bool broken; /* by an error, or by us: no word of goodbye */
	bool said_goodbye;
	char *subject; /* of the client's certificate; NULL = none */
};

static struct gt_tls *tls_of(const struct gt_sock *s)
{
	return s->layer;
}

/* ---- OpenSSL to the transport ---- */

static int bio_read(BIO *bio, char *data, int len)
{
	struct gt_tls *t = BIO_get_data(bio);
	ssize_t n = t->below->read(t->sock, data, (size_t)len);

	BIO_clear_retry_flags(bio);
	if (n == -EAGAIN)
		BIO_set_retry_read(bio);
	if (n > 0 && !t->begun) {
		t->begun = true;
		t->plain = data[0] != HANDSHAKE_BYTE;
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
	free(t->subject);
	free(t);
}

static void tls_close(struct gt_sock *s)
{
	say_goodbye(tls_of(s));
	take_off(s);
	s->ops->close(s);
}

static const struct gt_sock_ops tls_ops = {
	.read = tls_read, /* what clients' sockets are asked for, and no more */
	.write = tls_write,
	.shut = tls_shut,
	.reset = tls_reset,
	.close = tls_close,
};

/* ---- the handshake ---- */

void gt_tls_begin(struct gt_sock *s, struct ssl_ctx_st *server)
{
	struct gt_tls *t = gt_alloc(sizeof(*t));
	BIO *bio = BIO_new(bio_method());

	t->below = s->ops;
	t->sock = s;
	t->ssl = SSL_new(server);
	if (!bio || !t->ssl)
		abort(); /* as with any small allocation */
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_accept_state(t->ssl);
	s->ops = &tls_ops;
	s->layer = t;
	s->both = true;
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
		t->subject = read_subject(t->ssl);
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

const char *gt_tls_subject(const struct gt_sock *s)
{
	const struct gt_tls *t = tls_of(s);

	return t ? t->subject : NULL;
}
