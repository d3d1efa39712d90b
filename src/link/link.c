/* link/link.c - the routes of link.sock, and control's changes on their way to the peers. */
#include <string.h>
#include <utlist.h>

#include <gantry/base/log.h>

#include "link_priv.h"

#define PING_MS_DEFAULT 10000
#define POST_MAX        (64 * GT_MIB)

/* ---- answers -------------------------------------------------------------------------------- */

static void reply_refusal(struct gt_request *req, const struct gt_err *err, void *app GT_UNUSED)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_problem p = { .kind = gt_problem_of(err),
				.detail = err->text,
				.path = err->path[0] ? err->path : NULL,
				.request_id = gt_request_id(req),
				.retry_after_s = -1 };

	gt_problem_write(&p, &body);
	gt_request_reply(req, p.kind->status, "application/problem+json", &body);
}

/* Whoever can open the socket is a role of this daemon: the directory's mode sees to that. */
static int admit(struct gt_request *req GT_UNUSED, enum gt_role role GT_UNUSED, void *app GT_UNUSED,
		 struct gt_err *err GT_UNUSED)
{
	return 0;
}

static bool name_take(struct gt_request *req, const char *param, const char **ret)
{
	struct gt_err err = { 0 };

	*ret = gt_request_param(req, param);
	if (gt_name_ok(*ret))
		return true;
	gt_err_set(&err, EINVAL, "bad_parameter", "%s: not a name", param);
	reply_refusal(req, &err, NULL);
	return false;
}

static void reply_posted(struct gt_request *req, int r, struct gt_err *err)
{
	if (r == -ESTALE)
		gt_err_set(err, ESTALE, "conflict", "this epoch is over");
	if (r < 0)
		reply_refusal(req, err, NULL);
	else
		gt_request_reply(req, 204, NULL, NULL);
}

/* ---- handlers ------------------------------------------------------------------------------- */

static void watch_desired(struct gt_request *req, void *app)
{
	const char *node;

	if (name_take(req, "node", &node))
		gt_peer_open(app, GT_PEER_NODE, node, req);
}

static void watch_routes(struct gt_request *req, void *app)
{
	const char *gateway;

	if (name_take(req, "gateway", &gateway))
		gt_peer_open(app, GT_PEER_GATEWAY, gateway, req);
}

static int sender_check(const char *stated, const char *name, struct gt_err *err)
{
	if (gt_streq(stated, name))
		return 0;
	return gt_err_set(err, EINVAL, "bad_parameter", "the message of %s came to the path of %s",
			  stated, name);
}

static void post_report(struct gt_request *req, void *app)
{
	struct gt_link *l = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_report report = { 0 };
	struct gt_err err = { 0 };
	const char *node;
	int r;

	if (!name_take(req, "node", &node))
		return;
	r = gt_report_read(body->data ? body->data : "", body->len, &report, &err);
	if (r == 0)
		r = sender_check(report.node, node, &err);
	if (r == 0)
		r = gt_control_report(l->config.control, &report, &err);
	gt_report_fini(&report);
	reply_posted(req, r, &err);
}

static void post_demand(struct gt_request *req, void *app)
{
	struct gt_link *l = app;
	const struct gt_buf *body = gt_request_body(req);
	struct gt_demand demand = { 0 };
	struct gt_err err = { 0 };
	const char *gateway;
	int r;

	if (!name_take(req, "gateway", &gateway))
		return;
	r = gt_demand_read(body->data ? body->data : "", body->len, &demand, &err);
	if (r == 0)
		r = sender_check(demand.gateway, gateway, &err);
	if (r == 0)
		r = gt_control_demand(l->config.control, &demand, &err);
	gt_demand_fini(&demand);
	reply_posted(req, r, &err);
}

static const struct gt_http_route routes[] = {
	{ GT_GET, "/link/v1/nodes/{node}/desired", GT_ROLE_LINK, 0, watch_desired, "watchDesired",
	  "watch what a node should run" },
	{ GT_POST, "/link/v1/nodes/{node}/report", GT_ROLE_LINK, POST_MAX, post_report,
	  "postReport", "say what a node runs" },
	{ GT_GET, "/link/v1/gateways/{gateway}/routes", GT_ROLE_LINK, 0, watch_routes,
	  "watchRoutes", "watch where calls may go" },
	{ GT_POST, "/link/v1/gateways/{gateway}/demand", GT_ROLE_LINK, POST_MAX, post_demand,
	  "postDemand", "say who waits and who is served" },
};

/* ---- what control decides ------------------------------------------------------------------- */

static void send_node(struct gt_link *l, const char *node, struct gt_line *line)
{
	struct gt_peer *p;

	DL_FOREACH (l->peers, p)
		if (p->kind == GT_PEER_NODE && gt_streq(p->name, node))
			gt_peer_send(p, line);
}

static void send_gateways(struct gt_link *l, struct gt_line *line)
{
	struct gt_peer *p;

	DL_FOREACH (l->peers, p)
		if (p->kind == GT_PEER_GATEWAY)
			gt_peer_send(p, line);
}

void gt_link_on_order(struct gt_link *l, const char *node, const struct gt_order *order)
{
	struct gt_order copy = *order; /* the strings stay control's; writing only reads */
	struct gt_line line = { .type = GT_LINE_ORDER, .orders = &copy, .n_orders = 1 };

	send_node(l, node, &line);
}

void gt_link_on_forget(struct gt_link *l, const char *node, const char *replica)
{
	struct gt_line line = { .type = GT_LINE_FORGET };

	gt_strcopy(line.name, sizeof(line.name), replica);
	send_node(l, node, &line);
}

void gt_link_on_route(struct gt_link *l, const char *function)
{
	struct gt_route route = { 0 };
	struct gt_line line = { .type = GT_LINE_ROUTE, .routes = &route, .n_routes = 1 };

	if (gt_control_route(l->config.control, function, &route, NULL) < 0)
		return;
	send_gateways(l, &line);
	gt_route_fini(&route);
}

void gt_link_on_route_gone(struct gt_link *l, const char *function)
{
	struct gt_line line = { .type = GT_LINE_GONE };

	gt_strcopy(line.name, sizeof(line.name), function);
	send_gateways(l, &line);
}

void gt_link_tokens_set(struct gt_link *l, const char (*tokens)[GT_TOKEN_HASH_HEX], size_t n)
{
	struct gt_line line = { .type = GT_LINE_TOKENS };

	free(l->tokens);
	l->tokens = gt_alloc_array(n ? n : 1, sizeof(*l->tokens));
	memcpy(l->tokens, tokens, n * sizeof(*l->tokens));
	l->n_tokens = n;
	line.tokens = l->tokens;
	line.n_tokens = n;
	send_gateways(l, &line);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_ping(void *arg)
{
	struct gt_link *l = arg;
	struct gt_peer *p;

	DL_FOREACH (l->peers, p)
		gt_peer_send(p, &(struct gt_line){ .type = GT_LINE_PING });
	gt_timer_set(l->loop, &l->ping, l->config.ping_ms, on_ping, l);
}

int gt_link_new(struct gt_loop *loop, const struct gt_link_config *config, struct gt_link **ret,
		struct gt_err *err)
{
	struct gt_link *l = gt_alloc(sizeof(*l));
	struct gt_http_config http = {
		.listen_fd = config->listen_fd,
		.routes = routes,
		.n_routes = GT_LEN(routes),
		.hooks = { .admit = admit, .refuse = reply_refusal },
		.app = l,
	};
	int r;

	l->loop = loop;
	l->config = *config;
	if (l->config.ping_ms == 0)
		l->config.ping_ms = PING_MS_DEFAULT;
	r = gt_http_server_new(loop, &http, &l->server, err);
	if (r < 0) {
		free(l);
		return gt_err_wrap(err, "link");
	}
	gt_timer_set(loop, &l->ping, l->config.ping_ms, on_ping, l);
	*ret = l;
	return 0;
}

void gt_link_quiesce(struct gt_link *l)
{
	gt_http_server_quiesce(l->server);
}

void gt_link_free(struct gt_link *l)
{
	if (!l)
		return;
	l->freeing = true;
	gt_http_server_free(l->server); /* closes every stream: each peer is marked */
	gt_peer_reap(l);
	gt_timer_clear(l->loop, &l->reap);
	gt_timer_clear(l->loop, &l->ping);
	free(l->tokens);
	free(l);
}
