/* parking.h - idle replicas stay in the memory of their node instead of being stopped. Control
 * decides and orders; the node carries out, and may refuse. */
#ifndef GANTRY_CONTROL_PARKING_H
#define GANTRY_CONTROL_PARKING_H

#include <gantry/control/control.h>

struct gt_ctl_live;
struct gt_ctl_replica;

/* What parking has cost a function. */
struct gt_ctl_parking {
	bool able;                 /* some node has said that it can park its replicas */
	uint64_t park_ms, wake_ms; /* means of the last ones; 0 = none yet */
	uint64_t parks, wakes, refused;
	uint64_t park_sum_ms, wake_sum_ms;
};

/* A ready one takes no new call from here on; when the last has ended its node parks it. False: it
 * can not be parked at all, or not now (then park_retry_ns says when). for_: the function that gets
 * its place; NULL = it is idle. */
bool gt_ctl_park(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
		 struct gt_ctl_live *for_);
/* As far as its node knows; park_retry_ns may be in the way for a while. */
bool gt_ctl_parkable(const struct gt_ctl_replica *r);
/* Orders it when no gateway has a call on it any more, and there is memory for it. */
void gt_ctl_park_check(struct gt_control *c, struct gt_ctl_replica *r);
/* What of its node's memory is for what it has on its GPUs, while it is parked. */
uint64_t gt_ctl_park_gpu_bytes(const struct gt_ctl_replica *r);
/* When its time is over: as a parked one, or on its way there or back; CTL_NEVER. */
uint64_t gt_ctl_park_due(const struct gt_ctl_replica *r);
void gt_ctl_park_late(struct gt_control *c, struct gt_ctl_replica *r); /* if so, it goes */
/* One of the function that is parked, or about to be, comes back. False: there is none, or its GPUs
 * are in use. */
bool gt_ctl_unpark_one(struct gt_control *c, struct gt_ctl_live *live);
/* Whether its GPUs are free, as far as the books know. */
bool gt_ctl_unpark_fits(struct gt_control *c, const struct gt_ctl_replica *r);
/* Two of the function: how long one takes to leave, and to come back. */
uint64_t gt_ctl_park_ms(const struct gt_ctl_live *live);
uint64_t gt_ctl_wake_ms(const struct gt_ctl_live *live);

/* What a node saw. */
void gt_ctl_observe_parked(struct gt_control *c, struct gt_ctl_replica *r,
			   const struct gt_observed *o);
/* It is ready, and was not when it was last looked at. */
void gt_ctl_observe_back(struct gt_control *c, struct gt_ctl_replica *r,
			 const struct gt_observed *o);
/* It has ended: others on its node may wait for the memory. */
void gt_ctl_park_ended(struct gt_control *c, const struct gt_ctl_replica *r);

#endif
