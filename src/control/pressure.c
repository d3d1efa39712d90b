/* pressure.c - no node takes a replica that calls wait for: others make room, if that helps.
 *
 *	1 idle ones with GPUs are parked, those that are worth least first
 *	2 idle ones, and those that are parked already, are stopped; also those for whom, parked,
 *	  the node has no memory
 *	3 busy ones with GPUs are parked, when somebody has waited long enough: functions take turns
 *
 * What was just brought in stays for a while, so that turns cost a bounded part of the time. The
 * room goes to the function that waits longest of those that it is enough for, and nobody else may
 * take it meanwhile. */
#include "place.h"

#include <stdlib.h>

#define CANDIDATES_MAX 1024
#define VICTIMS_MAX    64

#define IDLE_STAY_MOST_MS  10000
#define BUSY_STAY_LEAST_MS 2000
#define BUSY_STAY_MOST_MS  60000
#define BUSY_WAIT_LEAST_MS 1000
#define BUSY_WAIT_MOST_MS  30000

static const char reason[] = "pressure";

enum tier { TIER_PARK, TIER_STOP, TIER_BUSY, TIER_N };

struct candidate {
	struct gt_ctl_replica *r;
	enum tier tier;
};
struct candidates {
	struct gt_ctl_live *live; /* who needs room */
	struct candidate *all;
	struct gt_scale_held *held;
	size_t n;
	bool starves;    /* it has nothing to serve with, and nothing on its way */
	uint64_t due_ns; /* when another one may go */
};

/* ---- who may go ---- */

static uint64_t between(uint64_t ms, uint64_t least, uint64_t most)
{
	return GT_MAX(GT_MIN(ms, most), least);
}

/* How long it takes until `to` serves where `from` did. */
static uint64_t swap_ms(const struct gt_ctl_live *from, const struct gt_ctl_live *to)
{
	return gt_ctl_park_ms(from) + (to->parking.wakes ? gt_ctl_wake_ms(to) : to->start_ms);
}

/* Parking it gives GPUs back, and that is what is short. */
static bool may_park(const struct candidates *to, const struct gt_ctl_replica *r)
{
	return to->live->f->rev->spec->resources.gpu.count > 0 && r->gpus.n > 0 &&
	       gt_ctl_parkable(r);
}

static void candidate_add(struct gt_control *c, struct candidates *to, struct gt_ctl_replica *r,
			  enum tier tier, uint32_t level, uint64_t from_ns)
{
	const struct gt_scale_params params = { .price = r->rev->spec->scale.delay_price };

	if (gt_ctl_now(c) < from_ns) {
		to->due_ns = GT_MIN(to->due_ns, from_ns);
		return;
	}
	if (to->n == CANDIDATES_MAX)
		return;
	to->all[to->n] = (struct candidate){ r, tier };
	to->held[to->n++] = (struct gt_scale_held){
		.spare = 1,
		.units = (uint32_t)GT_MAX(r->gpus.n, (size_t)1),
		.worth = gt_scale_worth(r->f->live->scale, c->pool, &params, level, gt_ctl_now(c)),
	};
}

/* It has no call. */
static void idle_add(struct gt_control *c, struct candidates *to, struct gt_ctl_replica *r,
		     uint32_t level)
{
	uint64_t stay_ms = GT_MIN(swap_ms(r->f->live, to->live), (uint64_t)IDLE_STAY_MOST_MS);

	if (may_park(to, r))
		candidate_add(c, to, r, TIER_PARK, level,
			      GT_MAX(r->on_ns + stay_ms * GT_NS_PER_MS, r->park_retry_ns));
	else
		candidate_add(c, to, r, TIER_STOP, level, 0);
}

static void busy_add(struct gt_control *c, struct candidates *to, struct gt_ctl_replica *r,
		     uint32_t level)
{
	uint64_t ms = swap_ms(r->f->live, to->live);
	uint64_t stay_ms = between(4 * ms, BUSY_STAY_LEAST_MS, BUSY_STAY_MOST_MS);
	uint64_t wait_ms = between(2 * ms, BUSY_WAIT_LEAST_MS, BUSY_WAIT_MOST_MS);
	uint64_t from_ns = GT_MAX(r->on_ns + stay_ms * GT_NS_PER_MS,
				  to->live->blocked_ns + wait_ms * GT_NS_PER_MS);

	if (may_park(to, r))
		candidate_add(c, to, r, TIER_BUSY, level, GT_MAX(from_ns, r->park_retry_ns));
}

static void function_add(struct gt_control *c, struct gt_ctl_live *live, struct candidates *to)
{
	const struct gt_spec *spec = live->f->rev->spec;
	bool busy = live->queued + live->in_flight > 0;
	struct gt_ctl_replica *r;
	uint32_t ready = 0;

	if (live->gangs)
		return; /* many for one: they stay */
	DL_FOREACH (live->replicas, r)
		ready += r->state == GT_REPLICA_READY && !gt_ctl_leaving(r) && gt_ctl_current(r);
	DL_FOREACH (live->replicas, r) {
		if (gt_ctl_leaving(r) || !gt_ctl_current(r))
			continue;
		if (r->state == GT_REPLICA_PARKED)
			candidate_add(c, to, r, TIER_STOP, ready, 0);
		if (r->state != GT_REPLICA_READY || ready <= spec->scale.min)
			continue;
		ready--;
		if (busy && to->starves)
			busy_add(c, to, r, ready);
		else if (!busy)
			idle_add(c, to, r, ready);
	}
}

/* ---- whether it helps ---- */

/* A place for its next replica, or the GPUs of one that is parked. */
static bool has_room(struct gt_control *c, struct gt_ctl_live *live, uint32_t *node)
{
	struct gt_sched_spot spot = { 0 };
	const struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r) {
		if (r->state != GT_REPLICA_PARKED || gt_ctl_leaving(r) || !gt_ctl_current(r) ||
		    !gt_ctl_unpark_fits(c, r))
			continue;
		*node = r->node->index;
		return true;
	}
	if (gt_ctl_place(c, live, &spot, NULL, NULL) < 0)
		return false;
	*node = spot.node;
	gt_sched_release(c->sched, &spot);
	return true;
}

/* Out of the books as it will be, and in again as it is. */
static void take_out(struct gt_control *c, const struct candidate *v)
{
	struct gt_ctl_replica *r = v->r;

	gt_sched_release(c->sched, &r->spot);
	if (v->tier == TIER_STOP)
		return;
	r->off_gpu = true;
	gt_ctl_book(c, r);
	r->off_gpu = false;
}

static void put_in(struct gt_control *c, const struct candidate *v)
{
	gt_sched_release(c->sched, &v->r->spot);
	gt_ctl_book(c, v->r);
}

struct victims {
	struct candidate all[VICTIMS_MAX];
	double worth[VICTIMS_MAX];
	size_t n;
	uint32_t node;
};

/* Of the victims on the node, those that it can not do without. */
static void victims_thin(struct gt_control *c, struct gt_ctl_live *live, struct victims *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->n; i++) {
		uint32_t node;

		put_in(c, &v->all[i]);
		if (v->all[i].r->node->index != v->node ||
		    (has_room(c, live, &node) && node == v->node))
			continue;
		take_out(c, &v->all[i]);
		v->worth[kept] = v->worth[i];
		v->all[kept++] = v->all[i];
	}
	v->n = kept;
}

/* One after the other is taken out, until there is room. They are out of the books then. */
static bool victims_find(struct gt_control *c, struct candidates *from, enum tier most,
			 struct victims *v)
{
	size_t at;

	v->n = 0;
	for (size_t i = 0; i < from->n; i++)
		from->held[i].spare = from->all[i].tier <= most;
	while (v->n < VICTIMS_MAX && gt_scale_pressure(from->held, from->n, &at) == 0) {
		from->held[at].spare = 0;
		v->worth[v->n] = from->held[at].worth;
		v->all[v->n] = from->all[at];
		if (most == TIER_STOP)
			v->all[v->n].tier = TIER_STOP;
		take_out(c, &v->all[v->n++]);
		if (has_room(c, from->live, &v->node))
			return true;
	}
	while (v->n > 0)
		put_in(c, &v->all[--v->n]);
	return false;
}

/* ---- and who gets it ---- */

static bool is_victim_of(const struct gt_ctl_live *live, const struct victims *v)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->all[i].r->f == live->f)
			return true;
	return false;
}

static struct gt_ctl_live *longest_waiting(struct gt_control *c, struct gt_ctl_live *live,
					   const struct victims *v)
{
	struct gt_ctl_live *other, *best = live;
	uint32_t node;

	LL_FOREACH2(c->blocked, other, next_blocked)
	if (other->blocked_ns != 0 && other->blocked_ns < best->blocked_ns && other->queued > 0 &&
	    other->promised == 0 && other->f->rev->spec->gang.size == 0 &&
	    !is_victim_of(other, v) && has_room(c, other, &node) && node == v->node)
		best = other;
	return best;
}

/* False: none of them is where the room is. */
static bool victims_go(struct gt_control *c, struct candidates *from, struct victims *v)
{
	struct gt_ctl_live *to = longest_waiting(c, from->live, v);
	bool any = false;

	if (to == from->live)
		victims_thin(c, to, v);
	for (size_t i = 0; i < v->n; i++)
		put_in(c, &v->all[i]);
	for (size_t i = 0; i < v->n; i++) {
		struct gt_ctl_replica *r = v->all[i].r;

		if (r->node->index != v->node)
			continue;
		any = true;
		to->promised = v->node + 1;
		gt_ctl_event(c, "scale.pressure", r->function, r->id, r->node->name, NULL,
			     "%s; %s needs its place",
			     v->all[i].tier == TIER_BUSY ? "its turn is over" : "idle",
			     gt_ctl_name(to->f));
		if (v->all[i].tier != TIER_STOP && gt_ctl_park(c, r, reason, to))
			continue;
		gt_ctl_journal_evict(c, r, gt_ctl_name(to->f), v->worth[i], from->n);
		r->room_for = to->number;
		gt_ctl_replica_leave(c, r, reason, false);
	}
	return any;
}

static bool starves(const struct gt_ctl_live *live)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r)
		if (!gt_ctl_leaving(r) && r->state != GT_REPLICA_PARKING &&
		    r->state != GT_REPLICA_PARKED)
			return false;
	return true;
}

/* Room that is made for it is not there yet. */
static bool is_coming(const struct gt_control *c, const struct gt_ctl_live *live)
{
	const struct gt_ctl_replica *r;

	for (r = c->replicas; r; r = r->hh.next)
		if (r->room_for == live->number &&
		    (gt_ctl_leaving(r) || r->state == GT_REPLICA_PARKING))
			return true;
	return false;
}

bool gt_ctl_pressure(struct gt_control *c, struct gt_ctl_live *live)
{
	struct candidates from = { .live = live, .starves = starves(live), .due_ns = CTL_NEVER };
	struct victims *v;
	struct gt_ctl_live *other;
	bool found = false;
	uint32_t node;

	live->pressure_due_ns = 0;
	if (live->queued + live->in_flight == 0 || live->f->rev->spec->gang.size > 0)
		return false; /* only min wants it */
	if (is_coming(c, live))
		return true;
	live->promised = 0;
	if (has_room(c, live, &node))
		return true; /* it was made for another one, who takes it now or leaves it */
	from.all = gt_alloc_array(CANDIDATES_MAX, sizeof(*from.all));
	from.held = gt_alloc_array(CANDIDATES_MAX, sizeof(*from.held));
	v = gt_alloc(sizeof(*v));
	DL_FOREACH (c->lives, other)
		if (other != live)
			function_add(c, other, &from);
	for (enum tier most = TIER_PARK; !found && most < TIER_N; most++)
		found = victims_find(c, &from, most, v);
	if (found)
		found = victims_go(c, &from, v);
	else if (from.due_ns != CTL_NEVER)
		live->pressure_due_ns = from.due_ns;
	free(v);
	free(from.all);
	free(from.held);
	return found || live->pressure_due_ns != 0;
}

void gt_ctl_promise_check(struct gt_control *c, struct gt_ctl_live *live)
{
	if (live->promised == 0 || is_coming(c, live))
		return;
	live->promised = 0;
	gt_ctl_blocked_touch(c);
}

bool gt_ctl_room_promised(const struct gt_control *c, const struct gt_ctl_live *live, uint32_t node)
{
	bool gpus = live->f->rev->spec->resources.gpu.count > 0;
	const struct gt_ctl_live *other;

	LL_FOREACH2(c->blocked, other, next_blocked)
	if (other != live && other->blocked_ns != 0 && other->promised == node + 1 &&
	    other->queued > 0 && (other->f->rev->spec->resources.gpu.count > 0) == gpus)
		return true;
	return false;
}
