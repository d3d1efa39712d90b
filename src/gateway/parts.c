/* parts.c - the demand of several shards: each writes its part as if to control, shard 0 puts what
 * it has into one post and tells them how that went. A full post waits for the full parts of all:
 * what it leaves out would count as gone. */
#include "parts.h"

#include <stdlib.h>
#include <string.h>

struct gt_demand_part {
	struct gt_mail mail;
	unsigned from;
	bool urgent;
	struct gt_demand demand;
};

static void part_free(struct gt_demand_part *p)
{
	if (!p)
		return;
	gt_demand_fini(&p->demand);
	free(p);
}

/* ---- what shard 0 says of a part ---- */

static void taken(struct gt_gateway *gw)
{
	gt_demander_told(gw, GT_TOLD);
}

static void failed(struct gt_gateway *gw)
{
	gt_demander_told(gw, GT_TOLD_NOTHING);
}

static void outdated(struct gt_gateway *gw)
{
	gt_demander_told(gw, GT_TOLD_TOO_LATE);
}

/* ---- a part arrives at shard 0 ---- */

static void take_part(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct gt_demand_part *p = GT_CONTAINER(m, struct gt_demand_part, mail);
	struct gt_shards *s = gw->shards;

	if (gw->freeing) {
		part_free(p);
		return;
	}
	s->at[p->from].stats = p->demand.stats;
	if (gw->demand.full && !p->demand.full) { /* it was on its way when all was asked for */
		gt_shard_tell(gw, p->from, outdated);
		part_free(p);
		return;
	}
	part_free(s->parts[p->from]);
	s->parts[p->from] = p;
	gt_demander_has_part(gw, p->urgent);
}

void gt_parts_send(struct gt_gateway *gw)
{
	struct gt_demand_part *p = gt_alloc(sizeof(*p));

	p->mail.fn = take_part;
	p->from = gw->shard;
	p->urgent = gw->demand.urgent;
	gt_demander_build(gw, gw->demand.full, &p->demand);
	gt_shard_post(gw->shards, 0, &p->mail);
}

/* ---- the post ---- */

bool gt_parts_complete(const struct gt_gateway *gw)
{
	for (unsigned i = 1; gw->shards && i < gw->shards->n; i++)
		if (!gw->shards->parts[i] || !gw->shards->parts[i]->demand.full)
			return false;
	return true;
}

static void add_stats(struct gt_gateway_stats *sum, const struct gt_gateway_stats *more)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)more;

	_Static_assert(sizeof(*sum) % sizeof(*to) == 0, "counters, and nothing else");
	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

static void add(struct gt_demand *d, const struct gt_demand *more)
{
	size_t n = d->n_functions + more->n_functions, drained = d->n_drained + more->n_drained;

	d->functions = gt_grow(d->functions, n + 1, sizeof(*d->functions));
	memcpy(d->functions + d->n_functions, more->functions,
	       more->n_functions * sizeof(*d->functions));
	d->n_functions = n;
	d->drained = gt_grow(d->drained, drained + 1, sizeof(*d->drained));
	memcpy(d->drained + d->n_drained, more->drained, more->n_drained * sizeof(*d->drained));
	d->n_drained = drained;
}

void gt_parts_add(struct gt_gateway *gw, struct gt_demand *d)
{
	struct gt_shards *s = gw->shards;

	for (unsigned i = 1; s && i < s->n; i++) {
		add_stats(&d->stats, &s->at[i].stats);
		if (!s->parts[i])
			continue;
		add(d, &s->parts[i]->demand);
		part_free(gt_steal(&s->parts[i]));
		s->at[i].in_post = true;
	}
}

void gt_parts_done(struct gt_gateway *gw, bool ok)
{
	struct gt_shards *s = gw->shards;

	for (unsigned i = 1; s && i < s->n; i++) {
		if (!ok)
			gt_shard_tell(gw, i, failed);
		else if (s->at[i].in_post)
			gt_shard_tell(gw, i, taken);
		s->at[i].in_post = false;
	}
}

void gt_parts_forget(struct gt_gateway *gw, bool tell)
{
	struct gt_shards *s = gw->shards;

	for (unsigned i = 1; s && i < s->n; i++) {
		if (!s->parts[i])
			continue;
		part_free(gt_steal(&s->parts[i]));
		if (tell)
			gt_shard_tell(gw, i, outdated);
	}
}
