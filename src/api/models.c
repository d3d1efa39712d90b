/* api/models.c - the OpenAI models that functions serve, in OpenAI's shape; running or not. */
#include "api_priv.h"

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

static bool add_models(const struct gt_function_view *v, void *arg)
{
	for (size_t i = 0; i < v->spec->n_models; i++)
		write_model(arg, v->spec->models[i], v);
	return true;
}

void gt_api_list_models(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "object", "list");
	gt_json_array(&j, "data");
	gt_control_functions(api->config.control, "", "", add_models, &j);
	gt_json_close(&j, ']');
	gt_json_close(&j, '}');
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
	struct gt_json j;

	if (!function || gt_control_function(api->config.control, function, &v, NULL) < 0) {
		gt_err_set(&err, ENOENT, "model_not_found",
			   "no function serves the model \"%.128s\"; GET /v1/models lists them",
			   id);
		gt_api_fail(req, &err);
		return;
	}
	gt_json_begin(&j, &body);
	write_model(&j, id, &v);
	gt_api_reply(req, 200, &body);
}
