/* control/task.h, private - durable calls (task.c), and what a result means (verdict.c). */
#ifndef GANTRY_SRC_CONTROL_TASK_H
#define GANTRY_SRC_CONTROL_TASK_H

#include <gantry/control/task.h>

#include "control_priv.h"

/* Fills next, counts and due_ms from what happened and the function's `retry`. */
void gt_ctl_verdict(struct gt_control *c, struct gt_task_result *r);

/* Where there is no store for calls, each of these does nothing. */
struct gt_ctl_tasks *gt_ctl_tasks_new(struct gt_control *c);
void gt_ctl_tasks_free(struct gt_control *c);
/* Gives the store an operation of control's own. */
void gt_ctl_task_send(struct gt_control *c, struct gt_task_op *op GT_TAKES, gt_task_fn *done);
void gt_ctl_tasks_accepted(struct gt_control *c, const struct gt_task_op *op); /* it has tasks[] */
int gt_ctl_by_seq(const void *a, const void *b);                               /* for qsort */

/* started.c: an exchange says what runs; an attempt is over; a gateway's life is. */
void gt_ctl_started_take(struct gt_control *c, const struct gt_task_op *op);
void gt_ctl_started_drop(struct gt_control *c, uint64_t seq, uint32_t attempt);
void gt_ctl_started_session_end(struct gt_control *c, uint64_t session);
void gt_ctl_started_free(struct gt_control *c);
void gt_ctl_tasks_tick(struct gt_control *c);
uint64_t gt_ctl_tasks_due(const struct gt_control *c);
void gt_ctl_tasks_gateway_down(struct gt_control *c, const char *gateway);
uint32_t gt_ctl_tasks_queued(const struct gt_control *c, const char *function);

#endif
