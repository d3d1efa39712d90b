/* held.h - slots of replicas that calls of other gateways have. Each shard knows of all: nobody
 * else can tell whose function a replica serves, and it may be told of before its route is. */
#ifndef GANTRY_GATEWAY_HELD_H
#define GANTRY_GATEWAY_HELD_H

#include "holds.h"

/* Whose calls they are. */
#define GT_HELD_BEFORE 0 /* the gateway that this one takes the place of: handover.c */
#define GT_HELD_LED    1 /* from here on: those that led before; holds.c */
#define GT_HELD_BY     (GT_HELD_LED + 2 * GT_HOLDS_MAX)

#define GT_HELD_MAX 16384 /* replicas */

/* That one has so many more, or fewer: who can run here then runs. -ENOSPC: too many replicas. */
int gt_held_change(struct gt_gateway *gw, unsigned by, const char *replica, int64_t change);
void gt_held_forget(struct gt_gateway *gw, unsigned by); /* it has none any more */
bool gt_held_any(struct gt_gateway *gw, unsigned by);
void gt_held_applied(struct gt_gateway *gw, struct gt_fn *fn); /* its route came */
void gt_held_free(struct gt_gateway *gw);
/* What the gateway before this one has. */
void gt_held_before(struct gt_gateway *gw, void (*fn)(const char *replica, uint32_t n, void *arg),
		    void *arg);
/* The replica, where its function is at home here; NULL: it is not, or it takes no calls. */
struct gt_target *gt_held_target(struct gt_gateway *gw, const char *replica);

#endif
