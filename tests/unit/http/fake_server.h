/* fake_server.h - a scripted HTTP server on loopback, in threads of the test: each connection has
 * one and runs the handler for each request. The handler writes raw bytes, so that it can lie. */
#ifndef TESTS_HTTP_FAKE_SERVER_H
#define TESTS_HTTP_FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_server;

struct fake_request {
	struct fake_server *server;
	int fd;
	char method[8], target[1024];
	char head[8192]; /* whole, with the request line */
	char body[4096];
};

/* Returns whether the connection stays open. */
typedef bool fake_handler(struct fake_request *req, void *arg);

struct fake_server *fake_server_start(fake_handler *handler, void *arg);
/* Ends all connections and waits for their threads. */
void fake_server_stop(struct fake_server *s);
/* Handlers see what the caller wrote before, and the caller what they did before they last sent. */
void fake_server_sync(struct fake_server *s);
uint16_t fake_server_port(const struct fake_server *s);
/* Requests so far whose head (or body) contains `text`. */
unsigned fake_server_saw(struct fake_server *s, const char *text);

/* Value of a header field into out; false when absent. */
bool fake_header(const struct fake_request *req, const char *name, char *out, size_t size);
bool fake_send(struct fake_request *req, const void *data, size_t len);
bool fake_sendf(struct fake_request *req, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A whole answer; headers is "" or lines that end in \r\n. Returns true. */
bool fake_reply(struct fake_request *req, int status, const char *headers, const void *body,
		size_t len);
/* Says nothing until the client goes away. Returns false. */
bool fake_hang(struct fake_request *req);

#endif
