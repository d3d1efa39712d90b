/* control/task.h, private - what a result means (verdict.c). */
#ifndef GANTRY_SRC_CONTROL_TASK_H
#define GANTRY_SRC_CONTROL_TASK_H

#include <gantry/control/task.h>

#include "control_priv.h"

/* Fills next, counts and due_ms from what happened and the function's `retry`. */
void gt_ctl_verdict(struct gt_control *c, struct gt_task_result *r);

#endif
