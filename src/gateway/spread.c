/* spread.c - shard 0 hears of all routes: each goes to its function's home, tokens to everybody. */
#include "routes.h"

#include <stdlib.h>
#include <string.h>

struct parcel {
	struct gt_mail mail;
	struct gt_line line;
};

static void open_parcel(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct parcel *p = GT_CONTAINER(m, struct parcel, mail);

	if (!gw->freeing)
		gt_routes_take(gw, &p->line);
	gt_line_fini(&p->line);
	free(p);
}

static void *copy(const void *list, size_t n, size_t size)
{
	return n ? memcpy(gt_alloc_array(n, size), list, n * size) : NULL;
}

static struct parcel *parcel_new(const struct gt_line *line)
{
	struct parcel *p = gt_alloc(sizeof(*p));

	p->mail.fn = open_parcel;
	p->line.type = line->type;
	p->line.epoch = line->epoch;
	p->line.seq = line->seq;
	p->line.partial = line->partial;
	gt_strcopy(p->line.name, sizeof(p->line.name), line->name);
	p->line.tokens = copy(line->tokens, line->n_tokens, sizeof(*line->tokens));
	p->line.n_tokens = line->n_tokens;
	p->line.members = copy(line->members, line->n_members, sizeof(*line->members));
	p->line.n_members = line->n_members;
	return p;
}

static unsigned home(const struct gt_gateway *gw, const char *function)
{
	return gt_shard_home(gw, function, strlen(function));
}

/* Those of another shard leave the line. */
static void take_out(struct gt_gateway *gw, struct gt_line *line, unsigned shard,
		     struct gt_line *to)
{
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < line->n_routes; i++)
		n += home(gw, line->routes[i].function) == shard;
	if (!n)
		return;
	to->routes = gt_alloc_array(n, sizeof(*to->routes));
	for (size_t i = 0; i < line->n_routes; i++) {
		struct gt_route *r = &line->routes[i];
		struct gt_route *at = home(gw, r->function) == shard ? &to->routes[to->n_routes++]
								     : &line->routes[kept++];

		if (at == r)
			continue;
		*at = *r;
		*r = (struct gt_route){ 0 };
	}
	line->n_routes = kept;
}

static void send_parcel(struct gt_gateway *gw, struct gt_line *line, unsigned shard)
{
	struct parcel *p = parcel_new(line);

	take_out(gw, line, shard, &p->line);
	gt_shard_post(gw->shards, shard, &p->mail);
}

/* Whom a line says something to. */
static bool concerns(const struct gt_gateway *gw, const struct gt_line *line, unsigned shard)
{
	switch (line->type) {
	case GT_LINE_SNAPSHOT:
	case GT_LINE_TOKENS:
	case GT_LINE_NODES:
		return true;
	case GT_LINE_PING:
		return gw->partial && !line->partial;
	case GT_LINE_GONE:
		return home(gw, line->name) == shard;
	case GT_LINE_ROUTE:
		for (size_t i = 0; i < line->n_routes; i++)
			if (home(gw, line->routes[i].function) == shard)
				return true;
		return false;
	default:
		return false;
	}
}

/* Who finds a function in the catalog sends a call there: by then the route is in that shard's
 * letter box. */
void gt_spread_line(struct gt_gateway *gw, struct gt_line *line)
{
	struct gt_catalog *catalog = gw->shards ? gw->shards->catalog : NULL;
	bool all = line->type == GT_LINE_SNAPSHOT;

	if (!catalog || (!all && !gw->synced))
		return;
	gt_catalog_begin(catalog);
	if (all || line->type == GT_LINE_ROUTE)
		gt_catalog_set(catalog, line->routes, line->n_routes, all);
	else if (line->type == GT_LINE_GONE)
		gt_catalog_forget(catalog, line->name);
	for (unsigned i = 0; i < gw->shards->n; i++)
		if (i != gw->shard && concerns(gw, line, i))
			send_parcel(gw, line, i);
	gt_catalog_end(catalog);
}
