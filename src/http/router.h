/* http/router.h - request targets taken apart, and the row of the route table they name. Pure. */
#ifndef GANTRY_SRC_HTTP_ROUTER_H
#define GANTRY_SRC_HTTP_ROUTER_H

#include <gantry/http/server.h>

#define GT_TARGET_SEGMENTS_MAX 16
#define GT_TARGET_QUERY_MAX    32

struct gt_pair {
	const char *name, *value;
};

struct gt_target {
	char *path;                                   /* as sent, without the query */
	char *store;                                  /* what the strings below point into */
	const char *segments[GT_TARGET_SEGMENTS_MAX]; /* percent-decoded */
	size_t n_segments;
	struct gt_pair query[GT_TARGET_QUERY_MAX];
	size_t n_query;
	struct gt_pair params[GT_TARGET_SEGMENTS_MAX]; /* of the matched pattern */
	size_t n_params;
	char *names; /* what the names of params point into */
};

/* Bad escapes, a NUL, too many segments or query members: -EINVAL "bad_parameter". The target may
 * be given to gt_target_fini in any case. */
GT_MUST_USE int gt_target_parse(const char *uri, struct gt_target *ret, struct gt_err *err);
void gt_target_fini(struct gt_target *t);
const char *gt_target_query(const struct gt_target *t, const char *name);
const char *gt_target_param(const struct gt_target *t, const char *name);

/* The row for method and path, with t->params filled; NULL when there is none: then *allowed has a
 * bit for each method that the path does support. */
const struct gt_http_route *gt_route_match(const struct gt_http_route *routes, size_t n,
					   enum gt_method method, struct gt_target *t,
					   unsigned *allowed);

#endif
