/* proxy.h - the PROXY protocol, version 2: what a load balancer puts before a connection's bytes to
 * say whose they are. Bytes in, verdict out; the verdict does not depend on how they were cut. */
#ifndef GANTRY_GATEWAY_PROXY_H
#define GANTRY_GATEWAY_PROXY_H

#include <netinet/in.h>

#include <gantry/base/base.h>

#define GT_PROXY_FIXED 16   /* signature, command, family, length */
#define GT_PROXY_ADDRS 36   /* two IPv6 addresses, two ports */
#define GT_PROXY_MAX   4096 /* addresses and what may follow them, which is passed over */

enum gt_proxy_event { GT_PROXY_MORE, GT_PROXY_DONE, GT_PROXY_BAD };

struct gt_proxy {
	uint8_t head[GT_PROXY_FIXED + GT_PROXY_ADDRS];
	size_t have, size; /* size: of the whole header, once it is known; else the fixed part */
	const char *why;   /* after GT_PROXY_BAD */
	char peer[INET6_ADDRSTRLEN]; /* after GT_PROXY_DONE; "": the connection is the proxy's own
				      */
};

void gt_proxy_begin(struct gt_proxy *p);
/* How many bytes to read next: never one of what follows the header. */
size_t gt_proxy_wants(const struct gt_proxy *p);
/* len <= gt_proxy_wants(). */
enum gt_proxy_event gt_proxy_feed(struct gt_proxy *p, const char *data, size_t len);

#endif
