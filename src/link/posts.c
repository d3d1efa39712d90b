/* posts.c - upward: reports of nodes, demand of gateways, and their durable calls. */
#include <gantry/base/cleanup.h>

#include "link_priv.h"

static void answer(struct gt_request *req, int r, const struct gt_err *err, void *app)
{
	if (r < 0)
		gt_link_refuse(req, err, app);
	else
		gt_request_reply(req, 204, NULL, NULL);
}

/* The name in the body must be the one in the path: a peer speaks for itself only. */
static int check_name(const struct gt_request *req, const char *param, const char *name,
		      struct gt_err *err)
{
	if (gt_streq(gt_request_param(req, param), name))
		return 0;
	return gt_err_set(err, EINVAL, "bad_parameter", "the body is of %s \"%s\"", param, name);
}

void gt_link_post_report(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_report report = { 0 };
	struct gt_err err = { 0 };

	int r = gt_report_read(body->data ? body->data : "", body->len, &report, &err);
	if (r == 0)
		r = check_name(req, "node", report.node, &err);
	if (r == 0)
		r = gt_control_report(link->config.control, &report, &err);
	gt_report_fini(&report);
	answer(req, r, &err, link);
}

void gt_link_post_demand(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_demand demand = { 0 };
	struct gt_err err = { 0 };

	int r = gt_demand_read(body->data ? body->data : "", body->len, &demand, &err);
	if (r == 0)
		r = check_name(req, "gateway", demand.gateway, &err);
	if (r == 0)
		r = gt_control_demand(link->config.control, &demand, &err);
	gt_demand_fini(&demand);
	answer(req, r, &err, link);
}

/* ---- durable calls: answered when the store has them ---------------------------------------- */

static void on_exchanged(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_link_owed *x = arg;
	struct gt_link *link = x->link;
	struct gt_request *req = x->req;
	struct gt_buf body = { 0 };

	gt_link_owed_free(x);
	if (req && err) {
		gt_link_refuse(req, err, link);
	} else if (req) {
		gt_buf_init(&body, GT_LINK_QUEUED_MAX);
		gt_leases_write(op, &body);
		gt_request_reply(req, body.failed ? 500 : 200, "application/octet-stream", &body);
		gt_buf_fini(&body);
	}
	gt_task_op_free(op);
}

void gt_link_post_calls(struct gt_request *req, void *app)
{
	struct gt_link *link = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_task_op *op = NULL;
	struct gt_err err = { 0 };
	struct gt_link_owed *x;
	uint64_t epoch = 0;

	int r = gt_exchange_read(body->data ? body->data : "", body->len, &op, &epoch, &err);
	if (r == 0)
		r = check_name(req, "gateway", op->sessions[0].gateway, &err);
	if (r < 0) {
		gt_task_op_free(op);
		gt_link_refuse(req, &err, link);
		return;
	}
	x = gt_link_owe(link, req);
	r = gt_control_task_exchange(link->config.control, epoch, op, on_exchanged, x, &err);
	if (r == 0)
		return;
	gt_link_owed_free(x);
	gt_link_refuse(req, &err, link);
	gt_task_op_free(op);
}
