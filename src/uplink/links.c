/* links.c - the agent's connections to control: what arrives at the node's link socket goes on to
 * the door, byte by byte, over a connection of its own with the node's certificate. The agent finds
 * a control that is away as it would on the host of control: by a connection that ends. */
#include "uplink_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "identity.h"

#define LINKS_MAX 256

struct one {
	struct links *links;
	struct one *prev, *next;
	struct end near;   /* until there is the other one */
	struct conn *conn; /* then */
	struct pump *pump;
};

struct links {
	struct uplink *u;
	struct gt_watch *watch;
	struct one *all;
	unsigned n;
};

static void resume(struct links *l)
{
	if (gt_watch_set(l->watch, GT_EV_READ, NULL) < 0)
		gt_warn("the agent is not listened to any more: %m");
}

static void one_free(struct one *o)
{
	struct links *l = o->links;

	conn_cancel(o->conn);
	pump_free(o->pump);
	end_close(&o->near, false);
	DL_DELETE(l->all, o);
	if (l->n-- == LINKS_MAX)
		resume(l);
	free(o);
}

static void on_end(void *arg)
{
	struct one *o = arg;

	o->pump = NULL;
	one_free(o);
}

static void on_conn(struct end *e, const struct gt_err *err, void *arg)
{
	struct one *o = arg;
	struct pump_config config = {
		.loop = o->links->u->loop, .left = &o->near, .right = e, .fn = on_end, .arg = o
	};
	struct gt_err why = { 0 };

	o->conn = NULL;
	if (!e) {
		gt_debug("link: %s", err->text);
		one_free(o);
	} else if (pump_new(&config, &o->pump, &why) < 0) {
		gt_warn("link: %s", why.text);
		one_free(o);
	}
}

static void on_connect(struct gt_watch *w, unsigned events, void *arg)
{
	struct links *l = arg;
	struct one *o;
	int fd = accept4(gt_watch_fd(w), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	o = gt_alloc(sizeof(*o));
	*o = (struct one){ .links = l, .near = { .fd = fd } };
	DL_APPEND(l->all, o);
	/* The others wait in the socket's queue. */
	if (++l->n == LINKS_MAX && gt_watch_set(w, 0, NULL) < 0)
		gt_warn("link: %m");
	o->conn = conn_open(l->u, l->u->identity->ctx, on_conn, o);
}

int links_new(struct uplink *u, struct links **ret, struct gt_err *err)
{
	struct links *l = gt_alloc(sizeof(*l));
	int fd = u->config.link_fd, r;

	l->u = u;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	r = gt_loop_watch(u->loop, fd, GT_EV_READ, on_connect, l, &l->watch, err);
	if (r < 0) {
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void links_free(struct links *l)
{
	if (!l)
		return;
	while (l->all)
		one_free(l->all);
	gt_watch_close(l->watch);
	free(l);
}
