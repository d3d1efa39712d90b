/* links.c - the agent's connections to control, and a gateway's to others, that which leads mostly:
 * what arrives at a socket of this host goes on to the door, byte by byte, over a connection of its
 * own with the node's certificate. The agent finds a control that is away as it would on the host
 * of control: by a connection that ends. */
#include "uplink_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/base/units.h>
#include <gantry/os/os.h>

#include "door.h"
#include "identity.h"

#define LINKS_MAX 8192
#define LOOK_MS   500

struct one {
	struct links *links;
	struct one *prev, *next;
	struct end near;        /* until there is the other one */
	struct gt_watch *watch; /* it has not said yet where it wants to go */
	char line[24 + GT_UPLINK_URL_SIZE];
	size_t n_line;
	struct door *door; /* its own; NULL: the uplink's */
	struct conn *conn; /* then */
	struct pump *pump;
	int far; /* the pump's */
};

struct links {
	struct uplink *u;
	struct gt_watch *watch;
	bool forwards; /* a gateway's */
	struct gt_timer look;
	struct one *all;
	unsigned n;
	bool on;
};

/* The others wait in the socket's queue. */
static void listen_on(struct links *l)
{
	unsigned events = l->on && l->n < LINKS_MAX ? GT_EV_READ : 0;

	if (gt_watch_set(l->watch, events, NULL) < 0)
		gt_warn("link: %m");
}

void links_listen(struct links *l, bool on)
{
	l->on = on;
	listen_on(l);
}

static void one_free(struct one *o)
{
	struct links *l = o->links;

	conn_cancel(o->conn);
	door_free(o->door);
	pump_free(o->pump);
	gt_watch_close(o->watch);
	end_close(&o->near, false);
	DL_DELETE(l->all, o);
	if (l->n-- == LINKS_MAX)
		listen_on(l);
	free(o);
	if (l->forwards)
		uplink_drained(l->u);
}

/* A call's body may wait for its function, so that the kernel does not judge: see who is gone. */
static void on_look(void *arg)
{
	struct links *l = arg;
	struct one *o, *next;

	DL_FOREACH_SAFE (l->all, o, next)
		if (o->pump && gt_os_tcp_silent(o->far))
			one_free(o);
	if (l->n)
		gt_timer_set(l->u->loop, &l->look, LOOK_MS, on_look, l);
}

static void on_end(void *arg)
{
	struct one *o = arg;

	o->pump = NULL;
	one_free(o);
}

/* Who asks may want to know whether it was reached at all. */
static void failed(struct one *o, const struct gt_err *err)
{
	static const char none[] = "none\n";

	gt_debug("link: %s", err->text);
	if (o->links->forwards && err->code == ECONNREFUSED)
		(void)!end_write(&o->near, none, sizeof(none) - 1);
	one_free(o);
}

static void on_conn(struct end *e, const struct gt_err *err, void *arg)
{
	static const char ok[] = "ok\n";
	struct one *o = arg;
	bool forwards = o->links->forwards;
	struct pump_config config = { .loop = o->links->u->loop,
				      .left = &o->near,
				      .right = e,
				      .to_left = ok,
				      .to_left_len = forwards ? sizeof(ok) - 1 : 0,
				      .fn = on_end,
				      .arg = o };
	struct gt_err why = { 0 };

	o->conn = NULL;
	o->far = e ? e->fd : -EBADF;
	if (e && forwards) {
		(void)gt_os_tcp_patience(e->fd, true);
		if (!gt_timer_is_set(&o->links->look))
			gt_timer_set(o->links->u->loop, &o->links->look, LOOK_MS, on_look,
				     o->links);
	}
	if (!e) {
		failed(o, err);
	} else if (pump_new(&config, &o->pump, &why) < 0) {
		gt_warn("link: %s", why.text);
		one_free(o);
	}
}

static void go(struct one *o, struct door *door)
{
	struct uplink *u = o->links->u;

	o->conn = conn_open(u, door, u->identity->ctx, on_conn, o);
}

/* False: this is no line as a gateway says it. */
static bool heard(struct one *o, char *line)
{
	struct uplink *u = o->links->u;
	char *url = strchr(line, ' ');
	uint64_t epoch;

	if (!url)
		return false;
	*url++ = '\0';
	if (gt_parse_u64(line, INT64_MAX, &epoch) < 0 ||
	    gt_uplink_check_url(url, &(struct gt_err){ 0 }) < 0)
		return false;
	leader_heard(u, epoch, url);
	if (gt_streq(url, u->url))
		go(o, u->door);
	else if (door_new(u->loop, url, &o->door, &(struct gt_err){ 0 }) == 0)
		go(o, o->door);
	else
		return false;
	return true;
}

/* It says no more before it is answered. */
static void on_line(struct gt_watch *w, unsigned events, void *arg)
{
	struct one *o = arg;
	size_t room = sizeof(o->line) - o->n_line;
	ssize_t n = end_read(&o->near, o->line + o->n_line, room);

	(void)w;
	(void)events;
	if (n == -EAGAIN)
		return;
	o->n_line += n > 0 ? (size_t)n : 0;
	if (n > 0 && o->line[o->n_line - 1] != '\n' && o->n_line < sizeof(o->line))
		return;
	gt_watch_close(o->watch);
	o->watch = NULL;
	if (n > 0 && o->line[o->n_line - 1] == '\n') {
		o->line[o->n_line - 1] = '\0';
		if (heard(o, o->line))
			return;
	}
	if (n > 0)
		gt_warn("link: a gateway does not say where it wants to go");
	one_free(o);
}

static void on_connect(struct gt_watch *w, unsigned events, void *arg)
{
	struct links *l = arg;
	struct one *o;
	int fd = accept4(gt_watch_fd(w), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct gt_err err;

	(void)events;
	if (fd < 0)
		return;
	o = gt_alloc(sizeof(*o));
	*o = (struct one){ .links = l, .near = { .fd = fd } };
	DL_APPEND(l->all, o);
	if (++l->n == LINKS_MAX)
		listen_on(l);
	if (!l->forwards)
		go(o, l->u->door);
	else if (gt_loop_watch(l->u->loop, fd, GT_EV_READ, on_line, o, &o->watch, &err) < 0)
		one_free(o);
}

int links_new(struct uplink *u, int fd, bool forwards, struct links **ret, struct gt_err *err)
{
	struct links *l = gt_alloc(sizeof(*l));
	int r;

	*l = (struct links){ .u = u, .forwards = forwards, .on = true };
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	r = gt_loop_watch(u->loop, fd, GT_EV_READ, on_connect, l, &l->watch, err);
	if (r < 0) {
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

size_t links_busy(const struct links *l)
{
	return l->n;
}

void links_close(struct links *l)
{
	while (l->all)
		one_free(l->all);
}

void links_leave(struct links *l)
{
	struct one *o, *next;

	DL_FOREACH_SAFE (l->all, o, next)
		if (o->conn)
			one_free(o);
}

void links_free(struct links *l)
{
	if (!l)
		return;
	links_close(l);
	gt_timer_clear(l->u->loop, &l->look);
	gt_watch_close(l->watch);
	free(l);
}
