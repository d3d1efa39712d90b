#include "handover.h"
#include "held.h"
#include "routes.h"
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
	HAND_LED,
};

/* What a part of an address is followed by. */
enum { LED_MORE, LED_END, LED_END_COUNTS };

struct hand {
	uint32_t type, n;
	char text[72]; /* the client's address, the replica's id, the function's name */
};

_Static_assert(INET6_ADDRSTRLEN <= 72 && GT_REPLICA_ID_SIZE <= 72 && GT_NAME_MAX < 72,
	       "a text fits");

/* ---- messages ---- */

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

/* ---- between shards ---- */

typedef void hand_fn(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES);

struct letter {
	struct gt_mail mail;
	hand_fn *fn;
	struct hand m;
	int fd;
};

static void open_letter(struct gt_gateway *gw, struct gt_mail *mail GT_TAKES)
{
	struct letter *l = GT_CONTAINER(mail, struct letter, mail);

	if (gw->freeing)
		gt_close(l->fd);
	else
		l->fn(gw, &l->m, l->fd);
	free(l);
}

static void post(struct gt_gateway *gw, unsigned to, hand_fn *fn, const struct hand *m,
		 int fd GT_TAKES)
{
	struct letter *l;

	if (to == gw->shard) {
		fn(gw, m, fd);
		return;
	}
	l = gt_alloc(sizeof(*l));
	*l = (struct letter){ .mail.fn = open_letter, .fn = fn, .m = *m, .fd = fd };
	gt_shard_post(gw->shards, to, &l->mail);
}

static void post_all(struct gt_gateway *gw, hand_fn *fn, const struct hand *m)
{
	unsigned n = gw->shards ? gw->shards->n : 1;

	for (unsigned i = 0; i < n; i++)
		post(gw, i, fn, m, -EBADF);
}

static void say(struct gt_hand_peer *p, const struct hand *m)
{
	if (!p->watch)
		return;
	if (p->pending.len > 0 || send_one(p, m, -EBADF) == -EAGAIN)
		gt_buf_add(&p->pending, m, sizeof(*m));
}

static void say_before(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	(void)fd;
	say(&gw->handover.before, m);
}

static void say_after(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	(void)fd;
	say(&gw->handover.after, m);
}

static void tell(struct gt_gateway *gw, hand_fn *whom, enum hand_type type, uint32_t n,
		 const char *text)
{
	struct hand m = { .type = (uint32_t)type, .n = n };

	if (gw->freeing)
		return; /* the other one hears of the end by itself */
	gt_strcopy(m.text, sizeof(m.text), text);
	post(gw, 0, whom, &m, -EBADF);
}

/* Also from other shards: a message is sent as a whole. */
static int give(const struct gt_gateway *gw, const struct hand *m, int fd)
{
	return gt_os_send(gw->cfg.successor_fd, m, sizeof(*m), &fd, 1, NULL);
}

/* ---- either ---- */

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

static uint32_t hash_of(const struct gt_fn *fn)
{
	return gt_shard_hash(fn->route.function, strlen(fn->route.function));
}

static unsigned of_shard(const struct gt_gateway *gw, uint32_t hash)
{
	return gw->shards ? hash % gw->shards->n : 0;
}

static void own_all(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	gt_held_forget(gw, GT_HELD_BEFORE);
	HASH_ITER (hh, gw->fns, f, next) {
		gt_fn_own_all(&f->fn);
		gt_held_applied(gw, &f->fn);
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
	struct hand m = { .type = HAND_REPLICA, .n = hash_of(t->fn) };
	struct gt_up *up, *next;

	gt_strcopy(m.text, sizeof(m.text), t->id);
	DL_FOREACH_SAFE (t->idle.first, up, next) {
		if (up->sock.layer) /* can not go; who still waits here may need it */
			continue;
		/* One that can not go is closed: the next gateway makes its own. */
		if (up->sock.ops == gw->port->sock && gw->handover.after.pending.len == 0)
			give(gw, &m, up->sock.fd);
		gt_up_close(up);
	}
}

static void hand_function(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;

	gt_fn_yield(fn);
	DL_FOREACH (fn->targets, t) {
		if (t->in_flight) /* also of one that left the route: it may come back */
			tell(gw, say_after, HAND_HELD, t->in_flight, t->id);
		hand_replica(gw, t);
	}
}

static void yield(struct gt_gateway *gw)
{
	struct gt_route_fn *f, *next;

	gw->handover.yielding = true;
	HASH_ITER (hh, gw->fns, f, next)
		hand_function(gw, &f->fn);
	HASH_ITER (hh, gw->fns, f, next)
		gt_handover_settle(gw, &f->fn);
}

static void begin_handing(struct gt_gateway *gw)
{
	gw->handover.handing = true;
	kick_all(gw);
}

/* No connection goes before all that the calls here hold was told. */
static void hand_on(struct gt_gateway *gw)
{
	if (!gw->handover.done || gw->handover.after.pending.len > 0)
		return;
	begin_handing(gw);
	gt_shards_tell(gw, begin_handing);
}

void gt_handover_quiet(struct gt_gateway *gw)
{
	if (!gw->handover.yielding)
		return;
	tell(gw, say_after, HAND_DONE, 0, "");
	gw->handover.done = true;
	hand_on(gw);
}

/* An address is longer than a text, and messages are as long as those of the version before. */
static void tell_led(struct gt_gateway *gw, const char *door, bool counts)
{
	do {
		struct hand m = { .type = HAND_LED };
		size_t n = GT_MIN(strlen(door), sizeof(m.text) - 1);

		memcpy(m.text, door, n);
		door += n;
		m.n = *door ? LED_MORE : counts ? LED_END_COUNTS : LED_END;
		say(&gw->handover.after, &m);
	} while (*door);
}

static void give_way(struct gt_gateway *gw)
{
	gt_holds_each(gw, tell_led);
	yield(gw);
	gt_shards_tell(gw, yield);
	gt_gw_quiesce(gw);
}

void gt_handover_settle(struct gt_gateway *gw, struct gt_fn *fn)
{
	uint32_t wanted = fn->n_ready ? fn->n_waiting : 0;
	bool in_vain = false;
	struct gt_target *t;

	if (!gw->handover.yielding)
		return;
	DL_FOREACH (fn->targets, t) {
		uint32_t n = gt_target_give(t);

		if (n)
			tell(gw, say_after, HAND_GIVE, n, t->id);
		in_vain |= n && !gt_target_serves(t);
	}
	gt_fn_forget_gone(fn);
	if (in_vain) { /* it would only be lent the same once more: told with the next change */
		fn->told_waiting = UINT32_MAX;
		return;
	}
	if (wanted != fn->told_waiting)
		tell(gw, say_after, HAND_WANT, wanted, fn->route.function);
	fn->told_waiting = wanted;
}

/* Of a function at home here. Control begins anew with an upgrade, and tells each gateway of the
 * replicas when it hears of them: one that is not known here goes back. */
static void lent(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	struct gt_route_fn *f, *next;
	struct gt_target *t;

	(void)fd;
	if (!gw->handover.yielding)
		return;
	HASH_ITER (hh, gw->fns, f, next) {
		if (hash_of(&f->fn) != m->n)
			continue;
		DL_FOREACH (f->fn.targets, t) {
			if (!gt_streq(t->id, m->text))
				continue;
			gt_target_lent(t);
			gt_routes_pump(gw, &f->fn);
			return;
		}
		f->fn.told_waiting = UINT32_MAX;
	}
	tell(gw, say_after, HAND_GIVE, 1, m->text);
}

static void from_successor(struct gt_gateway *gw, const struct hand *m)
{
	if (m->type == HAND_READY && !gw->quiescing)
		give_way(gw);
	else if (m->type == HAND_LEND)
		post(gw, of_shard(gw, m->n), lent, m, -EBADF);
}

/* The successor died: who is idle is let go. */
static void no_heir(struct gt_gateway *gw)
{
	if (!gw->handover.yielding)
		return;
	gw->handover.yielding = false;
	own_all(gw);
	kick_all(gw);
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
	if (r != -EAGAIN) {
		hang_up(p);
		no_heir(gw);
		gt_shards_tell(gw, no_heir);
	} else if (events & GT_EV_WRITE) {
		flush(p);
		if (gw->handover.yielding)
			hand_on(gw);
	}
}

enum gt_handed gt_handover_client(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct hand m = { .type = HAND_CLIENT };
	int r;

	if (!gw->handover.yielding || c->sock.ops != gw->port->sock || c->cluster)
		return GT_HAND_NOT;
	if (!gw->handover.handing || gw->handover.after.pending.len > 0)
		return GT_HAND_LATER;
	gt_strcopy(m.text, sizeof(m.text), c->peer);
	r = give(gw, &m, c->sock.fd);
	if (r == -EAGAIN)
		return GT_HAND_LATER;
	if (r < 0)
		return GT_HAND_NOT;
	gt_conn_close(c);
	return GT_HANDED;
}

/* ---- the new one ---- */

void gt_handover_lend(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;

	while (gw->handover.preceded && (t = gt_fn_lend(fn, gt_gw_now(gw)))) {
		gt_held_change(gw, GT_HELD_BEFORE, t->id, 1);
		tell(gw, say_before, HAND_LEND, hash_of(fn), t->id);
	}
}

static void accept_now(void *arg)
{
	struct gt_gateway *gw = arg;

	gt_timer_clear(gw->loop, &gw->handover.timer);
	if (!gt_listening(gw) && !gw->quiescing)
		gt_gw_accept(gw);
}

static void take_held(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	(void)fd;
	gt_held_change(gw, GT_HELD_BEFORE, m->text, m->n);
}

static void take_given(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	(void)fd;
	gt_held_change(gw, GT_HELD_BEFORE, m->text, -(int64_t)m->n);
}

static void take_want(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	struct gt_fn *fn = gt_routes_function(gw, m->text, strlen(m->text));

	(void)fd;
	if (!fn)
		return;
	fn->wanted_elsewhere = m->n;
	gt_routes_pump(gw, fn);
}

static void take_replica(struct gt_gateway *gw, const struct hand *m, int fd GT_TAKES)
{
	struct gt_target *t = gt_held_target(gw, m->text);
	struct gt_up *up = t && fd >= 0 ? gt_up_open(gw, fd, t) : NULL;

	if (up)
		gt_up_park(up);
	else if (!t)
		gt_sock_drop(gw->port->sock, fd);
}

static void take_led(struct gt_gateway *gw, const struct hand *m)
{
	char *door = gw->handover.led;
	size_t len = strlen(door);

	if (!gt_strcopy(door + len, sizeof(gw->handover.led) - len, m->text) || m->n == LED_MORE)
		return;
	gt_holds_inherit(gw, door, m->n == LED_END_COUNTS);
	*door = '\0';
}

static void from_predecessor(struct gt_gateway *gw, const struct hand *m, int fd)
{
	switch (m->type) {
	case HAND_HELD:
		post_all(gw, take_held, m);
		break;
	case HAND_DONE:
		accept_now(gw);
		break;
	case HAND_LED:
		take_led(gw, m);
		break;
	case HAND_GIVE:
		post_all(gw, take_given, m);
		break;
	case HAND_WANT:
		post(gw, gt_shard_home(gw, m->text, strlen(m->text)), take_want, m, -EBADF);
		break;
	case HAND_CLIENT:
		if (fd >= 0)
			gt_conn_open(gw, fd, m->text);
		return;
	case HAND_REPLICA:
		post(gw, of_shard(gw, m->n), take_replica, m, fd);
		return;
	default:
		break;
	}
	gt_close(fd);
}

static void none_before(struct gt_gateway *gw)
{
	gw->handover.preceded = false;
	own_all(gw);
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
	none_before(gw);
	gt_shards_tell(gw, none_before);
	if (gw->handover.asked)
		accept_now(gw);
}

bool gt_handover_begin(struct gt_gateway *gw)
{
	if (!gw->handover.before.watch)
		return false;
	if (!gw->handover.asked) {
		gw->handover.asked = true;
		tell(gw, say_before, HAND_READY, 0, "");
		gt_timer_set(gw->loop, &gw->handover.timer, GIVE_WAY_MS, accept_now, gw);
	}
	return true;
}

/* ---- both ---- */

static void follows(struct gt_gateway *gw)
{
	gw->handover.preceded = true;
}

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

	if (r == 0 && gw->handover.before.watch) {
		follows(gw);
		gt_shards_tell(gw, follows);
	}
	if (r == 0)
		r = open_peer(gw, &gw->handover.after, gw->cfg.successor_fd, on_successor, err);
	return r < 0 ? gt_err_wrap(err, "the gateway before or after this one") : 0;
}

void gt_handover_close(struct gt_gateway *gw)
{
	gt_timer_clear(gw->loop, &gw->handover.timer);
	hang_up(&gw->handover.before);
	hang_up(&gw->handover.after);
}
