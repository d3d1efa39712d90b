#include "handover.h"
#include "up.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/os/os.h>

#define GIVE_WAY_MS 2000 /* a predecessor that says nothing for so long hangs */
#define PENDING_MAX (4 * GT_MIB)

enum hand_type {
	HAND_READY = 1,
	HAND_HELD,
	HAND_DONE,
	HAND_CLIENT,
	HAND_REPLICA,
	HAND_GIVE,
	HAND_WANT,
	HAND_LEND,
};

struct hand {
	uint32_t type, n;
	char text[72]; /* the client's address, the replica's id, the function's name */
};

_Static_assert(INET6_ADDRSTRLEN <= 72 && GT_REPLICA_ID_SIZE <= 72 && GT_NAME_MAX < 72,
	       "a text fits");

/* What the one before has of a replica. Control begins anew with an upgrade, too, so that a replica
 * may be told of by the gateway first. */
struct gt_held {
	char id[GT_REPLICA_ID_SIZE];
	uint32_t n;
	UT_hash_handle hh;
};

/* ---- either ---- */

static int send_one(struct gt_hand_peer *p, const struct hand *m, int fd)
{
	return gt_os_send(p->fd, m, sizeof(*m), &fd, fd >= 0, NULL);
}

/* In order: what does not fit now goes when the socket can be written. */
static void flush(struct gt_hand_peer *p)
{
	while (p->pending.len > 0) {
		struct hand m;

		memcpy(&m, p->pending.data, sizeof(m));
		if (send_one(p, &m, -EBADF) < 0)
			return;
		gt_buf_consume(&p->pending, sizeof(m));
	}
}

static void tell(struct gt_hand_peer *p, enum hand_type type, uint32_t n, const char *text)
{
	struct hand m = { .type = (uint32_t)type, .n = n };

	if (!p->watch)
		return;
	gt_strcopy(m.text, sizeof(m.text), text);
	if (p->pending.len > 0 || send_one(p, &m, -EBADF) == -EAGAIN)
		gt_buf_add(&p->pending, &m, sizeof(m));
}

/* -EAGAIN: no more for now. */
static int hear(struct gt_hand_peer *p, struct hand *m, int *fd)
{
	size_t len = 0, n_fds = 0;
	int r;

	*fd = -EBADF;
	r = gt_os_recv(p->fd, m, sizeof(*m), &len, fd, 1, &n_fds, NULL);
	if (r == 0 && len != sizeof(*m))
		r = -ECONNRESET;
	if (r < 0)
		*fd = gt_close(*fd);
	else
		m->text[sizeof(m->text) - 1] = '\0';
	return r;
}

static void hang_up(struct gt_hand_peer *p)
{
	gt_watch_close(p->watch);
	p->watch = NULL;
	gt_buf_fini(&p->pending);
}

static struct gt_target *target_of(struct gt_gateway *gw, const char *replica)
{
	struct gt_route_fn *f, *next;
	struct gt_target *t;

	HASH_ITER (hh, gw->fns, f, next) {
		DL_FOREACH (f->fn.targets, t) {
			if (gt_streq(t->id, replica) && gt_target_serves(t))
				return t;
		}
	}
	return NULL;
}

static void forget_held(struct gt_gateway *gw)
{
	struct gt_held *h, *next;

	HASH_ITER (hh, gw->handover.held, h, next) {
		HASH_DEL(gw->handover.held, h);
		free(h);
	}
}

static void own_all(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	forget_held(gw);
	HASH_ITER (hh, gw->fns, f, next) {
		gt_fn_own_all(&f->fn);
		gt_routes_pump(gw, &f->fn);
	}
}

/* ---- the old one ---- */

static void kick_all(struct gt_gateway *gw)
{
	struct gt_conn *c;

	DL_FOREACH (gw->conns, c)
		gt_conn_kick(c);
}

static void hand_replica(struct gt_gateway *gw, struct gt_target *t)
{
	struct hand m = { .type = HAND_REPLICA };
	struct gt_up *up, *next;

	gt_strcopy(m.text, sizeof(m.text), t->id);
	DL_FOREACH_SAFE (t->idle, up, next) {
		/* One that can not go is closed: the next gateway makes its own. */
		if (up->sock.ops == gw->port->sock && gw->handover.after.pending.len == 0)
			send_one(&gw->handover.after, &m, up->sock.fd);
		gt_up_close(up);
	}
}

static void hand_function(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;

	gt_fn_yield(fn);
	DL_FOREACH (fn->targets, t) {
		if (t->in_flight) /* also of one that left the route: it may come back */
			tell(&gw->handover.after, HAND_HELD, t->in_flight, t->id);
		hand_replica(gw, t);
	}
}

static void give_way(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	gw->handover.yielding = true;
	HASH_ITER (hh, gw->fns, f, next)
		hand_function(gw, &f->fn);
	tell(&gw->handover.after, HAND_DONE, 0, "");
	HASH_ITER (hh, gw->fns, f, next)
		gt_handover_settle(gw, &f->fn);
	gt_gw_quiesce(gw);
}

void gt_handover_settle(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_hand_peer *after = &gw->handover.after;
	struct gt_target *t;

	if (!gw->handover.yielding)
		return;
	DL_FOREACH (fn->targets, t) {
		uint32_t n = gt_target_give(t);

		if (n)
			tell(after, HAND_GIVE, n, t->id);
	}
	if (fn->n_waiting != fn->told_waiting)
		tell(after, HAND_WANT, fn->n_waiting, fn->route.function);
	fn->told_waiting = fn->n_waiting;
}

static void from_successor(struct gt_gateway *gw, const struct hand *m)
{
	struct gt_target *t;

	if (m->type == HAND_READY && !gw->quiescing) {
		give_way(gw);
	} else if (m->type == HAND_LEND && gw->handover.yielding) {
		t = target_of(gw, m->text);
		if (!t)
			return; /* it left meanwhile, for the successor too */
		gt_target_lent(t);
		gt_routes_pump(gw, t->fn);
	}
}

static void on_successor(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_hand_peer *p = &gw->handover.after;
	struct hand m;
	int fd, r;

	(void)w;
	while ((r = hear(p, &m, &fd)) == 0) {
		gt_close(fd);
		from_successor(gw, &m);
	}
	if (r != -EAGAIN) { /* it died: who is idle is let go */
		hang_up(p);
		if (gw->handover.yielding) {
			gw->handover.yielding = false;
			own_all(gw);
			kick_all(gw);
		}
	} else if (events & GT_EV_WRITE) {
		flush(p);
		if (gw->handover.yielding && p->pending.len == 0)
			kick_all(gw);
	}
}

enum gt_handed gt_handover_client(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct hand m = { .type = HAND_CLIENT };
	int r;

	if (!gw->handover.yielding || c->sock.ops != gw->port->sock)
		return GT_HAND_NOT;
	if (gw->handover.after.pending.len > 0)
		return GT_HAND_LATER;
	gt_strcopy(m.text, sizeof(m.text), c->peer);
	r = send_one(&gw->handover.after, &m, c->sock.fd);
	if (r == -EAGAIN)
		return GT_HAND_LATER;
	if (r < 0)
		return GT_HAND_NOT;
	gt_conn_close(c);
	return GT_HANDED;
}

/* ---- the new one ---- */

static void held(struct gt_gateway *gw, const char *replica, int change)
{
	struct gt_target *t = target_of(gw, replica);
	struct gt_held *h;

	HASH_FIND_STR(gw->handover.held, replica, h);
	if (!h) {
		h = gt_alloc(sizeof(*h));
		gt_strcopy(h->id, sizeof(h->id), replica);
		HASH_ADD_STR(gw->handover.held, id, h);
	}
	h->n += (uint32_t)GT_MAX(change, -(int)h->n);
	if (t)
		gt_target_held(t, h->n);
}

void gt_handover_applied(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;
	struct gt_held *h;

	if (!gw->handover.held)
		return;
	DL_FOREACH (fn->targets, t) {
		HASH_FIND_STR(gw->handover.held, t->id, h);
		if (h)
			gt_target_held(t, h->n);
	}
}

void gt_handover_lend(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_hand_peer *before = &gw->handover.before;
	struct gt_target *t;

	while (before->watch && (t = gt_fn_lend(fn, gt_gw_now(gw)))) {
		held(gw, t->id, 1);
		tell(before, HAND_LEND, 1, t->id);
	}
}

static void accept_now(void *arg)
{
	struct gt_gateway *gw = arg;

	gt_timer_clear(gw->loop, &gw->handover.timer);
	if (!gt_listening(gw) && !gw->quiescing)
		gt_gw_accept(gw);
}

static void from_predecessor(struct gt_gateway *gw, const struct hand *m, int fd)
{
	struct gt_target *t = NULL;
	struct gt_fn *fn;
	struct gt_up *up;

	switch (m->type) {
	case HAND_HELD:
		held(gw, m->text, (int)GT_MIN(m->n, INT32_MAX));
		break;
	case HAND_DONE:
		accept_now(gw);
		break;
	case HAND_GIVE:
		held(gw, m->text, -(int)GT_MIN(m->n, INT32_MAX));
		t = target_of(gw, m->text);
		if (t)
			gt_routes_pump(gw, t->fn);
		break;
	case HAND_WANT:
		fn = gt_routes_function(gw, m->text, strlen(m->text));
		if (fn) {
			fn->wanted_elsewhere = m->n;
			gt_routes_pump(gw, fn);
		}
		break;
	case HAND_CLIENT:
		if (fd >= 0)
			gt_conn_open(gw, fd, m->text);
		return;
	case HAND_REPLICA:
		t = target_of(gw, m->text);
		up = t && fd >= 0 ? gt_up_open(gw, fd, t) : NULL;
		if (up)
			gt_up_park(up);
		else if (!t)
			gt_sock_drop(gw->port->sock, fd);
		return;
	default:
		break;
	}
	gt_close(fd);
}

static void on_predecessor(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_hand_peer *p = &gw->handover.before;
	struct hand m;
	int fd, r;

	(void)w;
	if (events & GT_EV_WRITE)
		flush(p);
	while ((r = hear(p, &m, &fd)) == 0)
		from_predecessor(gw, &m, fd);
	if (r == -EAGAIN)
		return;
	hang_up(p); /* it has ended, and nothing is its any more */
	own_all(gw);
	if (gw->handover.asked)
		accept_now(gw);
}

bool gt_handover_begin(struct gt_gateway *gw)
{
	if (!gw->handover.before.watch)
		return false;
	if (!gw->handover.asked) {
		gw->handover.asked = true;
		tell(&gw->handover.before, HAND_READY, 0, "");
		gt_timer_set(gw->loop, &gw->handover.timer, GIVE_WAY_MS, accept_now, gw);
	}
	return true;
}

/* ---- both ---- */

static int open_peer(struct gt_gateway *gw, struct gt_hand_peer *p, int fd, gt_watch_fn *fn,
		     struct gt_err *err)
{
	p->fd = fd;
	gt_buf_init(&p->pending, PENDING_MAX);
	if (fd < 0)
		return 0;
	return gt_loop_watch(gw->loop, fd, GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE, fn,
			     gw, &p->watch, err);
}

int gt_handover_open(struct gt_gateway *gw, struct gt_err *err)
{
	int r = open_peer(gw, &gw->handover.before, gw->cfg.predecessor_fd, on_predecessor, err);

	if (r == 0)
		r = open_peer(gw, &gw->handover.after, gw->cfg.successor_fd, on_successor, err);
	return r < 0 ? gt_err_wrap(err, "the gateway before or after this one") : 0;
}

void gt_handover_close(struct gt_gateway *gw)
{
	gt_timer_clear(gw->loop, &gw->handover.timer);
	forget_held(gw);
	hang_up(&gw->handover.before);
	hang_up(&gw->handover.after);
}
