/* http/outbound.h - whom this daemon may call for a user: addresses of the public Internet, and
 * what the operator adds. Checked on the address that is connected to, after names were resolved,
 * so that no name leads inside. Pure. */
#ifndef GANTRY_HTTP_OUTBOUND_H
#define GANTRY_HTTP_OUTBOUND_H

#include <gantry/base/cidr.h>

struct sockaddr;

#define GT_OUTBOUND_ALLOWED_MAX 32

struct gt_outbound {
	struct gt_cidr allowed[GT_OUTBOUND_ALLOWED_MAX]; /* though it is not public */
	size_t n_allowed;
};

/* Not loopback, private, link-local (where clouds keep their metadata), multicast, reserved, or an
 * address that stands for another one. */
bool gt_outbound_permits(const struct gt_outbound *o, const struct sockaddr *address);
/* http:// or https:// with a host and no user; printable. */
bool gt_outbound_url_ok(const char *url);

#endif
