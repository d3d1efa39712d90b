/* api/nodes.c - nodes: where replicas run, and where they shall not. */
#include "op.h"

#include <string.h>

#define DEADLINE_MS   (10 * 60000ULL) /* of a drain */
#define DEADLINE_MOST (7 * 86400000ULL)

static const char *const no_query[] = { NULL };

/* ---- reading -------------------------------------------------------------------------------- */

static bool add_node(const struct gt_node_view *v, void *arg)
{
	gt_view_node(arg, v);
	return true;
}

void gt_api_list_nodes(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	if (!gt_api_query(req, no_query))
		return;
	gt_api_list_begin(&j, &body);
	gt_control_nodes(api->config.control, add_node, &j);
	gt_api_list_reply(req, &j, &body);
}

struct search {
	const char *name;
	struct gt_buf *body;
	bool found;
};

static bool find_node(const struct gt_node_view *v, void *arg)
{
	struct search *s = arg;
	struct gt_json j;

	if (!gt_streq(v->name, s->name))
		return true;
	s->found = true;
	gt_json_begin(&j, s->body);
	gt_view_node(&j, v);
	return false;
}

static void show(struct gt_request *req, struct gt_control *control)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct search s = { .name = gt_request_param(req, "node"), .body = &body };
	struct gt_err err = { 0 };

	gt_control_nodes(control, find_node, &s);
	if (s.found) {
		gt_api_reply(req, 200, &body);
		return;
	}
	gt_err_set(&err, ENOENT, "not_found", "there is no node %.80s", s.name);
	gt_api_fail(req, &err);
}

void gt_api_get_node(struct gt_request *req, void *app)
{
	if (gt_api_query(req, no_query))
		show(req, ((struct gt_api *)app)->config.control);
}

/* The node knows its GPUs. */
void gt_api_clear_gpu(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	const char *gpu = gt_request_param(req, "gpu");
	gt_auto(buf) struct gt_buf body = { 0 };
	struct search s = { .name = gt_request_param(req, "node"), .body = &body };
	struct gt_err err = { 0 };

	if (!gt_api_query(req, no_query))
		return;
	gt_control_nodes(api->config.control, find_node, &s);
	if (s.found && gt_gpu_uuid_ok(gpu) && !strchr(gpu, '/')) {
		gt_auto(free) char *path = gt_asprintf("gpus/%s/clear", gpu);

		gt_api_forward(api, req, s.name, path, false);
		return;
	}
	gt_err_set(&err, ENOENT, "not_found", "there is no node %.80s with a GPU %.80s", s.name,
		   gpu);
	gt_api_fail(req, &err);
}

/* ---- changing ------------------------------------------------------------------------------- */

static void on_set(const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err)
		gt_api_fail(op->req, err);
	else if (op->req)
		show(op->req, op->api->config.control);
	op->req = NULL;
	gt_op_free(op);
}

static void set(struct gt_request *req, struct gt_api *api, enum gt_node_duty duty,
		uint64_t deadline_ms)
{
	gt_control_node_set(api->config.control, gt_request_param(req, "node"), duty, deadline_ms,
			    on_set, gt_op_new(api, req));
}

void gt_api_cordon_node(struct gt_request *req, void *app)
{
	if (gt_api_query(req, no_query))
		set(req, app, GT_DUTY_CORDONED, 0);
}

void gt_api_uncordon_node(struct gt_request *req, void *app)
{
	if (gt_api_query(req, no_query))
		set(req, app, GT_DUTY_ALL, 0);
}

void gt_api_drain_node(struct gt_request *req, void *app)
{
	static const char *const known[] = { "deadline", NULL };
	uint64_t deadline_ms = DEADLINE_MS;

	if (gt_api_query(req, known) &&
	    gt_api_duration(req, "deadline", DEADLINE_MOST, &deadline_ms))
		set(req, app, GT_DUTY_DRAINING, deadline_ms);
}

static void on_deleted(const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err)
		gt_api_fail(op->req, err);
	else if (op->req)
		gt_api_reply_deleted(op->req, "name", gt_request_param(op->req, "node"));
	op->req = NULL;
	gt_op_free(op);
}

void gt_api_delete_node(struct gt_request *req, void *app)
{
	static const char *const known[] = { "force", NULL };
	struct gt_api *api = app;
	bool force = false;

	if (gt_api_query(req, known) && gt_api_flag(req, "force", &force))
		gt_control_node_delete(api->config.control, gt_request_param(req, "node"), force,
				       on_deleted, gt_op_new(api, req));
}
