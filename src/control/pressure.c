/* pressure.c - no node takes a replica that calls wait for: idle replicas of other functions are
 * stopped, those that are worth least first, if that makes room. One that has a call stays. */
#include "place.h"

#include <stdlib.h>

#define CANDIDATES_MAX 1024
#define VICTIMS_MAX    64

static const char reason[] = "pressure";

struct candidates {
	struct gt_ctl_replica **all;
	struct gt_scale_held *held;
	size_t n;
};

static bool makes_room(const struct gt_ctl_replica *r)
{
	return r->reason == reason && gt_ctl_leaving(r);
}

static void function_add(struct gt_control *c, struct gt_ctl_live *live, struct candidates *ret)
{
	const struct gt_spec *spec = live->f->rev->spec;
	const struct gt_scale_params params = { .price = spec->scale.delay_price };
	struct gt_ctl_replica *r;
	uint32_t ready = 0;

	if (live->gangs)
		return; /* many for one: they stay */
	DL_FOREACH (live->replicas, r)
		ready += r->state == GT_REPLICA_READY && !gt_ctl_leaving(r) && gt_ctl_current(r);
	DL_FOREACH (live->replicas, r) {
		if (r->state != GT_REPLICA_READY || gt_ctl_leaving(r) || !gt_ctl_current(r))
			continue;
		if (ready <= spec->scale.min || ret->n == CANDIDATES_MAX)
			return;
		ready--;
		ret->all[ret->n] = r;
		ret->held[ret->n++] = (struct gt_scale_held){
			.spare = 1,
			.units = (uint32_t)GT_MAX(r->gpus.n, (size_t)1),
			.worth = gt_scale_worth(live->scale, c->pool, &params, ready,
						gt_ctl_now(c)),
		};
	}
}

static double worth_of(const struct candidates *from, const struct gt_ctl_replica *r)
{
	size_t at = 0;

	while (at < from->n && from->all[at] != r)
		at++;
	return at < from->n ? from->held[at].worth : 0;
}

/* Takes them out of the books, one after the other, until the replica has a place. */
static size_t victims_find(struct gt_control *c, struct gt_ctl_live *live, struct candidates *from,
			   struct gt_ctl_replica *ret[VICTIMS_MAX], uint32_t *node)
{
	bool found = false;
	size_t n = 0, at;

	while (!found && n < VICTIMS_MAX && gt_scale_pressure(from->held, from->n, &at) == 0) {
		struct gt_sched_spot spot = { 0 };

		from->held[at].spare = 0;
		ret[n++] = from->all[at];
		gt_sched_release(c->sched, &from->all[at]->spot);
		if (gt_ctl_place(c, live, &spot, NULL, NULL) < 0)
			continue;
		*node = spot.node;
		gt_sched_release(c->sched, &spot);
		found = true;
	}
	for (size_t i = 0; i < n; i++)
		gt_ctl_book(c, ret[i]);
	return found ? n : 0;
}

void gt_ctl_pressure(struct gt_control *c, struct gt_ctl_live *live)
{
	struct gt_ctl_replica *victims[VICTIMS_MAX], *r, *r_next;
	struct gt_ctl_live *other;
	struct candidates from = { 0 };
	uint32_t node = 0;

	if (live->queued + live->in_flight == 0)
		return; /* only min wants it */
	HASH_ITER (hh, c->replicas, r, r_next)
		if (makes_room(r))
			return; /* room is on its way */
	from.all = gt_alloc_array(CANDIDATES_MAX, sizeof(struct gt_ctl_replica *));
	from.held = gt_alloc_array(CANDIDATES_MAX, sizeof(*from.held));
	DL_FOREACH (c->lives, other)
		if (other != live && other->queued + other->in_flight == 0)
			function_add(c, other, &from);
	size_t n = victims_find(c, live, &from, victims, &node);

	for (size_t i = 0; i < n; i++) {
		if (victims[i]->node->index != node)
			continue;
		gt_ctl_event(c, "scale.pressure", victims[i]->function, victims[i]->id,
			     victims[i]->node->name, NULL, "idle; %s needs its place",
			     gt_ctl_name(live->f));
		gt_ctl_journal_evict(c, victims[i], gt_ctl_name(live->f),
				     worth_of(&from, victims[i]), from.n);
		gt_ctl_replica_leave(c, victims[i], reason, false);
	}
	free(from.all);
	free(from.held);
}
