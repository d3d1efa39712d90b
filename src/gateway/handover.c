#include "handover.h"

#include <string.h>
#include <utlist.h>

#include <gantry/os/os.h>

enum hand_type { HAND_READY = 1, HAND_CLIENT, HAND_REPLICA };

struct hand {
	uint32_t type;
	char text[60]; /* the client's address; the replica's id */
};

_Static_assert(INET6_ADDRSTRLEN <= 60 && GT_REPLICA_ID_SIZE <= 60, "a text fits");

static int tell(int sock, enum hand_type type, const char *text, int fd)
{
	struct hand m = { .type = (uint32_t)type };

	gt_strcopy(m.text, sizeof(m.text), text);
	return gt_os_send(sock, &m, sizeof(m), &fd, fd >= 0, NULL);
}

/* Every event reads to the end: the watches are edge-triggered. -EAGAIN: no more for now. */
static int hear(int sock, struct hand *m, int *fd)
{
	size_t len = 0, n_fds = 0;
	int r;

	*fd = -EBADF;
	r = gt_os_recv(sock, m, sizeof(*m), &len, fd, 1, &n_fds, NULL);
	if (r == 0 && len != sizeof(*m))
		r = -ECONNRESET;
	if (r < 0)
		*fd = gt_close(*fd);
	else
		m->text[sizeof(m->text) - 1] = '\0';
	return r;
}

/* ---- the old one ---- */

static void kick_all(struct gt_gateway *gw)
{
	struct gt_conn *c;

	DL_FOREACH (gw->conns, c)
		gt_conn_kick(c);
}

static void hand_replicas(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;

	DL_FOREACH (fn->targets, t) {
		struct gt_up *up, *next;

		DL_FOREACH_SAFE (t->idle, up, next) {
			/* Else it is closed: the next one makes its own. */
			if (up->sock.ops == gw->port->sock)
				tell(gw->handover.successor, HAND_REPLICA, t->id, up->sock.fd);
			gt_up_close(up);
		}
	}
}

static void begin(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	gw->handover.yielding = true;
	HASH_ITER (hh, gw->fns, f, next)
		hand_replicas(gw, &f->fn);
	gt_gw_quiesce(gw);
}

static void on_successor(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;
	struct hand m;
	int fd, r;

	while ((r = hear(gw->handover.successor, &m, &fd)) == 0) {
		gt_close(fd);
		if (m.type == HAND_READY && !gw->quiescing)
			begin(gw);
	}
	if (r != -EAGAIN) { /* it died: who is idle is let go */
		gw->handover.yielding = false;
		gt_watch_close(w);
		gw->handover.successor_watch = NULL;
	}
	if (gw->quiescing && (r != -EAGAIN || events & GT_EV_WRITE))
		kick_all(gw);
}

enum gt_handed gt_handover_client(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	int r;

	if (!gw->handover.yielding || c->sock.ops != gw->port->sock)
		return GT_HAND_NOT;
	r = tell(gw->handover.successor, HAND_CLIENT, c->peer, c->sock.fd);
	if (r == -EAGAIN)
		return GT_HAND_LATER;
	if (r < 0)
		return GT_HAND_NOT;
	gt_conn_close(c);
	return GT_HANDED;
}

/* ---- the new one ---- */

static struct gt_target *target_of(struct gt_gateway *gw, const char *replica)
{
	struct gt_route_fn *f, *next;
	struct gt_target *t;

	HASH_ITER (hh, gw->fns, f, next) {
		DL_FOREACH (f->fn.targets, t) {
			if (gt_streq(t->id, replica) && !t->draining && !t->gone)
				return t;
		}
	}
	return NULL;
}

static void take(struct gt_gateway *gw, const struct hand *m, int fd)
{
	struct gt_target *t;
	struct gt_up *up;

	if (m->type == HAND_CLIENT) {
		gt_conn_open(gw, fd, m->text);
		return;
	}
	t = m->type == HAND_REPLICA ? target_of(gw, m->text) : NULL;
	if (!t) {
		gt_sock_drop(gw->port->sock, fd);
		return;
	}
	up = gt_up_open(gw, fd, t);
	if (up)
		gt_up_park(up);
}

static void on_predecessor(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;
	struct hand m;
	int fd, r;

	(void)events;
	while ((r = hear(gw->handover.predecessor, &m, &fd)) == 0) {
		if (fd >= 0)
			take(gw, &m, fd);
	}
	if (r == -EAGAIN)
		return;
	gt_watch_close(w); /* it has ended */
	gw->handover.predecessor_watch = NULL;
	gw->handover.predecessor = gt_close(gw->handover.predecessor);
}

bool gt_handover_has_predecessor(const struct gt_gateway *gw)
{
	return gw->handover.predecessor_watch != NULL;
}

void gt_handover_ready(struct gt_gateway *gw)
{
	if (gt_handover_has_predecessor(gw) &&
	    tell(gw->handover.predecessor, HAND_READY, "", -EBADF) < 0)
		gt_warn("gateway: the one before could not be told to give way");
}

/* ---- both ---- */

int gt_handover_open(struct gt_gateway *gw, struct gt_err *err)
{
	const unsigned events = GT_EV_READ | GT_EV_HANGUP | GT_EV_EDGE;
	int r = 0;

	gw->handover.predecessor = gw->cfg.predecessor_fd;
	gw->handover.successor = gw->cfg.successor_fd;
	if (gw->handover.predecessor >= 0)
		r = gt_loop_watch(gw->loop, gw->handover.predecessor, events, on_predecessor, gw,
				  &gw->handover.predecessor_watch, err);
	if (r == 0 && gw->handover.successor >= 0)
		r = gt_loop_watch(gw->loop, gw->handover.successor, events | GT_EV_WRITE,
				  on_successor, gw, &gw->handover.successor_watch, err);
	return r < 0 ? gt_err_wrap(err, "the gateway before or after this one") : 0;
}

void gt_handover_close(struct gt_gateway *gw)
{
	gt_watch_close(gw->handover.predecessor_watch);
	gt_watch_close(gw->handover.successor_watch);
}
