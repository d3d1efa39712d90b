/* control/task.h - durable calls, as control has them: it counts those that wait for each function,
 * gives them to gateways under leases, and says what a result means. The calls themselves are the
 * store's: nothing is kept here for each of them.
 *
 * Operations (model/task.h) are made by who asks; `asker` gets each back exactly once, and owns it
 * then. err is NULL on success. */
#ifndef GANTRY_CONTROL_TASK_H
#define GANTRY_CONTROL_TASK_H

#include <gantry/control/control.h>
#include <gantry/model/task.h>

/* How many calls wait: after the stored functions were loaded, and whenever the store has lost the
 * thread (gt_store_recount). What is known is replaced. */
void gt_control_tasks_load(struct gt_control *c);
/* ACCEPT, CANCEL, REPLAY, what is about schedules (schedule.h), and what only reads. Refused at
 * once, with op left to the caller: -EAGAIN (queue_full) when GT_TASK_QUEUED_MAX calls wait for the
 * function of the first task; -ENOTSUP (unavailable) without a store for them. */
GT_MUST_USE int gt_control_task(struct gt_control *c, struct gt_task_op *op GT_TAKES,
				gt_task_fn *asker, void *arg, struct gt_err *err);
/* EXCHANGE: what one life of a gateway (op->sessions[0]) has to tell and room for. -ESTALE for one
 * that is of another epoch. */
GT_MUST_USE int gt_control_task_exchange(struct gt_control *c, uint64_t epoch,
					 struct gt_task_op *op GT_TAKES, gt_task_fn *asker,
					 void *arg, struct gt_err *err);
/* The replica that has this attempt now, as its gateway told (within some 50 ms); NULL: none, or it
 * is not known yet. on_task_changed tells when there is one. Borrowed. */
const struct gt_task_start *gt_control_task_start(const struct gt_control *c, uint64_t seq,
						  uint32_t attempt);
/* One call for each function with calls that wait: what on_task_work told. */
void gt_control_task_work(struct gt_control *c,
			  void (*fn)(const char *function, uint64_t seen, void *arg), void *arg);

struct gt_task_counts {
	uint64_t queued, accepted, leased, succeeded, failed, retried, returned, stale;
};
void gt_control_task_counts(const struct gt_control *c, struct gt_task_counts *ret);

#endif
