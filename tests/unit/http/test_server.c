/* The server, the client and the watch against each other over a unix socket, one loop stepped by
 * hand: no thread, no sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/cleanup.h>
#include <gantry/http/client.h>
#include <gantry/http/server.h>
#include <gantry/http/watch.h>

#define STEPS_MAX 2000

struct world {
	struct gt_loop *loop;
	struct gt_http_server *server;
	struct gt_http_client *client;
	char path[64];
	int listen_fd;
	struct gt_request *held;  /* by /hold */
	struct gt_stream *stream; /* by /stream */
	unsigned gone, closed, refused, done;
	char last_refusal[600];
};

struct answer {
	int status;
	bool done;
	char body[4096];
	size_t len;
	char why[200];
};

static void reply_text(struct gt_request *req, int status, const char *text)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	gt_buf_adds(&b, text);
	gt_request_reply(req, status, "text/plain", &b);
}

static void on_echo(struct gt_request *req, void *app)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	const char *q = gt_request_query(req, "q");

	(void)app;
	gt_buf_addf(&b, "%s|%s|%s|%s", gt_method_name(gt_request_method(req)),
		    gt_request_param(req, "name"), q ? q : "-",
		    gt_request_body(req)->data ? gt_request_body(req)->data : "");
	gt_request_reply(req, 200, "text/plain", &b);
}

static void on_gone(void *arg)
{
	struct world *w = arg;

	w->gone++;
}

static void on_large(struct gt_request *req, void *app)
{
	gt_auto(buf) struct gt_buf b = { .max = 8 };

	(void)app;
	gt_buf_adds(&b, "12345678");
	gt_buf_adds(&b, "9");
	gt_request_reply(req, 200, "text/plain", &b);
}

static void on_hold(struct gt_request *req, void *app)
{
	struct world *w = app;

	w->held = req;
	gt_request_on_gone(req, on_gone, w);
}

static void on_close(void *arg)
{
	struct world *w = arg;

	w->closed++;
	w->stream = NULL;
}

static void on_stream(struct gt_request *req, void *app)
{
	struct world *w = app;

	w->stream = gt_request_stream(req, 200, "application/x-ndjson");
	gt_stream_on_close(w->stream, on_close, w);
}

static void on_strict(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit", NULL };
	struct gt_err err = { 0 };

	(void)app;
	reply_text(req, gt_request_query_check(req, known, &err) < 0 ? 400 : 200, err.text);
}

static const struct gt_http_route routes[] = {
	{ GT_GET, "/echo/{name}", GT_ROLE_NONE, 0, on_echo, "getEcho", "" },
	{ GT_PUT, "/echo/{name}", GT_ROLE_NONE, 16, on_echo, "putEcho", "" },
	{ GT_GET, "/large", GT_ROLE_NONE, 0, on_large, "large", "" },
	{ GT_GET, "/hold", GT_ROLE_NONE, 0, on_hold, "hold", "" },
	{ GT_GET, "/stream", GT_ROLE_NONE, 0, on_stream, "stream", "" },
	{ GT_GET, "/strict", GT_ROLE_NONE, 0, on_strict, "strict", "" },
	{ GT_GET, "/secret", GT_ROLE_TOKEN, 0, on_strict, "secret", "" },
};

static int admit(struct gt_request *req, enum gt_role role, void *app, struct gt_err *err)
{
	(void)app;
	assert_int_equal(role, GT_ROLE_TOKEN);
	if (gt_streq(gt_request_header(req, "Content-Type"), "pass"))
		return 0;
	return gt_err_set(err, EACCES, "unauthorized", "no");
}

static void refuse(struct gt_request *req, const struct gt_err *err, void *app)
{
	struct world *w = app;

	w->refused++;
	gt_strcopy(w->last_refusal, sizeof(w->last_refusal), err->text);
	reply_text(req, 499, err->slug);
}

static void done(const struct gt_request *req, int status, uint64_t took_us, void *app)
{
	struct world *w = app;

	(void)req;
	(void)status;
	(void)took_us;
	w->done++;
}

static void serve(struct world *w)
{
	struct gt_http_config config = {
		.listen_fd = w->listen_fd,
		.routes = routes,
		.n_routes = GT_LEN(routes),
		.hooks = { admit, refuse, done },
		.app = w,
	};

	assert_int_equal(gt_http_server_new(w->loop, &config, &w->server, NULL), 0);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(w->path, sizeof(w->path), "/tmp/gt-http-%d.sock", (int)getpid());
	unlink(w->path);
	gt_strcopy(sun.sun_path, sizeof(sun.sun_path), w->path);
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(w->listen_fd, 16), 0);
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w->loop, &w->client, NULL), 0);
	serve(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	gt_http_client_free(w->client);
	gt_http_server_free(w->server);
	gt_loop_free(w->loop);
	close(w->listen_fd);
	unlink(w->path);
	free(w);
	return 0;
}

#define step_until(w, cond)                                                     \
	do {                                                                    \
		int n_ = 0;                                                     \
		while (!(cond) && n_++ < STEPS_MAX)                             \
			assert_int_equal(gt_loop_step((w)->loop, 50, NULL), 0); \
		assert_true(cond);                                              \
	} while (0)

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct answer *a = arg;

	a->done = true;
	a->status = status;
	gt_strcopy(a->why, sizeof(a->why), err->text);
	if (body && len < sizeof(a->body)) {
		memcpy(a->body, body, len + 1);
		a->len = len;
	}
}

static struct gt_http_call *start_body(struct world *w, const char *method, const char *path,
				       const char *type, const char *body, size_t len,
				       struct answer *a)
{
	gt_auto(free) char *url = gt_asprintf("http://here%s", path);
	struct gt_http_out out = { .method = method,
				   .unix_path = w->path,
				   .url = url,
				   .content_type = type,
				   .body = body,
				   .body_len = len,
				   .on_done = on_done,
				   .arg = a };
	struct gt_http_call *call;

	memset(a, 0, sizeof(*a));
	assert_int_equal(gt_http_start(w->client, &out, &call, NULL), 0);
	return call;
}

static struct gt_http_call *start(struct world *w, const char *method, const char *path,
				  struct answer *a)
{
	return start_body(w, method, path, NULL, NULL, 0, a);
}

static void fetch(struct world *w, const char *method, const char *path, struct answer *a)
{
	start(w, method, path, a);
	step_until(w, a->done);
}

static void routes_decodes_and_echoes(void **state)
{
	struct world *w = *state;
	struct answer a;

	fetch(w, "GET", "/echo/a%2Fb?q=x+y%21&z", &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, "GET|a/b|x y!|");
	start_body(w, "PUT", "/echo/n", "text/plain", "hello", 5, &a);
	step_until(w, a.done);
	assert_string_equal(a.body, "PUT|n|-|hello");
	fetch(w, "HEAD", "/echo/n", &a);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.len, 0);
	step_until(w, w->done == 3);
	assert_int_equal(gt_http_server_active(w->server), 0);
}

static void refuses_what_no_route_takes(void **state)
{
	struct world *w = *state;
	struct answer a;

	fetch(w, "GET", "/nothing", &a);
	assert_string_equal(a.body, "not_found");
	fetch(w, "GET", "/echo/", &a);
	assert_string_equal(a.body, "not_found");
	fetch(w, "GET", "/echo/a/b", &a);
	assert_string_equal(a.body, "not_found");
	fetch(w, "POST", "/echo/n", &a);
	assert_string_equal(a.body, "method_not_allowed");
	assert_non_null(strstr(w->last_refusal, "GET, HEAD, PUT"));
	fetch(w, "BREW", "/hold", &a);
	assert_string_equal(a.body, "method_not_allowed");
	fetch(w, "GET", "/echo/%zz", &a);
	assert_string_equal(a.body, "bad_parameter");
	fetch(w, "GET", "/echo/a%00b", &a);
	assert_string_equal(a.body, "bad_parameter");
	fetch(w, "GET", "/strict?limit=1&limt=2", &a);
	assert_int_equal(a.status, 400);
	assert_non_null(strstr(a.body, "\"limt\""));
	fetch(w, "GET", "/strict?limit=1", &a);
	assert_int_equal(a.status, 200);
}

static void asks_for_admission_where_the_route_does(void **state)
{
	struct world *w = *state;
	struct answer a;

	fetch(w, "GET", "/secret", &a);
	assert_string_equal(a.body, "unauthorized");
}

static void refuses_bodies_over_the_limit(void **state)
{
	struct world *w = *state;
	size_t big = 3 * GT_MIB;
	gt_auto(free) char *body = gt_alloc(big);
	struct answer a;

	memset(body, 'x', big);
	start_body(w, "PUT", "/echo/n", "text/plain", body, 16, &a);
	step_until(w, a.done);
	assert_int_equal(a.status, 200);
	start_body(w, "PUT", "/echo/n", "text/plain", body, 17, &a);
	step_until(w, a.done);
	assert_string_equal(a.body, "body_too_large");
	start_body(w, "GET", "/echo/n", "text/plain", body, 1, &a);
	step_until(w, a.done);
	assert_string_equal(a.body, "body_too_large");
	start_body(w, "PUT", "/echo/n", "text/plain", body, big, &a);
	step_until(w, a.done);
	assert_true(a.status == 499 || a.status == 0);
	fetch(w, "GET", "/echo/still", &a);
	assert_int_equal(a.status, 200);
}

static void answers_later(void **state)
{
	struct world *w = *state;
	struct answer a;

	start(w, "GET", "/hold", &a);
	step_until(w, w->held);
	assert_int_equal(gt_http_server_active(w->server), 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
	assert_false(a.done);
	reply_text(w->held, 200, "late");
	step_until(w, a.done);
	assert_string_equal(a.body, "late");
	step_until(w, gt_http_server_active(w->server) == 0);
}

static void notices_a_client_that_left(void **state)
{
	struct world *w = *state;
	struct answer a;
	struct gt_http_call *call = start(w, "GET", "/hold", &a);

	step_until(w, w->held);
	gt_http_cancel(call);
	step_until(w, w->gone == 1);
	assert_int_equal(gt_http_server_active(w->server), 1);
	reply_text(w->held, 200, "to nobody");
	step_until(w, gt_http_server_active(w->server) == 0);
	assert_false(a.done);
	assert_int_equal(w->gone, 1);
}

static void free_tells_the_holder_of_a_request(void **state)
{
	struct world *w = *state;
	struct answer a;

	start(w, "GET", "/hold", &a);
	step_until(w, w->held);
	gt_http_server_free(w->server);
	w->server = NULL;
	assert_int_equal(w->gone, 1);
	step_until(w, a.done);
	assert_int_equal(a.status, 0);
}

struct taker {
	struct gt_buf got;
	int head;
	bool done;
	struct gt_http_call *call;
	bool cancel_at_data;
};

static void taker_head(int status, void *arg)
{
	struct taker *t = arg;

	t->head = status;
}

static void taker_data(const char *data, size_t len, void *arg)
{
	struct taker *t = arg;

	gt_buf_add(&t->got, data, len);
	if (t->cancel_at_data)
		gt_http_cancel(t->call);
}

static void taker_done(int status, const char *body, size_t len, const struct gt_err *err,
		       void *arg)
{
	struct taker *t = arg;

	(void)status;
	(void)body;
	(void)len;
	(void)err;
	t->done = true;
}

static void take_stream(struct world *w, struct taker *t)
{
	struct gt_http_out out = { .method = "GET",
				   .unix_path = w->path,
				   .url = "http://here/stream",
				   .on_head = taker_head,
				   .on_data = taker_data,
				   .on_done = taker_done,
				   .arg = t };

	assert_int_equal(gt_http_start(w->client, &out, &t->call, NULL), 0);
	step_until(w, w->stream);
}

static void streams_bytes_as_they_come(void **state)
{
	struct world *w = *state;
	struct taker t = { 0 };

	take_stream(w, &t);
	assert_int_equal(gt_stream_write(w->stream, "one\n", 4), 0);
	step_until(w, t.got.len == 4);
	assert_int_equal(t.head, 200);
	assert_false(t.done);
	assert_int_equal(gt_stream_write(w->stream, "two\n", 4), 0);
	assert_int_equal(gt_stream_write(w->stream, "three\n", 6), 0);
	gt_stream_end(w->stream);
	step_until(w, t.done);
	assert_string_equal(gt_buf_str(&t.got), "one\ntwo\nthree\n");
	assert_int_equal(w->closed, 0);
	gt_buf_fini(&t.got);
}

static void streams_much_without_mixing_it_up(void **state)
{
	struct world *w = *state;
	struct taker t = { 0 };
	size_t total = 6 * GT_MIB;
	gt_auto(free) char *bytes = gt_alloc(total);

	for (size_t i = 0; i < total; i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	take_stream(w, &t);
	for (size_t at = 0; at < total; at += total / 4)
		assert_int_equal(gt_stream_write(w->stream, bytes + at, total / 4), 0);
	step_until(w, t.got.len == total);
	assert_memory_equal(t.got.data, bytes, total);
	gt_stream_end(w->stream);
	step_until(w, t.done);
	gt_buf_fini(&t.got);
}

static void tells_a_stream_that_its_client_left(void **state)
{
	struct world *w = *state;
	struct taker t = { 0 };

	take_stream(w, &t);
	assert_int_equal(gt_stream_write(w->stream, "one\n", 4), 0);
	step_until(w, t.got.len == 4);
	gt_http_cancel(t.call);
	step_until(w, w->closed == 1);
	step_until(w, gt_http_server_active(w->server) == 0);
	assert_false(t.done);
	gt_buf_fini(&t.got);
}

static void cancels_inside_a_callback(void **state)
{
	struct world *w = *state;
	struct taker t = { .cancel_at_data = true };

	take_stream(w, &t);
	assert_int_equal(gt_stream_write(w->stream, "one\n", 4), 0);
	step_until(w, w->closed == 1);
	assert_false(t.done);
	gt_buf_fini(&t.got);
}

static void refuses_more_than_the_queue_holds(void **state)
{
	struct world *w = *state;
	struct taker t = { 0 };
	gt_auto(free) char *mib = gt_alloc(GT_MIB);
	int r = 0;

	take_stream(w, &t);
	gt_stream_limit(w->stream, 2 * GT_MIB);
	for (int i = 0; r == 0 && i < 10; i++)
		r = gt_stream_write(w->stream, mib, GT_MIB);
	assert_int_equal(r, -ENOBUFS);
	gt_stream_end(w->stream);
	step_until(w, t.done);
	gt_buf_fini(&t.got);
}

static void free_ends_open_streams(void **state)
{
	struct world *w = *state;
	struct taker t = { 0 };

	take_stream(w, &t);
	gt_http_server_free(w->server);
	w->server = NULL;
	assert_int_equal(w->closed, 1);
	step_until(w, t.done);
	gt_buf_fini(&t.got);
}

static void an_answer_that_was_cut_is_none(void **state)
{
	struct world *w = *state;
	struct answer a;

	fetch(w, "GET", "/large", &a);
	assert_int_equal(a.status, 499);
	assert_string_equal(a.body, "overloaded");
}

static void client_says_why_there_is_no_answer(void **state)
{
	struct world *w = *state;
	struct answer a;

	gt_strcopy(w->path, sizeof(w->path), "/tmp/gt-http-nobody.sock");
	fetch(w, "GET", "/hold", &a);
	assert_int_equal(a.status, 0);
	assert_true(a.why[0]);
}

/* In libc's place: for so many connections there is no descriptor. */
static unsigned unaccepted;

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	if (unaccepted > 0) {
		unaccepted--;
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, addr, len, flags);
}

/* While a connection stays that nothing ends, as a watch's does. */
static void takes_connections_after_it_could_not(void **state)
{
	struct world *w = *state;
	struct answer held, a;

	start(w, "GET", "/hold", &held);
	step_until(w, w->held);
	unaccepted = 2;
	fetch(w, "GET", "/echo/a", &a);
	assert_int_equal(unaccepted, 0);
	assert_int_equal(a.status, 200);
	reply_text(w->held, 200, "");
	step_until(w, held.done);
}

/* It has some time still, and who comes waits in the socket: for the next server. */
static void what_was_begun_is_finished_and_no_more(void **state)
{
	struct world *w = *state;
	struct answer held, later;

	start(w, "GET", "/hold", &held);
	step_until(w, w->held);
	gt_http_server_quiesce(w->server);
	start(w, "GET", "/echo/a", &later);
	reply_text(w->held, 200, "kept");
	step_until(w, held.done);
	assert_string_equal(held.body, "kept");
	for (int i = 0; i < 50; i++)
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
	assert_int_equal(gt_http_server_active(w->server), 0);
	assert_false(later.done);
	gt_http_server_free(w->server);
	w->server = NULL;
	serve(w);
	step_until(w, later.done);
	assert_int_equal(later.status, 200);
}

/* In libc's place: so many sockets can not be watched. */
static unsigned unwatched;

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	if (op == EPOLL_CTL_ADD && unwatched > 0) {
		unwatched--;
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

static void a_socket_that_can_not_be_watched_ends_its_call_alone(void **state)
{
	struct world *w = *state;
	struct answer lost, kept;

	start(w, "GET", "/hold", &kept);
	step_until(w, w->held);
	unwatched = 1;
	fetch(w, "GET", "/echo/a", &lost);
	assert_int_equal(unwatched, 0);
	assert_int_equal(lost.status, 0);
	assert_true(lost.why[0]);
	assert_false(kept.done);
	reply_text(w->held, 200, "kept");
	step_until(w, kept.done);
	assert_string_equal(kept.body, "kept");
	fetch(w, "GET", "/echo/a", &kept);
	assert_int_equal(kept.status, 200);
}

/* ---- the watch ------------------------------------------------------------------------------ */

struct watcher {
	unsigned up, down, lines;
	char last[64];
	size_t longest;
	struct gt_ndjson_watch *watch;
	bool free_at_line;
};

static void watcher_up(void *arg)
{
	struct watcher *x = arg;

	x->up++;
}

static void watcher_down(const struct gt_err *why, void *arg)
{
	struct watcher *x = arg;

	assert_true(why->text[0]);
	x->down++;
}

static void watcher_line(const char *line, size_t len, void *arg)
{
	struct watcher *x = arg;

	x->lines++;
	x->longest = GT_MAX(x->longest, len);
	snprintf(x->last, sizeof(x->last), "%.*s", (int)len, line);
	if (x->free_at_line) {
		gt_ndjson_watch_free(x->watch);
		x->watch = NULL;
	}
}

static void watch_start(struct world *w, struct watcher *x, size_t line_max, uint64_t silence_ms)
{
	struct gt_ndjson_config config = { .unix_path = w->path,
					   .url = "http://here/stream",
					   .line_max = line_max,
					   .silence_ms = silence_ms,
					   .on_up = watcher_up,
					   .on_line = watcher_line,
					   .on_down = watcher_down,
					   .arg = x };

	assert_int_equal(gt_ndjson_watch_new(w->loop, w->client, &config, &x->watch, NULL), 0);
}

static void watch_cuts_lines_and_reconnects(void **state)
{
	struct world *w = *state;
	struct watcher x = { 0 };

	watch_start(w, &x, 0, 0);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "{\"a\"", 4);
	step_until(w, x.up == 1);
	gt_stream_write(w->stream, ":1}\n\nhalf", 9);
	step_until(w, x.lines == 2);
	assert_int_equal(x.longest, 7);
	assert_string_equal(x.last, "");
	gt_stream_end(w->stream);
	w->stream = NULL;
	step_until(w, x.down == 1);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "again\n", 6);
	step_until(w, x.lines == 3);
	assert_string_equal(x.last, "again");
	assert_int_equal(x.up, 2);
	gt_ndjson_watch_free(x.watch);
}

static void watch_survives_a_restart_of_the_server(void **state)
{
	struct world *w = *state;
	struct watcher x = { 0 };

	watch_start(w, &x, 0, 0);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "a\n", 2);
	step_until(w, x.lines == 1);
	gt_http_server_free(w->server);
	step_until(w, x.down == 1);
	serve(w);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "b\n", 2);
	step_until(w, x.lines == 2);
	gt_ndjson_watch_free(x.watch);
}

static void watch_gives_up_on_a_line_without_end(void **state)
{
	struct world *w = *state;
	struct watcher x = { 0 };
	char junk[1000];

	memset(junk, 'j', sizeof(junk));
	watch_start(w, &x, 500, 0);
	step_until(w, w->stream);
	gt_stream_write(w->stream, junk, sizeof(junk));
	step_until(w, x.down == 1);
	assert_int_equal(x.lines, 0);
	gt_ndjson_watch_free(x.watch);
}

static void watch_notices_silence(void **state)
{
	struct world *w = *state;
	struct watcher x = { 0 };

	watch_start(w, &x, 0, 30);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "a\n", 2);
	step_until(w, x.lines == 1);
	step_until(w, x.down == 1);
	gt_ndjson_watch_free(x.watch);
}

static void watch_may_be_freed_by_its_own_line(void **state)
{
	struct world *w = *state;
	struct watcher x = { .free_at_line = true };

	watch_start(w, &x, 0, 0);
	step_until(w, w->stream);
	gt_stream_write(w->stream, "a\nb\n", 4);
	step_until(w, w->closed == 1);
	assert_int_equal(x.lines, 1);
	assert_null(x.watch);
}

#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(routes_decodes_and_echoes),
		t(refuses_what_no_route_takes),
		t(asks_for_admission_where_the_route_does),
		t(refuses_bodies_over_the_limit),
		t(answers_later),
		t(notices_a_client_that_left),
		t(free_tells_the_holder_of_a_request),
		t(streams_bytes_as_they_come),
		t(streams_much_without_mixing_it_up),
		t(tells_a_stream_that_its_client_left),
		t(cancels_inside_a_callback),
		t(refuses_more_than_the_queue_holds),
		t(free_ends_open_streams),
		t(an_answer_that_was_cut_is_none),
		t(client_says_why_there_is_no_answer),
		t(takes_connections_after_it_could_not),
		t(what_was_begun_is_finished_and_no_more),
		t(a_socket_that_can_not_be_watched_ends_its_call_alone),
		t(watch_cuts_lines_and_reconnects),
		t(watch_survives_a_restart_of_the_server),
		t(watch_gives_up_on_a_line_without_end),
		t(watch_notices_silence),
		t(watch_may_be_freed_by_its_own_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
