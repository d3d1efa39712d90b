/* tasks.h - durable calls in a gateway: tasks.c asks control for them and gives results back
 * (shard 0), task_run.c runs each as a call of its function, at that function's home. */
#ifndef GANTRY_GATEWAY_TASKS_H
#define GANTRY_GATEWAY_TASKS_H

#include <gantry/model/task.h>

#include "calls.h"

#define GT_TASK_CALLER UINT64_MAX /* to the queue all of them are one caller */

/* Of a call that was cancelled and replayed there may be two: the one that ends, and the next. */
struct gt_lease_key {
	uint64_t seq, attempt;
};

/* A lease. Shard 0 made it and frees it; between, its home has it, and nobody else looks at what is
 * under "home's". */
struct gt_task_run {
	struct gt_mail mail;
	struct gt_task task;
	struct gt_lease_key key; /* of task */
	/* home's */
	struct gt_gateway *gw;
	struct gt_conn *conn; /* NULL before and after */
	struct gt_buf req;    /* as a client would send it; the body lies in task */
	size_t sent;          /* of both */
	struct gt_h1 resp;
	bool answered; /* to its end */
	bool cut;      /* the end of the connection is not the end of the answer */
	bool stopped;  /* control does not want it any more */
	struct gt_buf body;
	struct gt_task_result result;
	UT_hash_handle hh; /* by key: those at home here */
	/* shard 0's */
	struct gt_task_fn *fn;
	bool ended;
	bool untold;                     /* that a replica has it, control has not heard, since: */
	uint64_t start_ns;               /* monotonic */
	struct gt_task_start start;      /* seq 0: none has it */
	UT_hash_handle hh_held;          /* by key: all leases */
	struct gt_task_run *prev, *next; /* whose start, or then end, is not told yet */
};

/* tasks.c. All but the last for shard 0. */
void gt_tasks_work(struct gt_gateway *gw, const char *function, uint64_t number);
void gt_tasks_cancel(struct gt_gateway *gw, uint64_t seq, uint32_t attempt);
void gt_tasks_resync(struct gt_gateway *gw); /* a snapshot came: the next post tells everything */
bool gt_tasks_idle(const struct gt_gateway *gw); /* no lease is held: control knows all results */
void gt_tasks_ended(struct gt_gateway *gw, struct gt_task_run *run);
/* A replica has it, or another one than before. */
void gt_tasks_started(struct gt_gateway *gw, const struct gt_task_start *start);
void gt_tasks_free(struct gt_gateway *gw);

void gt_gw_settled(struct gt_gateway *gw); /* gateway.c: none is held any more */

/* task_run.c */
struct gt_task_run *gt_task_run_new(struct gt_task *task GT_TAKES);
void gt_task_run_free(struct gt_task_run *run);
void gt_task_run_start(struct gt_gateway *gw, struct gt_task_run *run);       /* at its home */
void gt_task_run_stop(struct gt_gateway *gw, const struct gt_lease_key *key); /* the same */
/* What becomes of its call. */
void gt_task_run_slot(struct gt_task_run *run, const struct gt_call *call);
void gt_task_run_refused(struct gt_task_run *run, const struct gt_refusal *why);
void gt_task_run_over(struct gt_task_run *run, const struct gt_call *call);

#endif
