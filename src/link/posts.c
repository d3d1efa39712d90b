/* posts.c - upward: reports of nodes, demand of gateways. */
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
