/* park.c - a replica's way off its GPU and back, as control orders it:
 *
 *	ready -> parking	it takes no new call; ordered when no gateway has one on it any more
 *	parking -> parked	its node has reported it: its GPUs are free for others
 *	parked -> unparking	its GPUs are booked again, and the order is out
 *	unparking -> ready	its node has reported it
 *
 * Each order has a turn, and only a report of that turn ends the step: what was under way when the
 * mind was changed means nothing. A step that takes too long ends in a stop, never in waiting. */
#include "place.h"

#include <string.h>

#define STEP_NS        (120 * GT_NS_PER_S) /* 80 GiB at less than a GiB a second */
#define RETRY_FIRST_NS (5 * GT_NS_PER_S)
#define REFUSALS_MAX   3
#define SWAP_MS        500 /* while nothing was measured */

static const char *const reason_memory = "parking memory";

/* ---- times ---- */
uint64_t gt_ctl_park_ms(const struct gt_ctl_live *live)
{
	return live->parking.park_ms ? live->parking.park_ms : SWAP_MS;
}

uint64_t gt_ctl_wake_ms(const struct gt_ctl_live *live)
{
	return live->parking.wake_ms ? live->parking.wake_ms : SWAP_MS;
}

static void mean_add(uint64_t *mean, uint64_t *sum, uint64_t ms)
{
	*sum += ms;
	*mean = GT_MAX(*mean ? (7 * *mean + 3 * ms) / 10 : ms, 1u);
}

static uint64_t step_ms(const struct gt_control *c, const struct gt_ctl_replica *r)
{
	return (gt_ctl_now(c) - r->step_ns) / GT_NS_PER_MS;
}

/* ---- moves ---- */
static void moved(struct gt_control *c, struct gt_ctl_replica *r, enum gt_replica_state to,
		  const char *text)
{
	char type[40];

	gt_replica_state_move(&r->state, to);
	gt_strcopy(type, sizeof(type), "replica.");
	gt_strcopy(type + 8, sizeof(type) - 8, gt_replica_state_name(to));
	gt_ctl_event(c, type, r->function, r->id, r->node->name, NULL, "revision %u: %s",
		     r->revision, text);
	gt_ctl_replica_reroute(c, r);
}

static void step_begin(struct gt_control *c, struct gt_ctl_replica *r, bool park)
{
	r->park_ordered = park;
	r->turn++;
	r->step_ns = gt_ctl_now(c);
	r->step_until_ns = r->step_ns + STEP_NS;
	gt_ctl_replica_order(c, r);
}

/* It serves again, and is kept for a whole window as if it had just been started. */
static void back(struct gt_control *c, struct gt_ctl_replica *r, const char *text)
{
	const struct gt_ctl_replica *other;
	struct gt_ctl_live *live = gt_ctl_live(c, r->f);
	uint32_t ready = 0;

	r->park_ordered = false;
	r->pool_bytes = 0;
	r->parked_ns = r->step_until_ns = 0;
	r->room_for = 0;
	moved(c, r, GT_REPLICA_READY, text);
	DL_FOREACH (live->replicas, other)
		ready += other->state == GT_REPLICA_READY;
	live->sample.renew = ready;
}

/* ---- off ---- */
static bool may_stay(const struct gt_ctl_replica *r)
{
	return r->node->up && r->node->duty != GT_DUTY_DRAINING;
}

bool gt_ctl_parkable(const struct gt_ctl_replica *r)
{
	return r->f && r->rev->spec->park.method != GT_PARK_STOP &&
	       r->park.method != GT_PARK_STOP && r->state == GT_REPLICA_READY &&
	       !gt_ctl_leaving(r) && gt_ctl_current(r) && may_stay(r) &&
	       r->park.refused < REFUSALS_MAX;
}

bool gt_ctl_park(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
		 struct gt_ctl_live *for_)
{
	if (!gt_ctl_parkable(r) || gt_ctl_now(c) < r->park_retry_ns)
		return false;
	r->reason = reason;
	r->drained = 0;
	r->room_for = for_ ? for_->number : 0;
	r->step_ns = gt_ctl_now(c);
	moved(c, r, GT_REPLICA_PARKING, reason);
	gt_ctl_journal_park(c, r, reason, for_ ? gt_ctl_name(for_->f) : "");
	return true;
}

/* ---- the memory of a node for parked ones ---- */
uint64_t gt_ctl_park_gpu_bytes(const struct gt_ctl_replica *r)
{
	uint64_t given = 0;

	if (r->park.method == GT_PARK_FREEZE)
		return 0;
	for (size_t i = 0; i < r->gpus.n; i++)
		given += r->gpus.list[i].memory_bytes;
	return gt_usage_gpu_parked(&r->usage, given);
}

static uint64_t pool_need(const struct gt_ctl_replica *r)
{
	uint64_t bytes = r->usage.has & GT_USAGE_MEMORY ? r->usage.memory_bytes : r->memory_bytes;

	return bytes + gt_ctl_park_gpu_bytes(r);
}

static uint32_t priority_of(const struct gt_ctl_replica *r)
{
	return r->rev ? r->rev->spec->park.priority : 0;
}

/* Never one that is above who needs the memory; nor, of the same rank, one that is about to come
 * back to the very place that is made here. */
static bool pool_may_go(struct gt_control *c, const struct gt_ctl_replica *r,
			const struct gt_ctl_replica *needs)
{
	bool returns = r->f && needs->room_for != 0 &&
		       gt_ctl_live(c, r->f)->number == needs->room_for;

	return r->state == GT_REPLICA_PARKED &&
	       priority_of(r) + (returns ? 1 : 0) <= priority_of(needs);
}

/* Lower priority, and longer parked, goes first. */
static struct gt_ctl_replica *pool_coldest(struct gt_control *c, const struct gt_ctl_replica *needs)
{
	struct gt_ctl_replica *r, *best = NULL;

	DL_FOREACH2(needs->node->list, r, node_next)
	{
		if (!pool_may_go(c, r, needs))
			continue;
		if (!best || priority_of(r) < priority_of(best) ||
		    (priority_of(r) == priority_of(best) && r->parked_ns < best->parked_ns))
			best = r;
	}
	return best;
}

/* Of what is parked, as much as may go for it. */
static uint64_t pool_movable(struct gt_control *c, const struct gt_ctl_replica *needs)
{
	const struct gt_ctl_replica *r;
	uint64_t bytes = 0;

	DL_FOREACH2(needs->node->list, r, node_next)
	bytes += pool_may_go(c, r, needs) ? r->pool_bytes : 0;
	return bytes;
}

/* What the others have; *ret_leaving: of that, what is about to be free. */
static uint64_t pool_taken(const struct gt_ctl_replica *r, uint64_t *ret_leaving)
{
	const struct gt_ctl_replica *o;
	uint64_t taken = 0;

	*ret_leaving = 0;
	DL_FOREACH2(r->node->list, o, node_next)
	{
		if (o == r)
			continue;
		taken += o->pool_bytes;
		*ret_leaving += gt_ctl_leaving(o) ? o->pool_bytes : 0;
	}
	return taken;
}

static bool pool_fits(const struct gt_ctl_replica *r)
{
	uint64_t size = r->node->parking_bytes, leaving, taken = pool_taken(r, &leaving);
	uint64_t need = pool_need(r);

	return taken <= size && need <= size - taken;
}

/* True: there is room, now. Else colder ones were told to go, or r itself when that can not help.
 */
static bool pool_room(struct gt_control *c, struct gt_ctl_replica *r, uint64_t need)
{
	uint64_t size = r->node->parking_bytes, leaving, taken = pool_taken(r, &leaving);
	struct gt_ctl_replica *coldest;

	if (pool_fits(r))
		return true;
	if (taken - leaving - pool_movable(c, r) + need > size) {
		gt_ctl_replica_leave(c, r, reason_memory, false);
		return false;
	}
	while (taken - leaving + need > size && (coldest = pool_coldest(c, r))) {
		leaving += coldest->pool_bytes;
		gt_ctl_journal_evict(c, coldest, r->function, 0, 1);
		gt_ctl_replica_leave(c, coldest, reason_memory, false);
	}
	return false;
}

void gt_ctl_park_ended(struct gt_control *c, const struct gt_ctl_replica *r)
{
	const struct gt_ctl_replica *o;

	if (r->pool_bytes == 0)
		return;
	DL_FOREACH2(r->node->list, o, node_next)
	if (o->state == GT_REPLICA_PARKING && !o->park_ordered && o->f)
		gt_ctl_touch(c, o->f);
}

/* ---- in time ---- */
uint64_t gt_ctl_park_due(const struct gt_ctl_replica *r)
{
	if (gt_ctl_leaving(r))
		return CTL_NEVER;
	if (r->state == GT_REPLICA_UNPARKING || (r->state == GT_REPLICA_PARKING && r->park_ordered))
		return r->step_until_ns;
	if (r->state == GT_REPLICA_PARKED && r->rev &&
	    r->rev->spec->scale.idle_ms != GT_IDLE_LEARNED)
		return r->parked_ns + r->rev->spec->scale.idle_ms * GT_NS_PER_MS;
	return CTL_NEVER;
}

void gt_ctl_park_check(struct gt_control *c, struct gt_ctl_replica *r)
{
	uint64_t need;

	if (r->state != GT_REPLICA_PARKING || r->park_ordered)
		return;
	need = pool_need(r);
	if (!gt_ctl_gateways_drained(c, r) || !pool_room(c, r, need))
		return;
	r->pool_bytes = need;
	step_begin(c, r, true);
}

void gt_ctl_park_late(struct gt_control *c, struct gt_ctl_replica *r)
{
	if (gt_ctl_now(c) < gt_ctl_park_due(r))
		return;
	if (r->state == GT_REPLICA_PARKED)
		gt_ctl_replica_leave(c, r, "idle", false);
	else
		gt_ctl_replica_leave(c, r, "parking took too long", true);
}

/* ---- and back ---- */
static bool rebook(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_sched_spot old = r->spot;

	if (!r->off_gpu)
		return true;
	r->spot = (struct gt_sched_spot){ 0 };
	r->off_gpu = false;
	if (gt_ctl_book_again(c, r) == 0) {
		gt_sched_release(c->sched, &old);
		return true;
	}
	r->spot = old;
	r->off_gpu = true;
	return false;
}

bool gt_ctl_unpark_fits(struct gt_control *c, const struct gt_ctl_replica *r)
{
	struct gt_ctl_replica like = *r;

	if (!r->off_gpu)
		return true;
	like.spot = (struct gt_sched_spot){ 0 };
	like.off_gpu = false;
	if (gt_ctl_book_again(c, &like) < 0)
		return false;
	gt_sched_release(c->sched, &like.spot);
	return true;
}

/* Its place was promised to a function that waits for it. */
static bool is_promised(const struct gt_control *c, const struct gt_ctl_replica *r)
{
	const struct gt_ctl_live *live;

	if (r->room_for == 0)
		return false;
	LL_FOREACH2(c->blocked, live, next_blocked)
	if (live->number == r->room_for && live->blocked_ns != 0 && live->queued > 0)
		return true;
	return false;
}

static bool may_return(const struct gt_control *c, const struct gt_ctl_live *live,
		       const struct gt_ctl_replica *r)
{
	if (gt_ctl_leaving(r) || !gt_ctl_current(r) || !may_stay(r))
		return false;
	if (r->state == GT_REPLICA_PARKING)
		return !is_promised(c, r);
	return r->state == GT_REPLICA_PARKED &&
	       (!r->off_gpu || !gt_ctl_room_promised(c, live, r->node->index));
}

/* The one that is back soonest: still serving, then on its way, then the last that was parked. */
static int nearness(const struct gt_ctl_replica *r)
{
	if (r->state == GT_REPLICA_PARKING)
		return r->park_ordered ? 1 : 2;
	return 0;
}

bool gt_ctl_unpark_one(struct gt_control *c, struct gt_ctl_live *live)
{
	struct gt_ctl_replica *r, *best = NULL;

	DL_FOREACH (live->replicas, r) {
		if (!may_return(c, live, r))
			continue;
		if (best && (nearness(r) < nearness(best) ||
			     (nearness(r) == nearness(best) && r->parked_ns <= best->parked_ns)))
			continue;
		if (gt_ctl_unpark_fits(c, r))
			best = r;
	}
	if (!best)
		return false;
	if (best->state == GT_REPLICA_PARKING && !best->park_ordered) {
		back(c, best, "called");
		return true;
	}
	if (!rebook(c, best))
		return false;
	best->reason = "demand";
	best->room_for = 0;
	moved(c, best, GT_REPLICA_UNPARKING, "called");
	gt_ctl_journal_park(c, best, "called", "");
	step_begin(c, best, false);
	return true;
}

/* ---- what a node saw ---- */
/* After a start of control, as its node has it. */
static void found_parked(struct gt_control *c, struct gt_ctl_replica *r,
			 const struct gt_observed *o)
{
	r->ready_ns = r->on_ns = gt_ctl_now(c);
	r->ready_ms = gt_wall_ms(&c->ports.clock);
	r->turn = o->turn;
	r->park_ordered = true;
	r->pool_bytes = o->park.bytes;
	r->step_until_ns = gt_ctl_now(c) + STEP_NS;
	r->parked_ns = gt_ctl_now(c);
	if (o->state == GT_REPLICA_PARKING)
		gt_replica_state_move(&r->state, GT_REPLICA_READY);
	moved(c, r, o->state, "found parked");
}

void gt_ctl_observe_parked(struct gt_control *c, struct gt_ctl_replica *r,
			   const struct gt_observed *o)
{
	struct gt_ctl_live *live = r->f ? gt_ctl_live(c, r->f) : NULL;

	if (r->state < GT_REPLICA_READY) {
		found_parked(c, r, o);
		return;
	}
	if (o->state != GT_REPLICA_PARKED || r->state != GT_REPLICA_PARKING || !r->park_ordered ||
	    o->turn != r->turn)
		return;
	r->pool_bytes = o->park.bytes;
	r->parked_ns = gt_ctl_now(c);
	if (live) {
		live->parking.parks++;
		mean_add(&live->parking.park_ms, &live->parking.park_sum_ms, step_ms(c, r));
	}
	r->off_gpu = r->gpus.n > 0;
	if (r->off_gpu) {
		gt_sched_release(c->sched, &r->spot);
		gt_ctl_book(c, r);
	}
	r->room_for = 0; /* it is there */
	moved(c, r, GT_REPLICA_PARKED, gt_park_method_name(r->park.method));
	gt_ctl_blocked_touch(c);
}

static void refused(struct gt_control *c, struct gt_ctl_replica *r)
{
	uint32_t times = GT_MAX(r->park.refused, 1U);

	gt_ctl_live(c, r->f)->parking.refused++;
	/* It has grown since its node told how large it is: now that is known, and others can go.
	 */
	r->park_retry_ns = gt_ctl_now(c);
	if (pool_fits(r))
		r->park_retry_ns += RETRY_FIRST_NS << GT_MIN(times - 1, 6U);
	gt_ctl_event(c, "replica.park_refused", r->function, r->id, r->node->name, NULL, "%s",
		     r->park.why);
	back(c, r, "could not be parked");
	gt_ctl_blocked_touch(c); /* who waited for its place looks for another, or waits on */
}

void gt_ctl_observe_back(struct gt_control *c, struct gt_ctl_replica *r,
			 const struct gt_observed *o)
{
	if (gt_ctl_leaving(r) || !r->f || o->turn != r->turn)
		return;
	struct gt_ctl_live *live = gt_ctl_live(c, r->f);

	if (r->state == GT_REPLICA_UNPARKING) {
		live->parking.wakes++;
		mean_add(&live->parking.wake_ms, &live->parking.wake_sum_ms, step_ms(c, r));
		r->on_ns = gt_ctl_now(c);
		back(c, r, "is back");
	} else if (r->state == GT_REPLICA_PARKING && r->park_ordered) {
		refused(c, r);
	} else if (r->state == GT_REPLICA_PARKED) {
		/* Its node lost sight of it. Its place may be another's. */
		gt_ctl_replica_leave(c, r, "not parked any more", true);
	}
}
