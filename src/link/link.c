#include <gantry/link/link.h>

#include <stdlib.h>

#include "link_priv.h"

static const struct gt_http_route routes[] = {
	{ GT_GET, "/link/v1/nodes/{node}/desired", GT_ROLE_LINK, 0, gt_link_watch_node,
	  "watchDesired", "orders of one node" },
	{ GT_POST, "/link/v1/nodes/{node}/report", GT_ROLE_LINK, GT_LINK_BODY_MAX,
	  gt_link_post_report, "postReport", "what a node observes" },
	{ GT_GET, "/link/v1/gateways/{gateway}/routes", GT_ROLE_LINK, 0, gt_link_watch_gateway,
	  "watchRoutes", "routes of all functions" },
	{ GT_POST, "/link/v1/gateways/{gateway}/demand", GT_ROLE_LINK, GT_LINK_BODY_MAX,
	  gt_link_post_demand, "postDemand", "who waits and who is served" },
	{ GT_POST, "/link/v1/gateways/{gateway}/calls", GT_ROLE_LINK, GT_LINK_BODY_MAX,
	  gt_link_post_calls, "postCalls", "durable calls: results, and leases for what is free" },
	{ GT_POST, "/link/v1/join", GT_ROLE_LINK, GT_LINK_JOIN_MAX, gt_link_post_join, "postJoin",
	  "a machine joins by its token" },
	{ GT_POST, "/link/v1/nodes/{node}/certificate", GT_ROLE_LINK, GT_LINK_JOIN_MAX,
	  gt_link_certify_node, "certifyNode", "the next certificate of a node" },
	{ GT_POST, "/link/v1/gateways/{gateway}/certificate", GT_ROLE_LINK, GT_LINK_JOIN_MAX,
	  gt_link_certify_gateway, "certifyGateway", "a certificate for a gateway" },
};

const char *gt_link_sender(const struct gt_request *req)
{
	return gt_request_header(req, "Gantry-Peer");
}

/* Whoever could open the socket is a role of this daemon. A gateway states for whom else it speaks:
 * a node, which may do what is its own. */
static int admit(struct gt_request *req, enum gt_role role GT_UNUSED, void *app, struct gt_err *err)
{
	const char *sender = gt_link_sender(req), *node = gt_request_param(req, "node");

	if (!sender)
		return 0;
	if (node && gt_starts_with(sender, "node/") && gt_streq(sender + 5, node))
		return gt_link_check_member(app, node, err);
	if (node && gt_starts_with(sender, "gateway/") && gt_streq(sender + 8, node))
		return 0; /* it has the store: whoever may read that is of the cluster */
	return gt_err_set(err, EACCES, "forbidden", "this is not for %.80s", sender);
}

void gt_link_refuse(struct gt_request *req, const struct gt_err *err, void *app)
{
	struct gt_buf body = { 0 };
	struct gt_problem problem = { .kind = gt_problem_of(err),
				      .detail = err->text,
				      .path = err->path[0] ? err->path : NULL,
				      .request_id = gt_request_id(req),
				      .retry_after_s = -1 };

	(void)app;
	gt_problem_write(&problem, &body);
	gt_request_reply(req, err->code == ESTALE ? 409 : problem.kind->status,
			 "application/problem+json", &body);
	gt_buf_fini(&body);
}

int gt_link_new(const struct gt_link_config *config, struct gt_link **ret, struct gt_err *err)
{
	struct gt_link *link = gt_alloc(sizeof(*link));
	struct gt_http_config http = {
		.listen_fd = config->listen_fd,
		.routes = routes,
		.n_routes = GT_LEN(routes),
		.hooks = { .admit = admit, .refuse = gt_link_refuse },
		.app = link,
		.idle_timeout_s = 300,
	};

	link->config = *config;
	gt_buf_init(&link->line, GT_LINK_QUEUED_MAX);
	int r = gt_http_server_new(config->loop, &http, &link->server, err);
	if (r < 0) {
		free(link);
		return gt_err_wrap(err, "link");
	}
	gt_link_ping_start(link);
	*ret = link;
	return 0;
}

void gt_link_free(struct gt_link *link)
{
	if (!link)
		return;
	gt_link_peers_end(link);
	gt_http_server_free(link->server);
	gt_link_owed_end(link);
	gt_buf_fini(&link->line);
	free(link);
}
