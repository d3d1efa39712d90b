/* api/replicas.c - replicas: what runs. */
#include "api_priv.h"

static const char *const no_query[] = { NULL };

/* ---- replicas ------------------------------------------------------------------------------- */

static bool add_replica(const struct gt_replica_view *v, void *arg)
{
	gt_view_replica(arg, v);
	return true;
}

void gt_api_list_replicas(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_function_view v;
	struct gt_json j;

	if (!gt_api_query(req, no_query) || !gt_api_function(api, req, &v))
		return;
	gt_api_list_begin(&j, &body);
	gt_control_replicas(api->config.control, v.row->name, add_replica, &j);
	gt_api_list_reply(req, &j, &body);
}

struct search {
	const char *id;
	struct gt_buf *body;
	bool found;
};

static bool find_replica(const struct gt_replica_view *v, void *arg)
{
	struct search *s = arg;
	struct gt_json j;

	if (!gt_streq(v->id, s->id))
		return true;
	s->found = true;
	gt_json_begin(&j, s->body);
	gt_view_replica(&j, v);
	return false;
}

static void reply_replica(struct gt_api *api, struct gt_request *req, int status)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct search s = { .id = gt_request_param(req, "replica"), .body = &body };
	struct gt_err err = { 0 };

	gt_control_replicas(api->config.control, gt_request_param(req, "function"), find_replica,
			    &s);
	if (s.found) {
		gt_api_reply(req, status, &body);
		return;
	}
	gt_err_set(&err, ENOENT, "not_found", "function %s has no replica %.40s",
		   gt_request_param(req, "function"), s.id);
	gt_api_fail(req, &err);
}

void gt_api_get_replica(struct gt_request *req, void *app)
{
	struct gt_function_view v;

	if (gt_api_query(req, no_query) && gt_api_function(app, req, &v))
		reply_replica(app, req, 200);
}

void gt_api_delete_replica(struct gt_request *req, void *app)
{
	static const char *const known[] = { "force", NULL };
	struct gt_api *api = app;
	struct gt_function_view v;
	struct gt_err err = { 0 };
	bool force = false;

	if (!gt_api_query(req, known) || !gt_api_flag(req, "force", &force) ||
	    !gt_api_function(api, req, &v))
		return;
	if (gt_control_replica_stop(api->config.control, v.row->name,
				    gt_request_param(req, "replica"), force, &err) < 0)
		gt_api_fail(req, &err);
	else
		reply_replica(api, req, 202);
}
