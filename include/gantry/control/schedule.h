/* control/schedule.h - schedules: control computes when each is due, has its call made in time, and
 * a replica started before. They are kept by the store; in memory are those that are due within a
 * quarter of an hour, at most GT_SCHEDULES_NEAR.
 *
 * The operations on them (GT_TASK_PLAN_PUT and on) go through gt_control_task: control checks a
 * GT_TASK_PLAN_PUT before the store sees it, and refuses one whose time, zone or function is none.
 */
#ifndef GANTRY_CONTROL_SCHEDULE_H
#define GANTRY_CONTROL_SCHEDULE_H

#include <gantry/control/control.h>
#include <gantry/model/schedule.h>

#define GT_SCHEDULES_NEAR 4096

/* Once, after gt_control_tasks_load. Before it, and without a store for calls, nothing is due. */
void gt_control_schedules_load(struct gt_control *c);
/* Fills next_ms of what a user says, and whatever it refuses GT_TASK_PLAN_PUT refuses: -EINVAL or
 * -ENOENT (invalid_schedule, function_not_found), with the member. */
GT_MUST_USE int gt_control_schedule_check(struct gt_control *c, struct gt_schedule *s,
					  struct gt_err *err);
/* When it is due next, from now on, as if it were not paused. Returns how many; 0 also for one
 * whose zone can not be read. */
size_t gt_control_schedule_times(struct gt_control *c, const struct gt_schedule *s,
				 uint64_t ret_ms[GT_SCHEDULE_TIMES]);

#endif
