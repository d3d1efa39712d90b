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
/* Into live->decision; *ret_in is what it was taken from. ready, starting: replicas of the current
 * revision that stay. */
void gt_ctl_scale(struct gt_control *c, struct gt_ctl_live *live, uint32_t ready, uint32_t starting,
		  struct gt_scale_in *ret_in);

/* pressure.c: it waits for a place; makes room if others have it to spare. */
void gt_ctl_pressure(struct gt_control *c, struct gt_ctl_live *live);

#endif
