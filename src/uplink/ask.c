/* ask.c - what the uplink itself asks of control: to join, and to renew its certificate. */
#include "uplink_priv.h"

#include <errno.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/http/http1.h>
#include <gantry/wire/value.h>

#define ASK_MS     10000
#define ANSWER_MAX (64 * 1024)

struct ask {
	struct uplink *u;
	struct conn *conn; /* until there is one */
	struct end end;
	struct gt_watch *watch;
	struct gt_timer late;
	struct gt_buf request;
	size_t sent;
	struct gt_h1 head;
	struct gt_buf answer;
	ask_fn *fn;
	void *arg;
};

static void ask_free(struct ask *a)
{
	conn_cancel(a->conn);
	gt_timer_clear(a->u->loop, &a->late);
	gt_watch_close(a->watch);
	end_close(&a->end, false);
	gt_buf_wipe(&a->request); /* it has a token */
	gt_h1_fini(&a->head);
	gt_buf_fini(&a->answer);
	free(a);
}

void ask_cancel(struct ask *a)
{
	if (a)
		ask_free(a);
}

static void ask_done(struct ask *a, int status, const struct gt_err *err)
{
	ask_fn *fn = a->fn;
	void *arg = a->arg;
	gt_auto(buf) struct gt_buf body = a->answer;

	a->answer = (struct gt_buf){ 0 };
	ask_free(a);
	fn(status, gt_buf_str(&body), body.len, err, arg);
}

static void ask_broke(struct ask *a, int code, const char *why)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, code, "unavailable", "the door: %s", why);
	ask_done(a, 0, &err);
}

static void on_late(void *arg)
{
	ask_broke(arg, ETIMEDOUT, "no answer in time");
}

/* True: more is to come. */
static bool take(struct ask *a, const char *data, size_t len)
{
	enum gt_h1_event ev;
	struct gt_h1_body body;
	size_t used;

	while ((ev = gt_h1_feed(&a->head, data, len, &used, &body)) != GT_H1_MORE) {
		data += used;
		len -= used;
		if (ev == GT_H1_BAD || (ev == GT_H1_HEAD && a->head.status < 200) ||
		    (ev == GT_H1_DATA && gt_buf_add(&a->answer, body.data, body.len) < 0)) {
			ask_broke(a, EPROTO, "its answer can not be read");
			return false;
		}
		if (ev == GT_H1_END) {
			ask_done(a, a->head.status, NULL);
			return false;
		}
	}
	return true;
}

static void ask_ended(struct ask *a, ssize_t n)
{
	if (n == 0 && gt_h1_eof(&a->head) == GT_H1_END)
		ask_done(a, a->head.status, NULL);
	else
		ask_broke(a, n < 0 ? (int)-n : ECONNRESET, "it broke the connection");
}

static void step(struct ask *a)
{
	char data[4096];
	ssize_t n;

	while (a->sent < a->request.len) {
		n = end_write(&a->end, a->request.data + a->sent, a->request.len - a->sent);
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			ask_ended(a, n);
			return;
		}
		a->sent += (size_t)n;
	}
	while ((n = end_read(&a->end, data, sizeof(data))) > 0)
		if (!take(a, data, (size_t)n))
			return;
	if (n != -EAGAIN)
		ask_ended(a, n);
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	(void)events;
	step(arg);
}

static void on_conn(struct end *e, const struct gt_err *err, void *arg)
{
	const unsigned all = GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE;
	struct ask *a = arg;
	struct gt_err why = { 0 };

	a->conn = NULL;
	if (!e) {
		ask_done(a, 0, err);
		return;
	}
	a->end = end_steal(e);
	if (gt_loop_watch(a->u->loop, a->end.fd, all, on_event, a, &a->watch, &why) < 0)
		ask_done(a, 0, &why);
	else
		step(a);
}

struct ask *ask_post(struct uplink *u, struct ssl_ctx_st *ctx, const char *path,
		     const struct gt_buf *body, ask_fn *fn, void *arg)
{
	struct ask *a = gt_alloc(sizeof(*a));

	*a = (struct ask){ .u = u, .end = END_NONE, .fn = fn, .arg = arg };
	gt_buf_init(&a->request, 0);
	gt_buf_init(&a->answer, ANSWER_MAX);
	gt_h1_init(&a->head, GT_H1_RESPONSE);
	gt_buf_addf(&a->request,
		    "POST %s HTTP/1.1\r\nHost: " GT_PKI_SNI "\r\nContent-Type: application/json\r\n"
		    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		    path, body->len);
	gt_buf_add(&a->request, body->data, body->len);
	gt_timer_set(u->loop, &a->late, ASK_MS, on_late, a);
	a->conn = conn_open(u, u->door, ctx, on_conn, a);
	return a;
}

int ask_problem(int status, const char *body, size_t len, struct gt_err *err)
{
	gt_auto(value) struct gt_value *v = NULL;
	const char *code = "unavailable", *detail = "";

	if (gt_value_parse(body, len, &v, NULL) == 0) {
		code = gt_value_str(v, "code", code);
		detail = gt_value_str(v, "detail", "");
	}
	gt_err_set(err,
		   status == 409       ? EEXIST
		   : status / 100 == 4 ? EACCES
				       : EAGAIN,
		   code, "the cluster answers %d: %s", status, detail[0] ? detail : code);
	gt_err_printable(err);
	return -err->code;
}
