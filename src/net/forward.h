/* forward.h - whether the kernel passes packets on between interfaces. */
#ifndef NET_FORWARD_H
#define NET_FORWARD_H

#include "route.h"

/* IPv6 is in the kernel, and new interfaces have it. */
bool gt_forward_has6(void);
/* The interfaces that lead out take answers for replicas: turned on for each alone when it is not
 * and `may`. -EPERM names what the operator must set; -EOPNOTSUPP: this kernel can turn on IPv6
 * forwarding only for the whole host, which then ignores router advertisements. */
int gt_forward_on(const struct gt_uplinks *uplinks, bool v6, bool may, struct gt_err *err);

#endif
