/* link/snapshot.c - the first line of a watch: everything, as it is now. */
#include <gantry/base/cleanup.h>

#include "link_priv.h"

static void add_order(const struct gt_order *o, void *arg)
{
	struct gt_line *line = arg;

	line->orders = gt_grow(line->orders, line->n_orders + 1, sizeof(*line->orders));
	line->orders[line->n_orders++] = *o; /* its strings stay control's */
}

struct routes {
	struct gt_control *control;
	struct gt_line *line;
};

static bool add_route(const struct gt_function_view *v, void *arg)
{
	struct routes *r = arg;
	struct gt_line *line = r->line;

	line->routes = gt_grow(line->routes, line->n_routes + 1, sizeof(*line->routes));
	line->routes[line->n_routes] = (struct gt_route){ 0 };
	if (gt_control_route(r->control, v->row->name, &line->routes[line->n_routes], NULL) == 0)
		line->n_routes++;
	return true;
}

void gt_snapshot_send(struct gt_peer *p)
{
	struct gt_link *l = p->link;
	struct gt_line line = { .type = GT_LINE_SNAPSHOT,
				.epoch = gt_control_epoch(l->config.control) };
	struct routes routes = { l->config.control, &line };

	if (p->kind == GT_PEER_NODE) {
		gt_control_orders(l->config.control, p->name, add_order, &line);
	} else {
		line.tokens = l->tokens;
		line.n_tokens = l->n_tokens;
		gt_control_functions(l->config.control, "", "", add_route, &routes);
	}
	gt_peer_send(p, &line);
	free(line.orders);
	for (size_t i = 0; i < line.n_routes; i++)
		gt_route_fini(&line.routes[i]);
	free(line.routes);
}
