/* up.h - connections to replicas and to control's API, the pool of idle ones, and the broker that
 * makes them. */
#ifndef GANTRY_GATEWAY_UP_H
#define GANTRY_GATEWAY_UP_H

#include "gw.h"

struct gt_conn;

#define GT_UP_IDLE_NS (4 * GT_NS_PER_S) /* then an idle one is not used any more */

/* What was a peer's connection is one to it. The connection is closed; NULL: its socket, too. */
struct gt_up *gt_up_of_conn(struct gt_conn *c);
struct gt_up *gt_up_open(struct gt_gateway *gw, int fd GT_TAKES, struct gt_target *t);
void gt_up_close(struct gt_up *up);
void gt_up_park(struct gt_up *up); /* becomes idle in its target's pool */
void gt_up_retire(struct gt_target *t);

void gt_pool_put(struct gt_up_pool *pool, struct gt_up *up);
void gt_pool_leave(struct gt_up_pool *pool, struct gt_up *up);
/* NULL: there is none that such a call may have. */
struct gt_up *gt_pool_take(struct gt_up_pool *pool, bool idempotent, uint64_t now_ns);
void gt_pool_close(struct gt_up_pool *pool); /* all that are in it */

/* dial.c */
void gt_dialer_ask(struct gt_call *call, const char *replica);
void gt_dialer_cancel(struct gt_dial *dial);
void gt_dialer_close(struct gt_gateway *gw);
void gt_dialer_forget(struct gt_gateway *gw); /* frees the questions; their calls are gone */

#endif
