/* control/schedule.h, private - calls that are made by the clock (schedule.c). */
#ifndef GANTRY_SRC_CONTROL_SCHEDULE_H
#define GANTRY_SRC_CONTROL_SCHEDULE_H

#include <gantry/control/schedule.h>
#include <gantry/cron/cron.h>

#include "control_priv.h"

/* Where there is no store for calls, each of these does nothing. */
void gt_ctl_schedules_free(struct gt_control *c);
void gt_ctl_schedules_tick(struct gt_control *c);
uint64_t gt_ctl_schedules_due(const struct gt_control *c);
void gt_ctl_schedule_said(struct gt_control *c, const struct gt_task_op *op); /* it is stored */

/* timing.c: zones, and what a schedule says as times. The zone is control's. */
GT_MUST_USE int gt_ctl_timing(struct gt_control *c, const struct gt_schedule *s,
			      struct gt_timing *ret, struct gt_err *err);
void gt_ctl_zones_free(struct gt_control *c);

#endif
