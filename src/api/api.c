/* api/api.c - the server of the API: who may ask, what is counted, what ends. */
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/http/digest.h>

#include "api_priv.h"

/* Each token is compared whole, so that the time tells nothing about any of them. */
static bool token_valid(const struct gt_api *api, const char *token)
{
	char digest[GT_SHA256_HEX_SIZE];
	bool valid = false;

	gt_sha256_hex(token, strlen(token), digest);
	for (size_t i = 0; i < api->config.n_tokens; i++)
		valid |= gt_secret_equal(digest, api->config.tokens_sha256[i],
					 GT_SHA256_HEX_SIZE - 1);
	return valid;
}

static const char *bearer_token(const struct gt_request *req)
{
	const char *s = gt_request_header(req, "Authorization");

	return s && strncasecmp(s, "Bearer ", 7) == 0 ? s + 7 + strspn(s + 7, " ") : NULL;
}

bool gt_api_trusts(const struct gt_request *req, const struct gt_api *api)
{
	const char *token = bearer_token(req);

	return token && token_valid(api, token);
}

int gt_api_admit(struct gt_request *req, enum gt_role role GT_UNUSED, void *app, struct gt_err *err)
{
	bool bearer = bearer_token(req) != NULL;

	if (gt_api_trusts(req, app))
		return 0;
	gt_request_header_set(req, "WWW-Authenticate",
			      bearer ? "Bearer realm=\"gantry\", error=\"invalid_token\""
				     : "Bearer realm=\"gantry\"");
	return gt_err_set(err, EACCES, "unauthorized",
			  bearer ? "the token is not valid; the operator finds it in "
				   "admin.token of the state directory"
				 : "send the header Authorization: Bearer TOKEN; the operator "
				   "finds the token in admin.token of the state directory");
}

static void done(const struct gt_request *req, int status, uint64_t took_us, void *app)
{
	struct gt_api *api = app;
	const struct gt_http_route *route = gt_request_route(req);

	if (route && status >= 100 && status < 600)
		api->answers[(size_t)(route - gt_api_routes) * 6 + (size_t)status / 100]++;
	gt_debug("%s %s %d %llu us %s", gt_method_name(gt_request_method(req)),
		 gt_request_path(req), status, (unsigned long long)took_us, gt_request_id(req));
}

int gt_api_new(const struct gt_api_config *config, struct gt_api **ret, struct gt_err *err)
{
	struct gt_api *api = gt_alloc(sizeof(*api));
	struct gt_http_config http = {
		.listen_fd = config->listen_fd,
		.routes = gt_api_routes,
		.n_routes = gt_api_routes_n,
		.hooks = { .admit = gt_api_admit,
			   .refuse = gt_api_refuse,
			   .piece = gt_api_batch_piece,
			   .done = done },
		.app = api,
	};
	int r;

	api->config = *config;
	api->agent_path = gt_strdup(config->agent_path ? config->agent_path : "run/agent.sock");
	api->door_path = gt_strdup(config->door_path ? config->door_path : "run/door.sock");
	gt_strcopy(api->node, sizeof(api->node), config->node ? config->node : "");
	api->answers = gt_alloc_array(gt_api_routes_n * 6, sizeof(*api->answers));
	r = gt_http_server_new(config->loop, &http, &api->server, err);
	if (r < 0) {
		gt_api_free(api);
		return gt_err_wrap(err, "api");
	}
	gt_api_hooks_start(api);
	*ret = api;
	return 0;
}

size_t gt_api_active(const struct gt_api *api)
{
	return gt_http_server_active(api->server);
}

void gt_api_on_event(struct gt_api *api, const struct gt_event *event)
{
	gt_api_followers_event(api, event);
	gt_api_poll_event(api);
}

static void waits_end(struct gt_api *api)
{
	gt_api_watches_end(api);
	gt_api_polls_end(api);
	gt_api_followers_end(api);
}

void gt_api_drain(struct gt_api *api)
{
	gt_http_server_quiesce(api->server);
	waits_end(api);
}

void gt_api_free(struct gt_api *api)
{
	if (!api)
		return;
	gt_api_hooks_end(api);
	waits_end(api);
	gt_http_server_free(api->server); /* what waits for control or the agent is told */
	gt_api_owed_drop(api);
	free(api->answers);
	free(api->agent_path);
	free(api->door_path);
	free(api);
}
