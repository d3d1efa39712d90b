/* replica.h - one replica from its order to its end, and what its failures do to its function. */
#ifndef GANTRY_CONTROL_REPLICA_H
#define GANTRY_CONTROL_REPLICA_H

#include <gantry/control/control.h>
#include <gantry/sched/sched.h>

struct gt_ctl_function;
struct gt_ctl_live;
struct gt_ctl_node;
struct gt_ctl_replica;

/* replica.c */
struct gt_ctl_replica *gt_ctl_replica_new(struct gt_control *c, struct gt_ctl_function *f,
					  const struct gt_sched_spot *spot GT_TAKES,
					  const char *reason);
/* One that a node reported and nobody knew. f NULL: a stray. */
struct gt_ctl_replica *gt_ctl_replica_adopt(struct gt_control *c, struct gt_ctl_function *f,
					    struct gt_ctl_node *node, const struct gt_observed *o);
void gt_ctl_replica_order(struct gt_control *c, const struct gt_ctl_replica *r);
void gt_ctl_replica_order_fill(const struct gt_ctl_replica *r, struct gt_order *o);
/* Drains a ready one, stops any other at once; force: kills it. */
void gt_ctl_replica_leave(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
			  bool force);
/* Orders the stop when no gateway has a call on it any more or time is up. */
void gt_ctl_replica_drain_check(struct gt_control *c, struct gt_ctl_replica *r);
void gt_ctl_replica_ready(struct gt_control *c, struct gt_ctl_replica *r);
/* It is gone; r is freed or becomes history. */
void gt_ctl_replica_ended(struct gt_control *c, struct gt_ctl_replica *r,
			  enum gt_replica_state state, const struct gt_end *end);
void gt_ctl_replica_orphan(struct gt_control *c, struct gt_ctl_replica *r); /* its function goes */
void gt_ctl_replica_free(struct gt_ctl_replica *r);

/* backoff.c */
void gt_ctl_failure_note(struct gt_control *c, struct gt_ctl_replica *r, const struct gt_end *end);
void gt_ctl_failure_refuse(struct gt_ctl_live *live, const struct gt_end *end, uint64_t until_ns);
void gt_ctl_failure_clear(struct gt_ctl_live *live);  /* success: waiters are no longer refused */
void gt_ctl_failure_forget(struct gt_ctl_live *live); /* a deploy: all is new */

#endif
