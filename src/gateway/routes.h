/* routes.h - what control says: functions with their replicas, models, tokens, nodes. */
#ifndef GANTRY_GATEWAY_ROUTES_H
#define GANTRY_GATEWAY_ROUTES_H

#include "gw.h"

struct gt_route_fn {
	struct gt_grave grave;
	struct gt_fn fn;
	bool has_models;
	UT_hash_handle hh; /* by fn.stats.function */
};

void gt_routes_line(const char *line, size_t len, void *gw); /* one line of the watch */
/* What it says of functions at home here; leaves it to be fini'd. */
void gt_routes_take(struct gt_gateway *gw, struct gt_line *line);
void gt_routes_up(void *gw);
void gt_routes_down(const struct gt_err *why, void *gw);
struct gt_fn *gt_routes_function(struct gt_gateway *gw, const char *name, size_t len);
struct gt_fn *gt_routes_model(struct gt_gateway *gw, const char *model);
bool gt_routes_any_public_model(struct gt_gateway *gw);
/* Who holds the request's token; 0 = no valid one. */
uint64_t gt_routes_caller(struct gt_gateway *gw, const struct gt_h1 *req);
void gt_routes_free(struct gt_gateway *gw);
void gt_routes_pump(struct gt_gateway *gw, struct gt_fn *fn); /* runs whoever can run now */
/* It was not reached, or dropped a call. */
void gt_routes_failed(struct gt_gateway *gw, struct gt_target *t);
void gt_routes_sweep(struct gt_gateway *gw, struct gt_fn *fn); /* frees fn when it is unused */

#endif
