/* api/op.c - see op.h. */
#include "op.h"

static void on_gone(void *arg)
{
	struct gt_op *op = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(op->req, &err); /* to nobody, but it must be answered */
	op->req = NULL;
}

struct gt_op *gt_op_new(struct gt_api *api, struct gt_request *req)
{
	struct gt_op *op = gt_alloc(sizeof(*op));

	op->req = req;
	op->control = api->config.control;
	const char *function = gt_request_param(req, "function");

	if (function)
		gt_strcopy(op->function, sizeof(op->function), function);
	gt_request_on_gone(req, on_gone, op);
	return op;
}

void gt_op_free(struct gt_op *op)
{
	if (op->req)
		gt_request_on_gone(op->req, NULL, NULL);
	free(op);
}
