/* http/server.h - the control-side HTTP server: libmicrohttpd on our loop, unix or TCP listeners, a
 * table of routes. Not the gateway's data path (http/http1.h is).
 *
 * Everything runs on the loop thread. A handler is called once, when the head and the whole body
 * (bounded by the route) have arrived; it must answer now or later, exactly once, with one of
 * gt_request_reply, gt_request_stream. Until then the request is valid even if the client left. */
#ifndef GANTRY_HTTP_SERVER_H
#define GANTRY_HTTP_SERVER_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

struct gt_http_server;
struct gt_request;
struct gt_stream;

enum gt_method { GT_GET, GT_PUT, GT_POST, GT_DELETE, GT_PATCH, GT_METHOD_N };
const char *gt_method_name(enum gt_method m); /* HEAD is answered by GET routes without a body */

enum gt_role {                /* least right that a route asks for */
	       GT_ROLE_NONE,  /* anyone */
	       GT_ROLE_TOKEN, /* a valid token */
	       GT_ROLE_LINK,  /* another role of this daemon, by the socket it came through */
	       GT_ROLE_N
};

typedef void gt_handler_fn(struct gt_request *req, void *app);
/* A piece of a body that is not collected; the handler is called at its end. 0, or 1 = collect this
 * body, or -errno with why it is refused: the rest is dropped then, and the handler not called. */
typedef int gt_piece_fn(struct gt_request *req, const char *data, size_t len, void *app,
			struct gt_err *err);

struct gt_http_route {
	enum gt_method method;
	const char *pattern; /* "/v1/functions/{function}": a {name} takes one segment,
				percent-decoded */
	enum gt_role role;
	size_t body_max; /* bytes; 0 = a body is refused with 413 */
	gt_handler_fn *handler;
	const char *operation; /* operationId in docs/openapi.yaml */
	const char *summary;
};

struct gt_http_hooks {
	/* May this request pass? 0, or -errno with err (slug unauthorized, forbidden). */
	int (*admit)(struct gt_request *req, enum gt_role role, void *app, struct gt_err *err);
	/* Writes the answer for a refusal made by the server itself (no route, body too large,
	 * ...). Must call gt_request_reply. err->slug is a row of model/problem.tbl. */
	void (*refuse)(struct gt_request *req, const struct gt_err *err, void *app);
	/* After the answer's last byte, for metrics and the access log. May be NULL. */
	void (*done)(const struct gt_request *req, int status, uint64_t took_us, void *app);
	gt_piece_fn *piece; /* NULL: every body is collected */
};

struct gt_http_config {
	int listen_fd; /* already listening; stays the caller's */
	const struct gt_http_route *routes;
	size_t n_routes;
	struct gt_http_hooks hooks;
	void *app;                /* handed to handlers and hooks */
	unsigned connections_max; /* 0 = 1000 */
	size_t bodies_max; /* bytes of all bodies at once; more are refused (overloaded); 0 = 1 GiB
			    */
	unsigned idle_timeout_s; /* of a silent connection without a request in hand; 0 = 60 */
};

GT_MUST_USE int gt_http_server_new(struct gt_loop *loop, const struct gt_http_config *config,
				   struct gt_http_server **ret, struct gt_err *err);
/* No more connections are taken: they wait for who listens at the same socket. */
void gt_http_server_quiesce(struct gt_http_server *s);
size_t gt_http_server_active(const struct gt_http_server *s); /* requests and streams in hand */
/* Ends open streams; calls on_gone of unanswered requests, which must then be forgotten without an
 * answer. Not from a handler. NULL is fine. */
void gt_http_server_free(struct gt_http_server *s);

/* Borrowed strings are valid until the request was answered. NULL = absent. */
const char *gt_request_param(const struct gt_request *req, const char *name); /* of the pattern */
const char *gt_request_query(const struct gt_request *req,
			     const char *name); /* "" for a bare ?name */
const char *gt_request_header(const struct gt_request *req, const char *name);
const char *gt_request_path(const struct gt_request *req);
enum gt_method gt_request_method(const struct gt_request *req);
const struct gt_http_route *gt_request_route(
	const struct gt_request *req); /* NULL before routing */
const char *gt_request_id(
	const struct gt_request *req); /* X-Request-Id of the caller if sane, else a ULID */
const struct gt_buf *gt_request_body(const struct gt_request *req);
char *gt_request_take_body(struct gt_request *req, size_t *len); /* moves it out; NULL = none */
/* Of a body that comes in pieces: no more of them until gt_request_go_on. From a piece only. */
void gt_request_pause(struct gt_request *req);
void gt_request_go_on(struct gt_request *req);
/* For the pieces of one request: the handler's, who frees it (also from on_gone). */
void gt_request_set_arg(struct gt_request *req, void *arg);
void *gt_request_arg(const struct gt_request *req);
/* Each query name must be in `known` (NULL-terminated); else -EINVAL "bad_parameter" naming it. */
GT_MUST_USE int gt_request_query_check(const struct gt_request *req, const char *const *known,
				       struct gt_err *err);

/* Adds a header to the coming answer. X-Request-Id and Date are added by the server. */
void gt_request_header_set(struct gt_request *req, const char *name, const char *value);
/* Answers; body's bytes are moved out of `body` (NULL = none). One that was cut (body->failed) is
 * none: the request is refused (overloaded) instead. */
void gt_request_reply(struct gt_request *req, int status, const char *content_type,
		      struct gt_buf *body);
/* Called when the client is gone before the answer was complete; at most once. Replying is then
 * still required (and goes nowhere). Clear with NULL. */
void gt_request_on_gone(struct gt_request *req, void (*fn)(void *arg), void *arg);

/* Starts an answer whose bytes come over time (watch, SSE, logs). The request ends with the stream.
 */
struct gt_stream *gt_request_stream(struct gt_request *req, int status, const char *content_type);
/* on_close(arg) is called once when the client is gone or the server shuts down, not after
 * gt_stream_end; the stream must not be used after it returned. */
void gt_stream_on_close(struct gt_stream *s, void (*fn)(void *arg), void *arg);
/* Queues bytes. -ENOBUFS when the client is too slow (more than max_queued bytes wait; default 8
 * MiB): end the stream then. */
int gt_stream_write(struct gt_stream *s, const char *data, size_t len);
size_t gt_stream_queued(const struct gt_stream *s);
#define GT_STREAM_QUEUED_DEFAULT (8 * GT_MIB)
void gt_stream_limit(struct gt_stream *s, size_t max_queued); /* before the first write */
void gt_stream_end(struct gt_stream *s);

#endif
