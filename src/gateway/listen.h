/* listen.h - the listening socket. */
#ifndef GANTRY_GATEWAY_LISTEN_H
#define GANTRY_GATEWAY_LISTEN_H

#include <gantry/base/cidr.h>
#include <gantry/loop/loop.h>

enum { GT_LISTEN_PLAIN, GT_LISTEN_TLS, GT_LISTEN_DOOR, GT_LISTENERS };

struct gt_gateway;

struct gt_listener {
	struct gt_gateway *gw;
	struct gt_watch *watch;  /* NULL: takes no connections (any more) */
	struct gt_cidr *proxies; /* whose connections begin with a PROXY header */
	size_t n_proxies;
	bool tls;
	bool door; /* a unix socket: control asks agents of other nodes through it */
};

GT_MUST_USE int gt_listener_init(struct gt_listener *l, struct gt_gateway *gw,
				 const char *proxy_from, struct gt_err *err);
GT_MUST_USE int gt_gw_listen(struct gt_gateway *gw, struct gt_err *err);
bool gt_listening(const struct gt_gateway *gw);
bool gt_listener_is_proxy(const struct gt_listener *l, const char *peer);
void gt_listeners_room(struct gt_gateway *gw); /* a connection ended */
/* Something was heard of a client. Where much is, who comes anew is not left behind all of that,
 * and is heard at once: those that ask for health come so. */
void gt_listeners_look(struct gt_gateway *gw);
void gt_listeners_close(struct gt_gateway *gw); /* no more connections */
void gt_listeners_free(struct gt_gateway *gw);

#endif
