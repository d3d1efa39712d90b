/* scaling.h - what the scale room is told of a function. */
#ifndef GANTRY_CONTROL_SCALING_H
#define GANTRY_CONTROL_SCALING_H

#include <gantry/model/msg.h>

struct gt_control;
struct gt_ctl_live;
struct gt_scale_in;

/* What happened to a function since its last decision. */
struct gt_ctl_sample {
	uint32_t arrivals, completions, starts;
	uint64_t service_ns, start_ns;
	uint32_t renew;
};

void gt_ctl_sample_traffic(struct gt_ctl_live *live, const struct gt_demand_function *was,
			   const struct gt_demand_function *is);
void gt_ctl_sample_start(struct gt_ctl_live *live, uint64_t start_ns);
/* A start takes that long at most, 95 times of 100, as measured lately; where nothing was, as the
 * scale room expects. NULL: of a function that was never called. */
uint64_t gt_ctl_start_high_ms(const struct gt_ctl_live *live);
/* Into live->decision; *ret_in is what it was taken from. ready, starting: replicas of the current
 * revision that stay. */
void gt_ctl_scale(struct gt_control *c, struct gt_ctl_live *live, uint32_t ready, uint32_t starting,
		  struct gt_scale_in *ret_in);

/* pressure.c: it waits for a place; makes room if others have it to spare. True: room is on its
 * way, or will be made in time. */
bool gt_ctl_pressure(struct gt_control *c, struct gt_ctl_live *live);
/* It was decided for: a promise that it did not use, though the room is there, is void. */
void gt_ctl_promise_check(struct gt_control *c, struct gt_ctl_live *live);
/* Room on this node is promised to another function that waits. */
bool gt_ctl_room_promised(const struct gt_control *c, const struct gt_ctl_live *live,
			  uint32_t node);

#endif
