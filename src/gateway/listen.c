/* listen.c - the listening socket: taking connections, and not more than there may be. */
#include "conn.h"

#include <stdlib.h>
#include <string.h>

#define ACCEPTS_MAX    64 /* a round */
#define NO_FD_PAUSE_MS 100
#define FULL_PAUSE_MS  20
#define HEARD_MAX      64 /* connections, for one that may give way */
#define LOOK_AFTER     32 /* events of clients */
#define LOOK_MAX       16

/* Of several shards that sleep one is woken for a connection. */
static unsigned events(const struct gt_gateway *gw)
{
	return GT_EV_READ | (gw->shards ? GT_EV_EXCLUSIVE : 0);
}

static void set_accepting(struct gt_gateway *gw, bool on)
{
	if (!gt_listening(gw) || gw->accept_paused != on)
		return;
	gw->accept_paused = !on;
	for (size_t i = 0; i < GT_LISTENERS; i++)
		if (gw->listeners[i].watch &&
		    gt_watch_set(gw->listeners[i].watch, on ? events(gw) : 0, NULL) < 0)
			gt_warn("gateway: a listening socket could not be %s",
				on ? "resumed" : "paused");
}

static void accept_again(void *arg)
{
	struct gt_gateway *gw = arg;

	gw->accept_full = false;
	set_accepting(gw, true);
}

/* A shard that watches its listeners anew hears of what waits there already. One that is paused
 * does so soon, by itself. */
static void look_again(struct gt_gateway *gw)
{
	if (gw->accept_paused)
		return;
	set_accepting(gw, false);
	set_accepting(gw, true);
}

/* None of the connections here can give way; the kernel's backlog holds the others. It woke this
 * shard alone, and another one may have room, or may have it later: all are told, and as long as
 * somebody waits all are told again. accept_full: it is this that a shard is paused for. */
static void pause_full(struct gt_gateway *gw)
{
	set_accepting(gw, false);
	gw->accept_full = true;
	if (!gw->shards)
		return;
	gt_shards_tell(gw, look_again);
	gt_timer_set(gw->loop, &gw->accept_timer, FULL_PAUSE_MS, accept_again, gw);
}

/* There is room for one more, once *way (NULL: nobody) is closed. A gateway that is late finds many
 * new connections at once: one whose request is there already is read, and does not give way. */
static bool find_room(struct gt_gateway *gw, struct gt_conn **way)
{
	*way = NULL;
	for (unsigned i = 0; gt_gw_conns(gw) >= gw->cfg.connections_max; i++) {
		struct gt_conn *c = i < HEARD_MAX ? gt_conn_idlest(gw, 0) : NULL;

		if (!c)
			return false;
		if (gt_conn_waits_in_vain(c)) {
			*way = c;
			return true;
		}
	}
	return true;
}

static void accept_some(struct gt_listener *l, int most, bool read)
{
	struct gt_gateway *gw = l->gw;

	for (int i = 0; i < most; i++) {
		char peer[INET6_ADDRSTRLEN];
		struct gt_conn *way, *c;

		if (!find_room(gw, &way)) {
			pause_full(gw);
			return;
		}
		int fd = gw->port->accept(gt_watch_fd(l->watch), peer);

		if (fd < 0 && gt_err_is_want(-fd)) {
			set_accepting(gw, false);
			gt_timer_set(gw->loop, &gw->accept_timer, NO_FD_PAUSE_MS, accept_again, gw);
			return;
		}
		if (fd == -EAGAIN)
			return;
		if (fd < 0)
			continue; /* that client is gone already */
		if (way)
			gt_conn_close(way);
		c = gt_conn_accept(l, fd, peer);
		if (read && c && !c->closed)
			gt_conn_look(c);
	}
}

static void on_event(struct gt_watch *w, unsigned got, void *arg)
{
	struct gt_listener *l = arg;

	(void)w;
	(void)got;
	l->gw->heard = 0;
	accept_some(l, ACCEPTS_MAX, false);
}

void gt_listeners_look(struct gt_gateway *gw)
{
	if (++gw->heard < LOOK_AFTER)
		return;
	gw->heard = 0;
	for (size_t i = 0; i < GT_LISTENERS && !gw->accept_paused; i++)
		if (gw->listeners[i].watch)
			accept_some(&gw->listeners[i], LOOK_MAX, true);
}

bool gt_listener_is_proxy(const struct gt_listener *l, const char *peer)
{
	struct gt_cidr from;

	if (!l->n_proxies || !gt_cidr_parse(peer, &from))
		return false;
	for (size_t i = 0; i < l->n_proxies; i++)
		if (gt_cidr_overlap(&l->proxies[i], &from))
			return true;
	return false;
}

void gt_listeners_room(struct gt_gateway *gw)
{
	if (!gw->accept_full)
		return;
	gt_timer_clear(gw->loop, &gw->accept_timer);
	accept_again(gw);
}

int gt_listener_init(struct gt_listener *l, struct gt_gateway *gw, const char *proxy_from,
		     struct gt_err *err)
{
	struct gt_cidr proxies[GT_GATEWAY_PROXIES_MAX];
	int n = gt_cidr_list("proxy_from", proxy_from ? proxy_from : "", proxies,
			     GT_GATEWAY_PROXIES_MAX, err);

	*l = (struct gt_listener){ .gw = gw };
	if (n <= 0)
		return n;
	l->n_proxies = (size_t)n;
	l->proxies = gt_alloc_array(l->n_proxies, sizeof(*l->proxies));
	memcpy(l->proxies, proxies, l->n_proxies * sizeof(*l->proxies));
	return 0;
}

bool gt_listening(const struct gt_gateway *gw)
{
	return gw->listeners[GT_LISTEN_PLAIN].watch || gw->listeners[GT_LISTEN_TLS].watch;
}

int gt_gw_listen(struct gt_gateway *gw, struct gt_err *err)
{
	const int fds[GT_LISTENERS] = {
		[GT_LISTEN_PLAIN] = gw->cfg.listen_fd,
		[GT_LISTEN_TLS] = gw->cfg.tls_listen_fd,
		[GT_LISTEN_DOOR] = gw->cfg.door_fd,
	};

	for (size_t i = 0; i < GT_LISTENERS; i++) {
		struct gt_listener *l = &gw->listeners[i];

		if (fds[i] < 0)
			continue;
		if (l->tls && !gw->tls)
			return gt_err_set(err, EINVAL, "bad_config",
					  "there is no certificate for TLS");
		if (gt_loop_watch(gw->loop, fds[i], events(gw), on_event, l, &l->watch, err) < 0)
			return gt_err_wrap(err, "listen for calls");
	}
	return 0;
}

void gt_listeners_close(struct gt_gateway *gw)
{
	for (size_t i = 0; i < GT_LISTENERS; i++) {
		gt_watch_close(gw->listeners[i].watch);
		gw->listeners[i].watch = NULL;
	}
	gt_timer_clear(gw->loop, &gw->accept_timer);
}

void gt_listeners_free(struct gt_gateway *gw)
{
	gt_listeners_close(gw);
	for (size_t i = 0; i < GT_LISTENERS; i++)
		free(gw->listeners[i].proxies);
}
