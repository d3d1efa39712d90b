/* http/client.h - an asynchronous HTTP client on our loop (libcurl's multi interface), for the link
 * between roles and for readiness of other services. Loop thread only.
 *
 * on_data may be called many times, then on_done exactly once, unless the call was cancelled: then
 * neither is called any more. The call object ends with on_done or gt_http_cancel. */
#ifndef GANTRY_HTTP_CLIENT_H
#define GANTRY_HTTP_CLIENT_H

#include <gantry/base/err.h>
#include <gantry/http/outbound.h>
#include <gantry/loop/loop.h>

struct gt_http_client;
struct gt_http_call;

struct gt_http_out {
	const char *method;         /* "GET" */
	const char *unix_path;      /* socket to connect to (may be relative to the cwd), or NULL */
	const char *url;            /* "http://control/link/v1/..." */
	const char *content_type;   /* of the body, or NULL */
	const char *const *headers; /* "Name: value", copied */
	size_t n_headers;
	/* Not NULL: a user's address, http or https, and only where these rules permit. Borrowed
	 * until the end of the call. */
	const struct gt_outbound *outbound;
	const char *body; /* copied */
	size_t body_len;
	uint64_t timeout_ms;         /* whole exchange; 0 = none (watches) */
	uint64_t connect_timeout_ms; /* 0 = 2000 */
	size_t answer_max;           /* on_done's body cap when on_data is NULL; 0 = 1 MiB */
	/* The answer's status is known (once, before any on_data). May be NULL. */
	void (*on_head)(int status, void *arg);
	/* Bytes of the body as they come; NULL collects them for on_done. */
	void (*on_data)(const char *data, size_t len, void *arg);
	/* status 0 = no answer at all, err tells why. body is NULL when on_data was given. */
	void (*on_done)(int status, const char *body, size_t len, const struct gt_err *err,
			void *arg);
	void *arg;
};

GT_MUST_USE int gt_http_client_new(struct gt_loop *loop, struct gt_http_client **ret,
				   struct gt_err *err);
void gt_http_client_free(struct gt_http_client *c); /* cancels what is open; NULL is fine */
/* Never calls back before it returned. */
GT_MUST_USE int gt_http_start(struct gt_http_client *c, const struct gt_http_out *out,
			      struct gt_http_call **ret, struct gt_err *err);
void gt_http_cancel(struct gt_http_call *call); /* NULL is fine */

#endif
