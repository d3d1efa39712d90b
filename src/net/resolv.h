/* resolv.h - name servers for replicas, out of a resolv.conf that was made for the host. */
#ifndef NET_RESOLV_H
#define NET_RESOLV_H

#include <gantry/net/net.h>

#include <gantry/base/cidr.h>

#define GT_RESOLV_SERVERS_MAX 3 /* what C libraries ask */

struct gt_resolv {
	struct gt_cidr servers[GT_RESOLV_SERVERS_MAX];
	size_t n_servers;
	char rest[GT_NET_RESOLV_SIZE - 256]; /* "search" and "options" lines */
};

/* Takes what a replica can use: no servers on a loopback, unspecified or link-local address, none
 * of a family that is off, no line with anything but printable ASCII. Never fails. */
void gt_resolv_parse(const char *text, size_t len, bool has4, bool has6, struct gt_resolv *ret);
/* The first of these files that has a usable server; n_servers is 0 when none has. */
void gt_resolv_find(const char *const *paths, size_t n, bool has4, bool has6,
		    struct gt_resolv *ret);
void gt_resolv_write(const struct gt_resolv *r, char out[GT_NET_RESOLV_SIZE]);

#endif
