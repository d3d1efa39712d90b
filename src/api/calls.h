/* api/calls.h - what the files about durable calls share. */
#ifndef GANTRY_SRC_API_CALLS_H
#define GANTRY_SRC_API_CALLS_H

#include <gantry/control/task.h>

#include "op.h"

#define GT_CALL_WAIT_DEFAULT_S 300 /* of a POST that does not say what it prefers */
#define GT_CALL_WAIT_MAX_S     3600

/* call_view.c */
void gt_view_call(struct gt_json *j, const struct gt_task *t,
		  const struct gt_task_attempt *attempts, size_t n); /* attempts NULL: left out */
void gt_view_start(struct gt_json *j, const char *name, const struct gt_task_start *s);
void gt_view_attempt(struct gt_json *j, const char *name, const struct gt_task_attempt *a);
void gt_api_reply_call(struct gt_request *req, int status, const struct gt_task *t,
		       const struct gt_task_attempt *attempts, size_t n);
/* The answer of the function, or why there is none. 202 while there is no result yet. */
void gt_api_reply_result(struct gt_request *req, struct gt_task_op *op);
void gt_api_call_digest(const struct gt_task *t, char out[GT_TASK_PRINT_SIZE]);

/* call_wait.c */
enum gt_wait_for { GT_WAIT_CALL, GT_WAIT_RESULT };
/* Answers when the call has ended, or after the wait: with what there is then. 202: how a call that
 * goes on is told. */
void gt_api_wait_start(struct gt_api *api, struct gt_request *req, const char *id,
		       enum gt_wait_for what, uint64_t wait_ms);

/* calls.c: the key of a request, and a call that is ready to be taken in. */
GT_MUST_USE int gt_api_call_key(struct gt_request *req, struct gt_task *t, struct gt_err *err);
void gt_api_call_submit(struct gt_api *api, struct gt_request *req,
			struct gt_task_op *task GT_TAKES, uint64_t wait_ms);
/* Hands an operation to control; a refusal is answered, and ends `op`. */
void gt_call_give(struct gt_op *op, struct gt_task_op *task GT_TAKES, gt_task_fn *done);

#endif
