/* route.h - the host's routes: whether a subnet is free, which interfaces lead out, and the one
 * route that keeps the subnet ours. */
#ifndef NET_ROUTE_H
#define NET_ROUTE_H

#include <net/if.h>

#include <gantry/base/err.h>

#include <gantry/base/cidr.h>

#define GT_UPLINKS_MAX 8

struct gt_uplinks {
	char names[GT_UPLINKS_MAX][IF_NAMESIZE]; /* of the default routes, each once */
	size_t n;
};

/* Goes through the routes of the subnet's family. -EADDRINUSE with the route in the text when one
 * other than ours overlaps it: ours have a link whose name begins with `prefix`, or `mark`. */
int gt_route_scan(const struct gt_cidr *subnet, const char *prefix, uint32_t mark,
		  struct gt_uplinks *ret, struct gt_err *err);
/* "Unreachable" for what has no replica: nothing of the subnet ever leaves by a default route, and
 * another daemon sees that it is taken. `mark` (the route's priority) tells whose it is. */
int gt_route_reserve(const struct gt_cidr *subnet, uint32_t mark, struct gt_err *err);
/* Removes every such route with this mark, of both families. */
int gt_route_release(uint32_t mark, struct gt_err *err);

#endif
