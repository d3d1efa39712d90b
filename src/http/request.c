/* http/request.c - one request: routed, admitted, handed to its handler, answered. */
#include <string.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>

#include "server_priv.h"

static const char *const method_names[GT_METHOD_N] = {
	[GT_GET] = "GET",       [GT_PUT] = "PUT",     [GT_POST] = "POST",
	[GT_DELETE] = "DELETE", [GT_PATCH] = "PATCH",
};

const char *gt_method_name(enum gt_method m)
{
	return m < GT_METHOD_N ? method_names[m] : "?";
}

static enum gt_method method_parse(const char *name)
{
	enum gt_method m;

	if (strcmp(name, "HEAD") == 0)
		return GT_GET;
	for (m = 0; m < GT_METHOD_N; m++)
		if (strcmp(name, method_names[m]) == 0)
			break;
	return m;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct gt_request *gt_request_new(struct gt_http_server *s, const char *uri,
				  struct MHD_Connection *connection)
{
	struct gt_request *req = gt_alloc(sizeof(*req));

	req->server = s;
	req->connection = connection;
	req->started_ns = gt_loop_clock_ns(s->loop);
	(void)!gt_target_parse(uri, &req->target, &req->refusal);
	DL_APPEND(s->requests, req);
	s->n_requests++;
	return req;
}

void gt_request_free(struct gt_request *req)
{
	struct gt_answer_header *h, *tmp;

	DL_DELETE(req->server->requests, req);
	req->server->n_requests--;
	req->server->body_bytes -= req->body_bytes;
	gt_watch_close(req->hangup);
	gt_stream_free(req->stream);
	if (req->answer)
		MHD_destroy_response(req->answer);
	LL_FOREACH_SAFE (req->headers, h, tmp) {
		free(h->name);
		free(h->value);
		free(h);
	}
	gt_buf_fini(&req->body);
	gt_target_fini(&req->target);
	free(req);
}

static void on_hangup(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_request *req = arg;
	void (*fn)(void *) = req->on_gone;

	if (!(events & GT_EV_HANGUP))
		return;
	gt_watch_close(w);
	req->hangup = NULL;
	req->gone = true;
	if (req->stream) {
		gt_stream_hung_up(req->stream);
		gt_request_resume(req);
	} else if (fn) {
		req->on_gone = NULL;
		fn(req->on_gone_arg);
	}
}

void gt_request_suspend(struct gt_request *req)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		req->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (req->suspended)
		return;
	req->suspended = true;
	MHD_suspend_connection(req->connection);
	/* Without the watch a client that leaves is only noticed when we write: worse, not wrong.
	 */
	if (!req->gone && gt_loop_watch(req->server->loop, info->connect_fd, GT_EV_HANGUP,
					on_hangup, req, &req->hangup, NULL) < 0)
		req->hangup = NULL;
}

void gt_request_resume(struct gt_request *req)
{
	if (!req->suspended)
		return;
	req->suspended = false;
	gt_watch_close(req->hangup);
	req->hangup = NULL;
	MHD_resume_connection(req->connection);
	gt_http_server_kick(req->server);
}

/* ---- the head ------------------------------------------------------------------------------- */

static bool request_id_ok(const char *id)
{
	size_t len = id ? strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789._-")
			: 0;

	return len > 0 && len <= GT_REQUEST_ID_MAX && id[len] == '\0';
}

static int refuse_unrouted(struct gt_request *req, const char *method, unsigned allowed)
{
	char allow[64] = "";
	size_t used = 0;

	if (!allowed)
		return gt_err_set(&req->refusal, ENOENT, "not_found", "there is nothing at %s",
				  req->target.path);
	for (unsigned m = 0; m < GT_METHOD_N; m++) {
		if (!(allowed & 1u << m))
			continue;
		used += (size_t)snprintf(allow + used, sizeof(allow) - used, "%s%s",
					 used ? ", " : "",
					 m == GT_GET ? "GET, HEAD" : method_names[m]);
	}
	gt_request_header_set(req, "Allow", allow);
	return gt_err_set(&req->refusal, EPERM, "method_not_allowed",
			  "%s does not support %s; it supports %s", req->target.path, method,
			  allow);
}

static int check_length(struct gt_request *req)
{
	const char *text = gt_request_header(req, "Content-Length");
	size_t max = req->route->body_max;

	if (!text || strtoull(text, NULL, 10) <= max)
		return 0;
	if (max == 0)
		return gt_err_set(&req->refusal, EMSGSIZE, "body_too_large", "%s %s takes no body",
				  gt_method_name(req->method), req->target.path);
	return gt_err_set(&req->refusal, EMSGSIZE, "body_too_large",
			  "the body has %s bytes; %s takes at most %zu", text, req->target.path,
			  max);
}

void gt_request_begin(struct gt_request *req, const char *method)
{
	const struct gt_http_config *c = &req->server->config;
	const char *id = gt_request_header(req, "X-Request-Id");
	unsigned allowed;

	if (request_id_ok(id))
		gt_strcopy(req->id, sizeof(req->id), id);
	else
		gt_ulid(&gt_clock_system, &gt_rand_system, req->id);
	req->method = method_parse(method);
	if (req->refusal.code)
		return;
	req->route = gt_route_match(c->routes, c->n_routes, req->method, &req->target, &allowed);
	if (!req->route) {
		refuse_unrouted(req, method, allowed);
		return;
	}
	/* Never 0: gt_buf takes that as its default. */
	gt_buf_init(&req->body, GT_MAX(req->route->body_max, (size_t)1));
	if (req->route->role != GT_ROLE_NONE && c->hooks.admit &&
	    c->hooks.admit(req, req->route->role, c->app, &req->refusal) < 0)
		return;
	check_length(req);
}

void gt_request_refuse(struct gt_request *req)
{
	req->server->config.hooks.refuse(req, &req->refusal, req->server->config.app);
}

/* ---- what handlers ask ---------------------------------------------------------------------- */

const char *gt_request_param(const struct gt_request *req, const char *name)
{
	return gt_target_param(&req->target, name);
}

const char *gt_request_query(const struct gt_request *req, const char *name)
{
	return gt_target_query(&req->target, name);
}

const char *gt_request_header(const struct gt_request *req, const char *name)
{
	return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

const char *gt_request_path(const struct gt_request *req)
{
	return req->target.path;
}

enum gt_method gt_request_method(const struct gt_request *req)
{
	return req->method;
}

const struct gt_http_route *gt_request_route(const struct gt_request *req)
{
	return req->route;
}

const char *gt_request_id(const struct gt_request *req)
{
	return req->id;
}

const struct gt_buf *gt_request_body(const struct gt_request *req)
{
	return &req->body;
}

char *gt_request_take_body(struct gt_request *req, size_t *len)
{
	*len = req->body.len;
	return req->body.len ? gt_buf_steal(&req->body) : NULL;
}

void gt_request_pause(struct gt_request *req)
{
	req->paused = true;
}

void gt_request_go_on(struct gt_request *req)
{
	if (!req->paused)
		return;
	req->paused = false;
	gt_request_resume(req);
}

void gt_request_set_arg(struct gt_request *req, void *arg)
{
	req->arg = arg;
}

void *gt_request_arg(const struct gt_request *req)
{
	return req->arg;
}

int gt_request_query_check(const struct gt_request *req, const char *const *known,
			   struct gt_err *err)
{
	for (size_t i = 0; i < req->target.n_query; i++) {
		const char *name = req->target.query[i].name;
		const char *const *k = known;

		while (*k && strcmp(*k, name) != 0)
			k++;
		if (!*k)
			return gt_err_set(err, EINVAL, "bad_parameter",
					  "%s has no query parameter \"%.64s\"", req->target.path,
					  name);
	}
	return 0;
}

/* ---- the answer ----------------------------------------------------------------------------- */

void gt_request_header_set(struct gt_request *req, const char *name, const char *value)
{
	struct gt_answer_header *h = gt_alloc(sizeof(*h));

	h->name = gt_strdup(name);
	h->value = gt_strdup(value);
	LL_PREPEND(req->headers, h);
}

static void answer_set(struct gt_request *req, int status, const char *content_type,
		       struct MHD_Response *answer)
{
	struct gt_answer_header *h;

	if (req->status)
		abort(); /* answered twice: the handler is wrong, and its client confused */
	if (!answer)
		gt_out_of_memory();
	req->status = status;
	req->answer = answer;
	if (content_type)
		MHD_add_response_header(answer, "Content-Type", content_type);
	MHD_add_response_header(answer, "X-Request-Id", req->id);
	LL_FOREACH (req->headers, h)
		MHD_add_response_header(answer, h->name, h->value);
	req->on_gone = NULL;
	gt_request_resume(req);
}

void gt_request_reply(struct gt_request *req, int status, const char *content_type,
		      struct gt_buf *body)
{
	if (body && body->failed) { /* it was cut */
		struct gt_err err;

		gt_buf_fini(body);
		gt_err_set(&err, ENOBUFS, "overloaded", "there is no memory for the answer");
		req->server->config.hooks.refuse(req, &err, req->server->config.app);
		return;
	}
	size_t len = body ? body->len : 0;
	void *bytes = body ? gt_buf_steal(body) : NULL;

	answer_set(req, status, len ? content_type : NULL,
		   MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE));
}

void gt_request_on_gone(struct gt_request *req, void (*fn)(void *arg), void *arg)
{
	req->on_gone = fn;
	req->on_gone_arg = arg;
}

static ssize_t on_stream_read(void *arg, uint64_t pos GT_UNUSED, char *out, size_t max)
{
	struct gt_stream *s = arg;
	size_t n = GT_MIN(gt_stream_queued(s), max);

	if (s->broken)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0) {
		if (s->ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		gt_request_suspend(s->req);
		return 0;
	}
	memcpy(out, s->queue.data + s->sent, n);
	s->sent += n;
	gt_stream_settle(s);
	return (ssize_t)n;
}

struct gt_stream *gt_request_stream(struct gt_request *req, int status, const char *content_type)
{
	struct gt_stream *s = gt_alloc(sizeof(*s));

	s->req = req;
	gt_stream_limit(s, GT_STREAM_QUEUED_DEFAULT);
	req->stream = s;
	answer_set(req, status, content_type,
		   MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 * 1024, on_stream_read, s,
						     NULL));
	return s;
}
