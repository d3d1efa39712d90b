#include "held.h"
#include "demand.h"
#include "routes.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* Control may begin anew at the same time, so that a replica is told of by its other gateway
 * first. */
struct gt_held {
	char id[GT_REPLICA_ID_SIZE];
	uint32_t by[GT_HELD_BY];
	UT_hash_handle hh;
};

static struct gt_target *target(struct gt_gateway *gw, const char *replica)
{
	struct gt_route_fn *f, *next;
	struct gt_target *t;

	HASH_ITER (hh, gw->fns, f, next)
		DL_FOREACH (f->fn.targets, t)
			if (gt_streq(t->id, replica))
				return t;
	return NULL;
}

struct gt_target *gt_held_target(struct gt_gateway *gw, const char *replica)
{
	struct gt_target *t = target(gw, replica);

	return t && gt_target_serves(t) ? t : NULL;
}

static struct gt_held *find(struct gt_gateway *gw, const char *replica)
{
	struct gt_held *h = NULL;

	HASH_FIND_STR(gw->others.held, replica, h);
	return h;
}

static uint32_t sum(const struct gt_held *h)
{
	uint32_t n = 0;

	for (unsigned i = 0; h && i < GT_HELD_BY; i++)
		n += h->by[i];
	return n;
}

static void drop(struct gt_gateway *gw, struct gt_held *h)
{
	HASH_DEL(gw->others.held, h);
	free(h);
}

int gt_held_change(struct gt_gateway *gw, unsigned by, const char *replica, int64_t change)
{
	struct gt_target *t = target(gw, replica);
	struct gt_held *h = find(gw, replica);

	if (!h && change <= 0)
		return 0;
	if (!h && HASH_COUNT(gw->others.held) >= GT_HELD_MAX)
		return -ENOSPC;
	if (!h) {
		h = gt_alloc(sizeof(*h));
		gt_strcopy(h->id, sizeof(h->id), replica);
		HASH_ADD_STR(gw->others.held, id, h);
	}
	uint32_t was = h->by[by], is = (uint32_t)GT_MIN(GT_MAX(was + change, 0), INT32_MAX);

	h->by[by] = is;
	/* What the one before has is this one's to tell, where that one has led. */
	if (by == GT_HELD_BEFORE && is < was && gw->shard == 0)
		gt_tells_given(gw, replica, was - is);
	if (t)
		gt_target_held(t, sum(h));
	if (!sum(h))
		drop(gw, h);
	if (t && change < 0 && gt_target_drained(t))
		gt_demander_changed(gw, true);
	if (t && change < 0)
		gt_routes_pump(gw, t->fn);
	return 0;
}

void gt_held_forget(struct gt_gateway *gw, unsigned by)
{
	struct gt_held *h, *next;

	HASH_ITER (hh, gw->others.held, h, next)
		if (h->by[by])
			gt_held_change(gw, by, h->id, -(int64_t)h->by[by]);
}

bool gt_held_any(struct gt_gateway *gw, unsigned by)
{
	struct gt_held *h, *next;

	HASH_ITER (hh, gw->others.held, h, next)
		if (h->by[by])
			return true;
	return false;
}

void gt_held_before(struct gt_gateway *gw, void (*fn)(const char *replica, uint32_t n, void *arg),
		    void *arg)
{
	struct gt_held *h, *next;

	HASH_ITER (hh, gw->others.held, h, next)
		if (h->by[GT_HELD_BEFORE])
			fn(h->id, h->by[GT_HELD_BEFORE], arg);
}

void gt_held_applied(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_target *t;

	DL_FOREACH (fn->targets, t) {
		uint32_t n = gw->others.held ? sum(find(gw, t->id)) : 0;

		if (n != t->elsewhere)
			gt_target_held(t, n);
	}
}

void gt_held_free(struct gt_gateway *gw)
{
	struct gt_held *h, *next;

	HASH_ITER (hh, gw->others.held, h, next)
		drop(gw, h);
}
