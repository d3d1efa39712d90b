/* api/meta.c - the daemon about itself. */
#include "api_priv.h"

void gt_api_get_version(struct gt_request *req, void *app GT_UNUSED)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "name", "gantry");
	gt_json_str(&j, "version", GT_VERSION);
	gt_json_str(&j, "api", "v1");
	gt_json_close(&j, '}');
	gt_api_reply(req, 200, &body);
}

void gt_api_get_live(struct gt_request *req, void *app GT_UNUSED)
{
	gt_auto(buf) struct gt_buf body = { 0 };

	gt_buf_adds(&body, "{\"status\":\"ok\"}");
	gt_api_reply(req, 200, &body);
}

static bool is_up(const struct gt_node_view *v, void *arg)
{
	bool *up = arg;

	*up = *up || v->state == GT_NODE_READY;
	return !*up;
}

void gt_api_get_ready(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	struct gt_err err = { 0 };
	bool up = false;

	gt_control_nodes(api->config.control, is_up, &up);
	if (up) {
		gt_api_get_live(req, app);
		return;
	}
	gt_err_set(&err, EAGAIN, "unavailable",
		   "no node takes replicas; is the agent running, or is every node cordoned?");
	gt_api_fail(req, &err);
}

void gt_api_get_contract(struct gt_request *req, void *app GT_UNUSED)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	size_t len;
	const char *text = gt_api_contract(&len);

	gt_buf_add(&body, text, len);
	gt_request_reply(req, 200, "application/yaml", &body);
}
