/* fake_server.c - see the header. */
#include "fake_server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS_MAX    64
#define REQUESTS_MAX 256

struct conn {
	struct fake_server *server;
	pthread_t thread;
	int fd;
};

struct fake_server {
	int fd;
	uint16_t port;
	fake_handler *handler;
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	struct conn conns[CONNS_MAX];
	size_t n_conns;
	char *seen[REQUESTS_MAX];
	size_t n_seen;
};

static void die(const char *what)
{
	perror(what);
	abort();
}

static void remember(struct fake_server *s, const struct fake_request *req)
{
	char *text = NULL;

	if (asprintf(&text, "%s\n%s", req->head, req->body) < 0)
		abort();
	pthread_mutex_lock(&s->lock);
	if (s->n_seen == REQUESTS_MAX)
		abort();
	s->seen[s->n_seen++] = text;
	pthread_mutex_unlock(&s->lock);
}

/* Byte by byte: nothing of the next request may be swallowed, and speed does not matter. */
static bool read_request(struct fake_request *req)
{
	size_t len = 0, body = 0;
	char length[24];

	req->body[0] = '\0';
	while (len < 4 || memcmp(req->head + len - 4, "\r\n\r\n", 4) != 0) {
		if (len + 1 == sizeof(req->head) || recv(req->fd, req->head + len, 1, 0) != 1)
			return false;
		req->head[++len] = '\0';
	}
	if (sscanf(req->head, "%7s %1023s", req->method, req->target) != 2)
		return false;
	if (fake_header(req, "Content-Length", length, sizeof(length)))
		body = strtoul(length, NULL, 10);
	if (body >= sizeof(req->body))
		abort();
	for (size_t at = 0; at < body; at++)
		if (recv(req->fd, req->body + at, 1, 0) != 1)
			return false;
	req->body[body] = '\0';
	return true;
}

static void *serve_conn(void *arg)
{
	struct conn *c = arg;
	struct fake_request *req = calloc(1, sizeof(*req));
	bool more = req != NULL;

	while (more) {
		req->server = c->server;
		req->fd = c->fd;
		more = read_request(req);
		if (!more)
			break;
		remember(c->server, req);
		more = c->server->handler(req, c->server->arg);
	}
	shutdown(c->fd, SHUT_RDWR); /* closed by stop: its number must not be given away before */
	free(req);
	return NULL;
}

static void *serve(void *arg)
{
	struct fake_server *s = arg;
	int fd;

	while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		pthread_mutex_lock(&s->lock);
		if (s->n_conns == CONNS_MAX)
			abort();
		struct conn *c = &s->conns[s->n_conns++];

		c->server = s;
		c->fd = fd;
		if (pthread_create(&c->thread, NULL, serve_conn, c) != 0)
			abort();
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

struct fake_server *fake_server_start(fake_handler *handler, void *arg)
{
	struct fake_server *s = calloc(1, sizeof(*s));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	if (!s)
		abort();
	s->handler = handler;
	s->arg = arg;
	pthread_mutex_init(&s->lock, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, len) < 0 || listen(s->fd, 64) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&a, &len) < 0)
		die("fake server");
	s->port = ntohs(a.sin_port);
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		die("fake server");
	return s;
}

void fake_server_stop(struct fake_server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	for (size_t i = 0; i < s->n_conns; i++) {
		shutdown(s->conns[i].fd, SHUT_RDWR);
		pthread_join(s->conns[i].thread, NULL);
		close(s->conns[i].fd);
	}
	for (size_t i = 0; i < s->n_seen; i++)
		free(s->seen[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void fake_server_sync(struct fake_server *s)
{
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
}

uint16_t fake_server_port(const struct fake_server *s)
{
	return s->port;
}

unsigned fake_server_saw(struct fake_server *s, const char *text)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n_seen; i++)
		n += strstr(s->seen[i], text) != NULL;
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool fake_header(const struct fake_request *req, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	for (const char *p = strstr(req->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
		if (strncasecmp(p + 2, name, len) != 0 || p[2 + len] != ':')
			continue;
		const char *value = p + 2 + len + 1;

		value += strspn(value, " ");
		snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
		return true;
	}
	return false;
}

bool fake_send(struct fake_request *req, const void *data, size_t len)
{
	const char *p = data;

	fake_server_sync(req->server);
	while (len > 0) {
		ssize_t n = send(req->fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool fake_sendf(struct fake_request *req, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, fmt);
	int len = vasprintf(&text, fmt, args);

	va_end(args);
	if (len < 0)
		abort();
	bool ok = fake_send(req, text, (size_t)len);

	free(text);
	return ok;
}

bool fake_reply(struct fake_request *req, int status, const char *headers, const void *body,
		size_t len)
{
	return fake_sendf(req, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n", status, len,
			  headers) &&
	       fake_send(req, body, len);
}

bool fake_hang(struct fake_request *req)
{
	char c;

	while (recv(req->fd, &c, 1, 0) > 0)
		continue;
	return false;
}
