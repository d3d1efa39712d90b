/* listen.c - the listening socket: taking connections, and not more than there may be. */
#include "conn.h"

#include <stdlib.h>
#include <string.h>

#define ACCEPTS_MAX    64 /* a round */
#define NO_FD_PAUSE_MS 100

static void set_accepting(struct gt_gateway *gw, bool on)
{
	if (!gw->listener.watch || gw->accept_paused != on)
		return;
	if (gt_watch_set(gw->listener.watch, on ? GT_EV_READ : 0, NULL) == 0)
		gw->accept_paused = !on;
}

static void accept_again(void *arg)
{
	set_accepting(arg, true);
}

static void accept_some(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_listener *l = arg;
	struct gt_gateway *gw = l->gw;

	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		char peer[INET6_ADDRSTRLEN];

		if (gw->n_conns >= gw->cfg.connections_max) {
			set_accepting(gw, false); /* the kernel's backlog holds the others */
			return;
		}
		int fd = gw->port->accept(gt_watch_fd(w), peer);

		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) {
			set_accepting(gw, false);
			gt_timer_set(gw->loop, &gw->accept_timer, NO_FD_PAUSE_MS, accept_again, gw);
			return;
		}
		if (fd == -EAGAIN)
			return;
		if (fd >= 0) /* else that client is gone already */
			gt_conn_accept(l, fd, peer);
	}
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
	if (gw->accept_paused && !gt_timer_is_set(&gw->accept_timer))
		set_accepting(gw, true);
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

int gt_gw_listen(struct gt_gateway *gw, struct gt_err *err)
{
	struct gt_listener *l = &gw->listener;
	int r = gt_loop_watch(gw->loop, gw->cfg.listen_fd, GT_EV_READ, accept_some, l, &l->watch,
			      err);

	return r < 0 ? gt_err_wrap(err, "listen for calls") : 0;
}

void gt_listeners_close(struct gt_gateway *gw)
{
	gt_watch_close(gw->listener.watch);
	gw->listener.watch = NULL;
	gt_timer_clear(gw->loop, &gw->accept_timer);
}

void gt_listeners_free(struct gt_gateway *gw)
{
	gt_listeners_close(gw);
	free(gw->listener.proxies);
}
