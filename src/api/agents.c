/* agents.c - the agents of all nodes: this host's by its own socket, others by way of the gateway,
 * which their hosts are connected to. */
#include "api_priv.h"

bool gt_api_own_node(const struct gt_api *api, const char *node)
{
	return !node || !api->node[0] || gt_streq(node, api->node);
}

char *gt_api_agent_url(const struct gt_api *api, const char *node, const char *path,
		       const char **socket)
{
	if (gt_api_own_node(api, node)) {
		*socket = api->agent_path;
		return gt_asprintf("http://agent/link/v1/%s", path);
	}
	*socket = api->door_path;
	return gt_asprintf("http://door/link/v1/nodes/%s/agent/link/v1/%s", node, path);
}

static bool add_node(const struct gt_node_view *v, void *arg)
{
	struct gt_api_nodes *all = arg;

	if (v->state == GT_NODE_LOST || gt_api_own_node(all->api, v->name))
		return true;
	if (all->n < GT_LEN(all->name))
		gt_strcopy(all->name[all->n++], sizeof(all->name[0]), v->name);
	return all->n < GT_LEN(all->name);
}

void gt_api_nodes_there(const struct gt_api *api, struct gt_api_nodes *ret)
{
	*ret = (struct gt_api_nodes){ .api = api, .n = 1 };
	gt_strcopy(ret->name[0], sizeof(ret->name[0]), api->node);
	gt_control_nodes(api->config.control, add_node, ret);
}

struct search {
	const char *name;
	bool found;
};

static bool find_node(const struct gt_node_view *v, void *arg)
{
	struct search *s = arg;

	s->found |= gt_streq(v->name, s->name);
	return !s->found;
}

bool gt_api_node_param(struct gt_api *api, struct gt_request *req, const char **ret)
{
	const char *name = gt_request_query(req, "node");
	struct search s = { .name = name };
	struct gt_err err = { 0 };

	if (!name)
		return true;
	gt_control_nodes(api->config.control, find_node, &s);
	if (s.found) {
		*ret = name;
		return true;
	}
	gt_err_set(&err, ENOENT, "not_found", "there is no node %.80s", name);
	gt_err_path(&err, "node");
	gt_api_fail(req, &err);
	return false;
}
