/* net/net.h - the node's side of containers' networks: addresses, the bridge or routes, the packet
 * filter with NAT. A container's side is made by its own process 1 while it is staged. As root
 * only; loop thread only. */
#ifndef GANTRY_NET_NET_H
#define GANTRY_NET_NET_H

#include <gantry/base/err.h>

struct gt_net;

#endif
