/* api/op.c - see op.h. */
#include "op.h"

#include <stdlib.h>
#include <utlist.h>

void gt_api_owe(struct gt_api *api, struct gt_owed *o, void (*drop)(struct gt_owed *o))
{
	o->api = api;
	o->drop = drop;
	DL_APPEND(api->owed, o);
}

void gt_api_owe_end(struct gt_owed *o)
{
	DL_DELETE(o->api->owed, o);
}

void gt_api_owed_drop(struct gt_api *api)
{
	while (api->owed) {
		struct gt_owed *o = api->owed;

		gt_api_owe_end(o);
		o->drop(o);
	}
}

static void on_gone(void *arg)
{
	struct gt_op *op = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(op->req, &err); /* to nobody, but it must be answered */
	op->req = NULL;
}

static void drop(struct gt_owed *o)
{
	struct gt_op *op = (struct gt_op *)o;

	free(op->token);
	free(op);
}

struct gt_op *gt_op_new(struct gt_api *api, struct gt_request *req)
{
	struct gt_op *op = gt_alloc(sizeof(*op));

	op->api = api;
	op->req = req;
	op->status = 200;
	const char *function = gt_request_param(req, "function");

	if (function)
		gt_strcopy(op->function, sizeof(op->function), function);
	gt_request_on_gone(req, on_gone, op);
	gt_api_owe(api, &op->owed, drop);
	return op;
}

void gt_op_free(struct gt_op *op)
{
	if (op->req)
		gt_request_on_gone(op->req, NULL, NULL);
	gt_api_owe_end(&op->owed);
	drop(&op->owed);
}

struct gt_request *gt_op_end(struct gt_op *op)
{
	struct gt_request *req = op->req;

	gt_op_free(op);
	return req;
}
