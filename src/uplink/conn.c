#include "uplink_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <utlist.h>

#include "door.h"
#include "tls.h"

struct conn {
	struct uplink *u;
	struct conn *prev, *next;
	struct end end;
	struct door *door; /* NULL: there is none right now */
	struct gt_watch *watch;
	struct gt_timer timer; /* the next step, or the time that it may take */
	struct door_wait wait;
	bool tried; /* an address of the door's: that one may be to blame */
	bool connected;
	conn_fn *fn;
	void *arg;
};

static void conn_free(struct conn *c)
{
	if (c->door)
		door_forget(c->door, &c->wait);
	gt_timer_clear(c->u->loop, &c->timer);
	gt_watch_close(c->watch);
	end_close(&c->end, true);
	DL_DELETE(c->u->conns, c);
	free(c);
}

void conn_cancel(struct conn *c)
{
	if (c)
		conn_free(c);
}

static void conn_fail(struct conn *c, const struct gt_err *err)
{
	conn_fn *fn = c->fn;
	void *arg = c->arg;

	if (c->tried && err->code != EACCES && err->code != EKEYEXPIRED)
		door_failed(c->door);
	conn_free(c);
	fn(NULL, err, arg);
}

static void on_late(void *arg)
{
	struct conn *c = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ETIMEDOUT, "unavailable", "the door has not answered for %d ms", CONN_MS);
	conn_fail(c, &err);
}

static void conn_done(struct conn *c)
{
	struct end e = end_steal(&c->end);
	conn_fn *fn = c->fn;
	void *arg = c->arg;

	conn_free(c);
	fn(&e, NULL, arg);
	end_close(&e, true); /* nothing, when it was taken */
}

static int is_connected(struct conn *c, struct gt_err *err)
{
	socklen_t size = sizeof(int);
	int error = 0;

	if (c->connected)
		return 0;
	if (getsockopt(c->end.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
		return gt_err_errno(err, error ? error : errno, "connect to the door");
	c->connected = true;
	tls_attach(c->end.ssl, c->end.fd);
	return 0;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct conn *c = arg;
	struct gt_err err = { 0 };

	(void)w;
	(void)events;
	int r = is_connected(c, &err);

	if (r == 0)
		r = tls_handshake(c->end.ssl, &err);
	if (r == 0)
		conn_done(c);
	else if (r != -EAGAIN)
		conn_fail(c, &err);
}

static void begin(struct conn *c)
{
	const unsigned all = GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE;
	struct gt_err err = { 0 };

	c->tried = true;
	gt_timer_set(c->u->loop, &c->timer, CONN_MS, on_late, c);
	if (door_connect(c->door, &c->end.fd, &err) < 0 ||
	    gt_loop_watch(c->u->loop, c->end.fd, all, on_event, c, &c->watch, &err) < 0)
		conn_fail(c, &err);
}

static void on_address(const struct gt_err *err, void *arg)
{
	struct conn *c = arg;

	if (err)
		conn_fail(c, err);
	else
		begin(c);
}

static void on_begin(void *arg)
{
	struct conn *c = arg;
	struct gt_err err = { 0 };

	if (!c->door) {
		gt_err_set(&err, EAGAIN, "unavailable", "nobody else leads right now");
		conn_fail(c, &err);
		return;
	}
	/* A name server that does not answer is no reason to wait longer for the rest. */
	gt_timer_set(c->u->loop, &c->timer, 2 * CONN_MS, on_late, c);
	if (door_ready(c->door, &c->wait))
		begin(c);
}

void conns_fail(struct uplink *u, const struct door *door, const struct gt_err *why)
{
	struct conn *c = u->conns;

	while (c) {
		bool its = c->door == door;

		if (its)
			conn_fail(c, why);
		c = its ? u->conns : c->next; /* what is told of one may end others */
	}
}

struct conn *conn_open(struct uplink *u, struct door *door, struct ssl_ctx_st *ctx, conn_fn *fn,
		       void *arg)
{
	struct conn *c = gt_alloc(sizeof(*c));

	*c = (struct conn){ .u = u, .door = door, .end = END_NONE, .fn = fn, .arg = arg };
	c->end.ssl = tls_new(ctx);
	c->wait = (struct door_wait){ .fn = on_address, .arg = c };
	DL_APPEND(u->conns, c);
	gt_timer_set(u->loop, &c->timer, 0, on_begin, c);
	return c;
}
