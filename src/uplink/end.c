#include "end.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What an SSL call that did not work means; 0 = the peer's orderly end. */
static int outcome(struct end *e, int r)
{
	int error = errno, what = SSL_get_error(e->ssl, r);

	ERR_clear_error();
	switch (what) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return error ? -error : -ECONNRESET;
	default:
		return -EPROTO;
	}
}

/* Until the buffer is full or nothing is there: a record is at most 16 KiB. */
static ssize_t tls_read(struct end *e, char *buf, size_t len)
{
	size_t got = 0, n;

	while (got < len) {
		ERR_clear_error();
		errno = 0;
		int r = SSL_read_ex(e->ssl, buf + got, len - got, &n);

		if (r != 1) {
			int end = outcome(e, r); /* told again by the next read, if it is one */

			return got ? (ssize_t)got : end;
		}
		got += n;
	}
	return (ssize_t)got;
}

ssize_t end_read(struct end *e, void *buf, size_t len)
{
	ssize_t n;

	if (e->ssl)
		return tls_read(e, buf, len);
	do
		n = recv(e->fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t end_write(struct end *e, const void *buf, size_t len)
{
	ssize_t n;

	if (e->ssl) {
		size_t done;

		ERR_clear_error();
		errno = 0;
		int r = SSL_write_ex(e->ssl, buf, len, &done);

		if (r == 1)
			return (ssize_t)done;
		r = outcome(e, r);
		return r ? r : -EPIPE;
	}
	do
		n = send(e->fd, buf, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int end_shut(struct end *e)
{
	if (!e->ssl)
		return shutdown(e->fd, SHUT_WR) < 0 ? -errno : 0;
	ERR_clear_error();
	errno = 0;
	int r = SSL_shutdown(e->ssl); /* 0: said; the peer may go on */

	/* The socket's end, too: who waits for an answer reads no more, and hears of nothing else.
	 */
	if (r >= 0)
		return shutdown(e->fd, SHUT_WR) < 0 ? -errno : 0;
	r = outcome(e, r);
	return r ? r : -EPIPE;
}

void end_close(struct end *e, bool reset)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (e->ssl) {
		if (!reset && !(SSL_get_shutdown(e->ssl) & SSL_SENT_SHUTDOWN)) {
			SSL_shutdown(e->ssl);
			ERR_clear_error();
		}
		SSL_free(e->ssl);
	}
	if (e->fd >= 0 && reset)
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	*e = (struct end){ .fd = gt_close(e->fd) };
}

struct end end_steal(struct end *e)
{
	struct end all = *e;

	*e = (struct end)END_NONE;
	return all;
}
