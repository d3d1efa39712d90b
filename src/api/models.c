/* api/models.c - the OpenAI models that functions serve, in OpenAI's shape; running or not. A
 * caller sees those that it may call: without a valid token only the public ones, and when there
 * are none it is asked for a token, as a call would be. Clients of OpenAI pass over the member
 * `gantry`. */
#include "api_priv.h"

/* Which models the caller may see. */
struct view {
	struct gt_json json;
	bool all;
	size_t n;
};

static void write_model(struct gt_json *j, const char *id, const struct gt_function_view *v)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "id", id);
	gt_json_str(j, "object", "model");
	gt_json_u64(j, "created", v->row->created_ms / 1000);
	gt_json_str(j, "owned_by", "gantry");
	gt_json_object(j, "gantry");
	gt_json_str(j, "function", v->row->name);
	gt_json_str(j, "state", gt_function_state_name(v->state));
	gt_json_close(j, '}');
	gt_json_close(j, '}');
}

static bool visible(const struct view *view, const struct gt_function_view *v)
{
	return view->all || v->spec->access == GT_ACCESS_PUBLIC;
}

static bool add_models(const struct gt_function_view *v, void *arg)
{
	struct view *view = arg;

	for (size_t i = 0; i < v->spec->n_models && visible(view, v); i++, view->n++)
		write_model(&view->json, v->spec->models[i], v);
	return true;
}

void gt_api_list_models(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_err err = { 0 };
	struct view view = { .all = gt_api_trusts(req, api) };

	gt_json_begin(&view.json, &body);
	gt_json_object(&view.json, NULL);
	gt_json_str(&view.json, "object", "list");
	gt_json_array(&view.json, "data");
	gt_control_functions(api->config.control, "", "", add_models, &view);
	gt_json_close(&view.json, ']');
	gt_json_close(&view.json, '}');
	if (!view.n && gt_api_admit(req, GT_ROLE_TOKEN, api, &err) < 0)
		gt_api_fail(req, &err);
	else
		gt_api_reply(req, 200, &body);
}

void gt_api_get_model(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	const char *id = gt_request_param(req, "model");
	const char *function = gt_control_model(api->config.control, id);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_function_view v;
	struct gt_err err = { 0 };
	struct view view = { .all = gt_api_trusts(req, api) };
	bool found = function && gt_control_function(api->config.control, function, &v, NULL) == 0;

	if ((!found || !visible(&view, &v)) && gt_api_admit(req, GT_ROLE_TOKEN, api, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	if (!found) {
		gt_err_set(&err, ENOENT, "model_not_found",
			   "no function serves the model \"%.128s\"; GET /v1/models lists them",
			   id);
		gt_api_fail(req, &err);
		return;
	}
	gt_json_begin(&view.json, &body);
	write_model(&view.json, id, &v);
	gt_api_reply(req, 200, &body);
}
