#ifndef GANTRY_UPLINK_JOIN_H
#define GANTRY_UPLINK_JOIN_H

#include "uplink_priv.h"

struct join;
typedef void join_fn(struct uplink *u); /* it has joined: the files are there */
/* With config.token; a no is told by uplink_fail. fn may free it. */
GT_MUST_USE int join_new(struct uplink *u, join_fn *fn, struct join **ret, struct gt_err *err);
void join_free(struct join *j); /* NULL is fine */

#endif
