/* echo.c - a small HTTP server to try functions with. One static file, no configuration.
 *
 *	any path		"METHOD path" and the body, as it arrives
 *	/sleep?ms=N		answers after N milliseconds
 *	/stream?n=N&ms=M	N lines, one every M milliseconds
 *	/bytes?n=N		N bytes
 *	/env			its environment
 *	/exit?code=N		ends the process without an answer
 *
 * It listens on $PORT (8000), keeps connections alive, and ends on SIGTERM. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX   16384
#define OUT_MAX    4096
#define STACK_SIZE (128 * 1024)

struct conn {
	int fd;
	size_t at, len; /* what of buf is not used yet */
	char buf[HEAD_MAX + 1];
	size_t out_len; /* of out: goes out before anything is waited for */
	char out[OUT_MAX];
};

struct request {
	char method[16], target[4096];
	unsigned long long body_len;
	bool chunked, close;
};

/* ---- bytes ---- */

static bool put_now(struct conn *c, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static bool flush(struct conn *c)
{
	size_t len = c->out_len;

	c->out_len = 0;
	return put_now(c, c->out, len);
}

/* A small answer is one packet. */
static bool put(struct conn *c, const char *data, size_t len)
{
	if (len > OUT_MAX - c->out_len && !flush(c))
		return false;
	if (len > OUT_MAX)
		return put_now(c, data, len);
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return true;
}

__attribute__((format(printf, 2, 3))) static bool putf(struct conn *c, const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return len >= 0 && (size_t)len < sizeof(text) && put(c, text, (size_t)len);
}

static bool put_chunk(struct conn *c, const char *data, size_t len)
{
	return len == 0 || (putf(c, "%zx\r\n", len) && put(c, data, len) && put(c, "\r\n", 2));
}

static bool fill(struct conn *c)
{
	ssize_t n;

	if (c->at > 0) {
		memmove(c->buf, c->buf + c->at, c->len);
		c->at = 0;
	}
	if (c->len == HEAD_MAX || !flush(c))
		return false;
	n = recv(c->fd, c->buf + c->len, HEAD_MAX - c->len, 0);
	if (n <= 0)
		return false;
	c->buf[c->len += (size_t)n] = '\0';
	return true;
}

static void use(struct conn *c, size_t n)
{
	c->at += n;
	c->len -= n;
}

/* The next line without its end, cut out of the buffer; NULL when the peer is gone. */
static char *get_line(struct conn *c)
{
	char *line, *end;

	while (!(end = memchr(c->buf + c->at, '\n', c->len))) {
		if (!fill(c))
			return NULL;
	}
	line = c->buf + c->at;
	use(c, (size_t)(end + 1 - line));
	*end = '\0';
	if (end > line && end[-1] == '\r')
		end[-1] = '\0';
	return line;
}

/* ---- requests ---- */

static bool read_head(struct conn *c, struct request *r)
{
	char *line = get_line(c);
	char version[16];

	memset(r, 0, sizeof(*r));
	if (!line || sscanf(line, "%15s %4095s %15s", r->method, r->target, version) != 3)
		return false;
	r->close = strcmp(version, "HTTP/1.0") == 0;
	while ((line = get_line(c)) && *line) {
		char *value = strchr(line, ':');

		if (!value)
			return false;
		*value++ = '\0';
		value += strspn(value, " \t");
		if (strcasecmp(line, "content-length") == 0)
			r->body_len = strtoull(value, NULL, 10);
		else if (strcasecmp(line, "transfer-encoding") == 0)
			r->chunked = strcasecmp(value, "chunked") == 0;
		else if (strcasecmp(line, "connection") == 0 && strcasecmp(value, "close") == 0)
			r->close = true;
		else if (strcasecmp(line, "expect") == 0 &&
			 !putf(c, "HTTP/1.1 100 Continue\r\n\r\n"))
			return false;
	}
	return line != NULL;
}

/* Hands `len` body bytes on as they come; `to` says how. */
static bool pass(struct conn *c, unsigned long long len,
		 bool (*to)(struct conn *c, const char *data, size_t len))
{
	while (len > 0) {
		size_t n;

		if (c->len == 0 && !fill(c))
			return false;
		n = c->len < len ? c->len : (size_t)len;
		if (to && !to(c, c->buf + c->at, n))
			return false;
		use(c, n);
		len -= n;
	}
	return true;
}

static bool pass_body(struct conn *c, const struct request *r,
		      bool (*to)(struct conn *c, const char *data, size_t len))
{
	if (!r->chunked)
		return pass(c, r->body_len, to);
	for (;;) {
		char *line = get_line(c);
		unsigned long long len = line ? strtoull(line, NULL, 16) : 0;

		if (!line || !pass(c, len, to))
			return false;
		if (len > 0) {
			if (!get_line(c))
				return false;
			continue;
		}
		while ((line = get_line(c)) && *line)
			;
		return line != NULL;
	}
}

static long query(const char *target, const char *name, long fallback)
{
	size_t len = strlen(name);

	for (const char *p = strchr(target, '?'); p; p = strchr(p, '&')) {
		p++;
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return strtol(p + len + 1, NULL, 10);
	}
	return fallback;
}

static bool is_path(const char *target, const char *path)
{
	size_t len = strlen(path);

	return strncmp(target, path, len) == 0 && (target[len] == '\0' || target[len] == '?');
}

static bool sleep_ms(struct conn *c, long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	if (!flush(c))
		return false;
	nanosleep(&ts, NULL);
	return true;
}

/* ---- answers ---- */

static bool head_len(struct conn *c, unsigned long long len)
{
	return putf(c,
		    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
		    len);
}

static bool head_chunked(struct conn *c)
{
	return putf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		       "Transfer-Encoding: chunked\r\n\r\n");
}

static bool answer_text(struct conn *c, const char *text)
{
	return head_len(c, strlen(text)) && put(c, text, strlen(text));
}

static bool answer_stream(struct conn *c, long n, long ms)
{
	char line[64];

	if (!head_chunked(c))
		return false;
	for (long i = 0; i < n; i++) {
		int len = snprintf(line, sizeof(line), "line %ld\n", i);

		if (i > 0 && !sleep_ms(c, ms))
			return false;
		if (!put_chunk(c, line, (size_t)len))
			return false;
	}
	return put(c, "0\r\n\r\n", 5);
}

static bool answer_bytes(struct conn *c, long n)
{
	char block[8192];

	memset(block, 'x', sizeof(block));
	if (!head_len(c, (unsigned long long)n))
		return false;
	for (; n > 0; n -= (long)sizeof(block)) {
		if (!put(c, block, n < (long)sizeof(block) ? (size_t)n : sizeof(block)))
			return false;
	}
	return true;
}

static bool answer_env(struct conn *c)
{
	if (!head_chunked(c))
		return false;
	for (char **e = environ; *e; e++) {
		if (!put_chunk(c, *e, strlen(*e)) || !put_chunk(c, "\n", 1))
			return false;
	}
	return put(c, "0\r\n\r\n", 5);
}

static bool answer_echo(struct conn *c, const struct request *r)
{
	char first[sizeof(r->method) + sizeof(r->target) + 2];
	size_t len = (size_t)snprintf(first, sizeof(first), "%s %s\n", r->method, r->target);

	if (strcmp(r->method, "HEAD") == 0)
		return head_len(c, len);
	if (r->chunked)
		return head_chunked(c) && put_chunk(c, first, len) && pass_body(c, r, put_chunk) &&
		       put(c, "0\r\n\r\n", 5);
	return head_len(c, len + r->body_len) && put(c, first, len) && pass_body(c, r, put);
}

static bool answer(struct conn *c, const struct request *r)
{
	const char *t = r->target;
	bool special = is_path(t, "/sleep") || is_path(t, "/stream") || is_path(t, "/bytes") ||
		       is_path(t, "/env");
	if (is_path(t, "/exit")) {
		flush(c); /* of the request before */
		printf("exiting with code %ld\n", query(t, "code", 0));
		fflush(stdout);
		_exit((int)query(t, "code", 0));
	}
	if (!special)
		return answer_echo(c, r);
	if (!pass_body(c, r, NULL))
		return false;
	if (is_path(t, "/stream"))
		return answer_stream(c, query(t, "n", 10), query(t, "ms", 100));
	if (is_path(t, "/bytes"))
		return answer_bytes(c, query(t, "n", 1024));
	if (is_path(t, "/env"))
		return answer_env(c);
	if (!sleep_ms(c, query(t, "ms", 1000)))
		return false;
	return answer_text(c, "slept\n");
}

static void *serve(void *arg)
{
	struct conn *c = arg;
	struct request r;

	while (read_head(c, &r) && answer(c, &r) && !r.close)
		;
	flush(c);
	close(c->fd);
	free(c);
	return NULL;
}

static void on_term(int signo)
{
	(void)signo;
	_exit(0);
}

int main(void)
{
	const char *port = getenv("PORT");
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	pthread_attr_t attr;

	signal(SIGTERM, on_term);
	signal(SIGPIPE, SIG_IGN);
	addr.sin_port = htons((unsigned short)(port ? atoi(port) : 8000));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, 1024) < 0) {
		perror("echo: listen");
		return 1;
	}
	printf("echo listens on port %d\n", ntohs(addr.sin_port));
	fflush(stdout);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct conn *c = calloc(1, sizeof(*c));
		pthread_t thread;

		if (!c || (c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0) {
			free(c);
			continue;
		}
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&thread, &attr, serve, c) != 0) {
			close(c->fd);
			free(c);
		}
	}
}
