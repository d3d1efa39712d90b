/* place.h - the scheduler as the other files of this room see it. */
#ifndef GANTRY_CONTROL_PLACE_H
#define GANTRY_CONTROL_PLACE_H

#include "control_priv.h"

/* What a function states of memory and cpu are limits, and most replicas stay far below them: a
 * node takes limits up to this many times its size. */
#define CTL_MEMORY_OVERCOMMIT 4
#define CTL_CPU_OVERCOMMIT    16

struct gt_sched *gt_ctl_fleet_new(void);
/* Where the next replica of a function goes: booked in *ret. look, where it is not NULL: how the
 * nodes stood. */
GT_MUST_USE int gt_ctl_place(struct gt_control *c, struct gt_ctl_live *live,
			     struct gt_sched_spot *ret, struct gt_sched_look *look,
			     struct gt_err *err);
/* Likewise for all members of a gang, or none. look: for one of them. */
GT_MUST_USE int gt_ctl_place_gang(struct gt_control *c, struct gt_ctl_live *live, uint32_t size,
				  struct gt_sched_spot *ret, struct gt_sched_look *look,
				  struct gt_err *err);
/* What was just released, for its holder. */
void gt_ctl_rehold(struct gt_control *c, const struct gt_sched_spot *was,
		   struct gt_sched_spot *ret);
void gt_ctl_book(struct gt_control *c, struct gt_ctl_replica *r); /* a found one, where it is */
/* The same for one that wants its GPUs back: -EBUSY when they are another's. */
GT_MUST_USE int gt_ctl_book_again(struct gt_control *c, struct gt_ctl_replica *r);
void gt_ctl_node_tell(struct gt_control *c, const struct gt_ctl_node *node); /* it has changed */

#endif
