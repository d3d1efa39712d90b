/* http/client.c - libcurl's multi interface on our loop: curl says which sockets and which time-out
 * it waits for, we tell it when they are due. */
#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/base/buf.h>
#include <gantry/http/client.h>

#include "curl.h"

#define CONNECT_TIMEOUT_MS_DEFAULT 2000
#define ANSWER_MAX_DEFAULT         GT_MIB
#define IDLE_CONNECTIONS_MAX       8L

struct gt_http_client {
	struct gt_loop *loop;
	CURLM *multi;
	struct gt_timer timer;      /* the time-out that curl asked for */
	struct gt_timer collect;    /* the next collect(), when not called by curl's own event */
	struct gt_http_call *calls; /* all that are open */
	unsigned inside;            /* > 0 while curl is on the stack: it must not be re-entered */
};

struct gt_http_call {
	struct gt_http_client *client;
	struct gt_http_out out; /* strings are not kept; the callbacks and arg are */
	CURL *easy;
	struct curl_slist *headers;
	char *body; /* of the request */
	struct gt_buf answer;
	int status;
	bool added;     /* to the multi handle */
	bool cancelled; /* while curl was on the stack; collect() frees it */
	bool lost;      /* neither curl nor the loop will bring it on; collect() ends it */
	char why[CURL_ERROR_SIZE];
	struct gt_http_call *prev, *next;
};

static void call_free(struct gt_http_call *call)
{
	struct gt_http_client *c = call->client;

	DL_DELETE(c->calls, call);
	if (call->added)
		curl_multi_remove_handle(c->multi, call->easy);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	gt_buf_fini(&call->answer);
	free(call->body);
	free(call);
}

static void call_done(struct gt_http_call *call, CURLcode code)
{
	struct gt_err err = { 0 };
	bool whole = code == CURLE_OK;

	if (!whole) {
		call->status = 0;
		gt_err_set(&err, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : EIO, "unavailable",
			   "%s", call->why[0] ? call->why : curl_easy_strerror(code));
	}
	/* Out of curl before the callback, which may start the next call over the same connection.
	 */
	curl_multi_remove_handle(call->client->multi, call->easy);
	call->added = false;
	if (call->out.on_data || !whole)
		call->out.on_done(call->status, NULL, 0, &err, call->out.arg);
	else
		call->out.on_done(call->status, gt_buf_str(&call->answer), call->answer.len, &err,
				  call->out.arg);
	call_free(call);
}

/* One whose end is still to be told: its callback may have changed the list. */
static struct gt_http_call *first_lost(struct gt_http_client *c)
{
	struct gt_http_call *call;

	DL_FOREACH (c->calls, call)
		if (call->lost)
			return call;
	return NULL;
}

/* After curl has returned: drops what was cancelled, starts what was asked for, reports ends. */
static void collect(struct gt_http_client *c)
{
	struct gt_http_call *call, *tmp;
	CURLMsg *m;
	int left;

	DL_FOREACH_SAFE (c->calls, call, tmp) {
		if (call->cancelled) {
			call_free(call);
		} else if (!call->added && !call->lost) {
			call->added = curl_multi_add_handle(c->multi, call->easy) == CURLM_OK;
			call->lost = !call->added;
		}
	}
	while ((m = curl_multi_info_read(c->multi, &left))) {
		char *p = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
		call_done((struct gt_http_call *)p, m->data.result);
	}
	while ((call = first_lost(c)))
		call_done(call, CURLE_OUT_OF_MEMORY);
}

static void on_collect(void *arg)
{
	collect(arg);
}

static void client_action(struct gt_http_client *c, curl_socket_t fd, int what)
{
	int running;

	c->inside++;
	curl_multi_socket_action(c->multi, fd, what, &running);
	c->inside--;
	collect(c);
}

static void on_timer(void *arg)
{
	client_action(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(struct gt_watch *w, unsigned events, void *arg)
{
	int what = (events & GT_EV_READ ? CURL_CSELECT_IN : 0) |
		   (events & GT_EV_WRITE ? CURL_CSELECT_OUT : 0);

	/* A hang-up alone is read by curl as the end of the stream. */
	client_action(arg, gt_watch_fd(w), what ? what : CURL_CSELECT_IN);
}

/* Nobody watches its socket. To tell curl so (-1) would end this client for good, not this call. */
static int lose(CURL *easy)
{
	char *p = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p);
	if (p)
		((struct gt_http_call *)p)->lost = true;
	return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *watch_arg)
{
	struct gt_http_client *c = arg;
	struct gt_watch *w = watch_arg;
	unsigned events = (what & CURL_POLL_IN ? GT_EV_READ : 0u) |
			  (what & CURL_POLL_OUT ? GT_EV_WRITE : 0u);

	if (what == CURL_POLL_REMOVE) {
		gt_watch_close(w);
		curl_multi_assign(c->multi, fd, NULL);
		return 0;
	}
	if (w)
		return gt_watch_set(w, events, NULL) < 0 ? lose(easy) : 0;
	if (gt_loop_watch(c->loop, fd, events, on_socket, c, &w, NULL) < 0)
		return lose(easy);
	curl_multi_assign(c->multi, fd, w);
	return 0;
}

static int on_curl_timer(CURLM *multi GT_UNUSED, long ms, void *arg)
{
	struct gt_http_client *c = arg;

	if (ms < 0)
		gt_timer_clear(c->loop, &c->timer);
	else
		gt_timer_set(c->loop, &c->timer, (uint64_t)ms, on_timer, c);
	return 0;
}

/* The empty line after the head of the final answer (a 100 Continue has one too). */
static size_t on_curl_header(char *data, size_t size, size_t n, void *arg)
{
	struct gt_http_call *call = arg;
	long status = 0;

	if (call->cancelled)
		return 0;
	if (n > 0 && (data[0] == '\r' || data[0] == '\n') && !call->status) {
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status >= 200) {
			call->status = (int)status;
			if (call->out.on_head)
				call->out.on_head(call->status, call->out.arg);
		}
	}
	return call->cancelled ? 0 : size * n;
}

static size_t on_curl_data(char *data, size_t size, size_t n, void *arg)
{
	struct gt_http_call *call = arg;

	if (call->cancelled)
		return 0;
	if (call->out.on_data)
		call->out.on_data(data, size * n, call->out.arg);
	else if (gt_buf_add(&call->answer, data, size * n) < 0)
		return 0;
	return call->cancelled ? 0 : size * n;
}

int gt_http_client_new(struct gt_loop *loop, struct gt_http_client **ret, struct gt_err *err)
{
	struct gt_http_client *c = gt_alloc(sizeof(*c));

	c->loop = loop;
	if (gt_curl_start() < 0 || !(c->multi = curl_multi_init())) {
		free(c);
		return gt_err_set(err, ENOMEM, "system_error", "libcurl did not start");
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS_MAX);
	*ret = c;
	return 0;
}

void gt_http_client_free(struct gt_http_client *c)
{
	if (!c)
		return;
	while (c->calls)
		call_free(c->calls);
	curl_multi_cleanup(c->multi);
	gt_timer_clear(c->loop, &c->timer);
	gt_timer_clear(c->loop, &c->collect);
	free(c);
}

static void body_apply(struct gt_http_call *call, const struct gt_http_out *out)
{
	gt_auto(free) char *type = NULL;

	if (!out->body)
		return;
	call->body = gt_alloc(out->body_len + 1);
	memcpy(call->body, out->body, out->body_len);
	curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)out->body_len);
	curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, call->body);
	type = gt_asprintf("Content-Type: %s", out->content_type ? out->content_type : "");
	call->headers = curl_slist_append(call->headers, type);
}

/* The address is known, and nothing was sent to it yet. */
static curl_socket_t on_curl_open(void *arg, curlsocktype purpose GT_UNUSED,
				  struct curl_sockaddr *address)
{
	const struct gt_http_call *call = arg;

	if (!gt_outbound_permits(call->out.outbound, &address->addr))
		return CURL_SOCKET_BAD;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void outbound_apply(struct gt_http_call *call, const struct gt_http_out *out)
{
	for (size_t i = 0; i < out->n_headers; i++)
		call->headers = curl_slist_append(call->headers, out->headers[i]);
	if (!out->outbound)
		return;
	curl_easy_setopt(call->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
	curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETDATA, call);
	curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L); /* one of others was not judged */
	curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L);
}

static void options_apply(struct gt_http_call *call, const struct gt_http_out *out)
{
	CURL *e = call->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_URL, out->url);
	if (out->unix_path)
		curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, out->unix_path);
	body_apply(call, out);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
	outbound_apply(call, out);
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, out->method);
	curl_easy_setopt(e, CURLOPT_NOBODY, (long)gt_streq(out->method, "HEAD"));
	call->headers = curl_slist_append(call->headers, "Expect:");
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the environment has no say */
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)out->timeout_ms);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(out->connect_timeout_ms ? out->connect_timeout_ms
							: CONNECT_TIMEOUT_MS_DEFAULT));
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->why);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_curl_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_curl_data);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
}

int gt_http_start(struct gt_http_client *c, const struct gt_http_out *out,
		  struct gt_http_call **ret, struct gt_err *err)
{
	struct gt_http_call *call;
	CURL *easy = curl_easy_init();

	if (!easy)
		return gt_err_set(err, ENOMEM, "system_error", "%s: libcurl has no handle",
				  out->url);
	call = gt_alloc(sizeof(*call));
	call->client = c;
	call->out = *out;
	call->easy = easy;
	gt_buf_init(&call->answer, out->answer_max ? out->answer_max : ANSWER_MAX_DEFAULT);
	options_apply(call, out);
	DL_APPEND(c->calls, call);
	gt_timer_set(c->loop, &c->collect, 0, on_collect,
		     c); /* adds it: curl may be on the stack */
	*ret = call;
	return 0;
}

void gt_http_cancel(struct gt_http_call *call)
{
	if (!call)
		return;
	if (call->client->inside)
		call->cancelled = true;
	else
		call_free(call);
}
