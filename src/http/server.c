/* http/server.c - libmicrohttpd driven by our loop: its epoll descriptor is one watch of ours, its
 * time-out one timer. No thread of its own. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

#include "server_priv.h"

#define BODIES_MAX_DEFAULT     GT_GIB
#define CONNECTIONS_DEFAULT    1000
#define IDLE_TIMEOUT_S_DEFAULT 60
#define ACCEPTS_MAX            64 /* in one round */
#define DOOR_MS                50 /* until another look, after one for which there was no room */

static void on_log(void *arg GT_UNUSED, const char *fmt, va_list args)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, args);
	gt_debug("microhttpd: %s", line);
}

static void server_run(struct gt_http_server *s);

static void on_timer(void *arg)
{
	server_run(arg);
}

static void on_watch(struct gt_watch *w GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	server_run(arg);
}

/* Most rounds that MHD is run again at once: the work of one resumed connection takes two. */
#define RUNS_MAX 4

static void server_run(struct gt_http_server *s)
{
	MHD_UNSIGNED_LONG_LONG wait_ms = 0;
	bool waits = true;

	for (int i = 0; i < RUNS_MAX && waits && wait_ms == 0; i++) {
		MHD_run(s->daemon);
		waits = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES;
	}
	if (waits)
		gt_timer_set(s->loop, &s->timer, wait_ms, on_timer, s);
	else
		gt_timer_clear(s->loop, &s->timer);
}

/* A kick is never put off by the next one, so that servers write in the order in which they were
 * given something to say: the link's news of a change leaves before the API's answer to it. */
void gt_http_server_kick(struct gt_http_server *s)
{
	if (gt_timer_is_set(&s->timer) && s->timer.due_ns <= gt_loop_clock_ns(s->loop))
		return;
	gt_timer_set(s->loop, &s->timer, 0, on_timer, s);
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	return gt_request_new(arg, uri, connection);
}

/* Hands the answer to MHD, or puts the connection to sleep until there is one. */
static enum MHD_Result request_settle(struct gt_request *req)
{
	enum MHD_Result r;

	if (!req->answer) {
		gt_request_suspend(req);
		return MHD_YES;
	}
	r = MHD_queue_response(req->connection, (unsigned)req->status, req->answer);
	MHD_destroy_response(req->answer);
	req->answer = NULL;
	return r;
}

/* A refused body is read and dropped, so that the client gets to see the answer instead of a reset.
 * One that says to be larger than this, or waits for our word, is answered at once. */
#define DISCARD_STATED_MAX GT_MIB
/* In chunks it says nothing and MHD takes no answer in the middle: past this it is cut off. */
#define DISCARD_MAX (64 * GT_MIB)

static int body_collect(struct gt_request *req, const char *data, size_t len)
{
	struct gt_http_server *s = req->server;
	size_t most = s->config.bodies_max ? s->config.bodies_max : BODIES_MAX_DEFAULT;

	if (s->body_bytes + len > most)
		return gt_err_set(&req->refusal, ENOBUFS, "overloaded",
				  "the bodies of all requests at once hold %zu bytes already",
				  most);
	s->body_bytes += len;
	req->body_bytes += len;
	return gt_buf_add(&req->body, data, len);
}

static enum MHD_Result body_take(struct gt_request *req, const char *data, size_t len)
{
	gt_piece_fn *piece = req->server->config.hooks.piece;
	int r = req->refusal.code == 0 && piece
			? piece(req, data, len, req->server->config.app, &req->refusal)
			: 1;

	if (r == 0 && req->paused)
		gt_request_suspend(req);
	if (r == 1 && req->refusal.code == 0 && body_collect(req, data, len) < 0 &&
	    req->refusal.code == 0)
		gt_err_set(&req->refusal, EMSGSIZE, "body_too_large",
			   "the body is larger than the %zu bytes that this resource takes",
			   req->route->body_max);
	if (req->refusal.code == 0)
		return MHD_YES;
	req->discarded += len;
	return req->discarded <= DISCARD_MAX ? MHD_YES : MHD_NO;
}

static bool refuse_early(const struct gt_request *req)
{
	const char *length = gt_request_header(req, "Content-Length");

	return req->refusal.code != 0 &&
	       (gt_request_header(req, "Expect") ||
		(length && strtoull(length, NULL, 10) > DISCARD_STATED_MAX));
}

static enum MHD_Result on_access(void *arg GT_UNUSED, struct MHD_Connection *connection GT_UNUSED,
				 const char *url GT_UNUSED, const char *method,
				 const char *version GT_UNUSED, const char *data, size_t *len,
				 void **context)
{
	struct gt_request *req = *context;

	if (!req->begun) {
		req->begun = true;
		gt_request_begin(req, method);
		if (!refuse_early(req))
			return MHD_YES;
	} else if (*len > 0) {
		size_t n = *len;

		*len = 0;
		return body_take(req, data, n);
	}
	if (!req->handed) {
		req->handed = true;
		if (req->refusal.code)
			gt_request_refuse(req);
		else
			req->route->handler(req, req->server->config.app);
	}
	return request_settle(req);
}

static void on_completed(void *arg, struct MHD_Connection *connection GT_UNUSED, void **context,
			 enum MHD_RequestTerminationCode why GT_UNUSED)
{
	struct gt_http_server *s = arg;
	struct gt_request *req = *context;
	uint64_t took_us;

	if (!req)
		return;
	*context = NULL;
	took_us = (gt_loop_clock_ns(s->loop) - req->started_ns) / GT_NS_PER_US;
	if (req->stream)
		gt_stream_hung_up(req->stream);
	else if (req->on_gone)
		req->on_gone(req->on_gone_arg);
	if (s->config.hooks.done)
		s->config.hooks.done(req, req->status, took_us, s->config.app);
	gt_request_free(req);
}

/* ---- who comes ---- */

static void on_door(struct gt_watch *w, unsigned events, void *arg);

static void door_open(void *arg)
{
	struct gt_http_server *s = arg;

	if (gt_watch_set(s->door, GT_EV_READ, NULL) < 0)
		gt_timer_set(s->loop, &s->later, DOOR_MS, door_open, s);
}

static void door_close(struct gt_http_server *s)
{
	if (gt_watch_set(s->door, 0, NULL) == 0)
		gt_timer_set(s->loop, &s->later, DOOR_MS, door_open, s);
}

static unsigned connections_max(const struct gt_http_server *s)
{
	return s->config.connections_max ? s->config.connections_max : CONNECTIONS_DEFAULT;
}

static bool is_full(struct gt_http_server *s)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon,
							       MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info && info->num_connections >= connections_max(s);
}

/* libmicrohttpd would take no more connections, once there was no descriptor for one, before one of
 * those that it has ends: and they may all be watches, which never do. So it is given them. */
static void on_door(struct gt_watch *w GT_UNUSED, unsigned events GT_UNUSED, void *arg)
{
	struct gt_http_server *s = arg;

	for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd;

		if (is_full(s)) {
			door_close(s);
			break;
		}
		fd = accept4(s->config.listen_fd, (struct sockaddr *)&from, &len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno != EAGAIN)
			door_close(s);
		if (fd < 0)
			break;
		MHD_add_connection(s->daemon, fd, (struct sockaddr *)&from, len); /* or closes it */
	}
	server_run(s);
}

static int daemon_start(struct gt_http_server *s, struct gt_err *err)
{
	const struct gt_http_config *c = &s->config;
	int flags = fcntl(c->listen_fd, F_GETFL);

	if (flags < 0 || fcntl(c->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return gt_err_errno(err, errno, "listening descriptor %d", c->listen_fd);
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
			MHD_USE_NO_LISTEN_SOCKET,
		0, NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
		s, MHD_OPTION_CONNECTION_LIMIT, connections_max(s), MHD_OPTION_CONNECTION_TIMEOUT,
		c->idle_timeout_s ? c->idle_timeout_s : IDLE_TIMEOUT_S_DEFAULT,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!s->daemon)
		return gt_err_set(err, EIO, "system_error", "the HTTP server did not start");
	return 0;
}

int gt_http_server_new(struct gt_loop *loop, const struct gt_http_config *config,
		       struct gt_http_server **ret, struct gt_err *err)
{
	struct gt_http_server *s = gt_alloc(sizeof(*s));
	const union MHD_DaemonInfo *info;
	int r;

	s->loop = loop;
	s->config = *config;
	r = daemon_start(s, err);
	if (r == 0) {
		info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
		r = gt_loop_watch(loop, info->epoll_fd, GT_EV_READ, on_watch, s, &s->watch, err);
	}
	if (r == 0)
		r = gt_loop_watch(loop, config->listen_fd, GT_EV_READ, on_door, s, &s->door, err);
	if (r < 0) {
		gt_http_server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void gt_http_server_quiesce(struct gt_http_server *s)
{
	gt_watch_close(s->door);
	s->door = NULL;
	gt_timer_clear(s->loop, &s->later);
}

size_t gt_http_server_active(const struct gt_http_server *s)
{
	return s->n_requests;
}

void gt_http_server_free(struct gt_http_server *s)
{
	struct gt_request *req;

	if (!s)
		return;
	gt_watch_close(s->door);
	gt_watch_close(s->watch);
	gt_timer_clear(s->loop, &s->later);
	DL_FOREACH (s->requests, req) {
		if (req->stream)
			gt_stream_hung_up(req->stream);
		gt_request_resume(req); /* MHD does not stop with a connection asleep */
	}
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	gt_timer_clear(s->loop, &s->timer);
	free(s);
}
