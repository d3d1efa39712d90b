/* threads.h - the threads that run the shards of one gateway. */
#ifndef GANTRY_GATEWAY_THREADS_H
#define GANTRY_GATEWAY_THREADS_H

#include "gw.h"

/* Makes n - 1 more shards beside the first one; n = 0: for each processor one. Nothing runs yet. */
GT_MUST_USE int gt_threads_new(struct gt_gateway *first, unsigned n, struct gt_err *err);
GT_MUST_USE int gt_threads_start(struct gt_gateway *first, struct gt_err *err);
void gt_threads_stop(struct gt_gateway *first); /* and waits for them; NULL is fine */

#endif
