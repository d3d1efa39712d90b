/* decide.c - one function: what it should have against what it has. Called once for each input that
 * touched it, and when its time has come; it may be called at any moment without harm. */
#include "gang.h"
#include "host.h"
#include "place.h"

#define FENCE_LOOK_NS (500 * GT_NS_PER_MS)

/* Replicas that stay, of the current revision and of older ones. */
struct tally {
	uint32_t ready, starting; /* starting: also those that come back from parking */
	uint32_t parked;          /* also those on their way there */
	uint32_t old_ready;       /* of older revisions, and those on nodes that drain */
	bool only_moves;          /* all of old_ready are of the current revision */
};

/* Of the current revision, where it may stay. */
static bool stays(const struct gt_ctl_replica *r)
{
	return gt_ctl_current(r) && r->node->duty != GT_DUTY_DRAINING;
}

static bool is_starting(const struct gt_ctl_replica *r)
{
	return (r->state < GT_REPLICA_READY || r->state == GT_REPLICA_UNPARKING) &&
	       !gt_ctl_leaving(r);
}

static bool is_parked(const struct gt_ctl_replica *r)
{
	return (r->state == GT_REPLICA_PARKING || r->state == GT_REPLICA_PARKED) &&
	       !gt_ctl_leaving(r) && stays(r);
}

/* A gang stays as a whole: where one member may not, none does. The first that may not. */
static const struct gt_ctl_replica *gang_mover(const struct gt_ctl_gang *g)
{
	for (uint32_t i = 0; i < g->size; i++)
		if (g->seats[i].r && !stays(g->seats[i].r))
			return g->seats[i].r;
	return NULL;
}

static struct tally tally_of(const struct gt_ctl_live *live)
{
	const struct gt_ctl_replica *r;
	const struct gt_ctl_gang *g;
	struct tally t = { .only_moves = true };

	DL_FOREACH (live->gangs, g) {
		bool current = g->revision == live->f->rev->row.revision;

		if (!gt_ctl_gang_counts(g))
			continue;
		if (!g->admitted || g->broken) {
			t.starting += current && (g->broken || !gang_mover(g));
			continue;
		}
		*(gang_mover(g) ? &t.old_ready : &t.ready) += 1;
		t.only_moves = t.only_moves && current;
	}
	DL_FOREACH (live->replicas, r) {
		if (r->member.size > 0)
			continue; /* counted with its gang */
		if (is_starting(r))
			t.starting += stays(r);
		else if (is_parked(r))
			t.parked++;
		else if (r->state == GT_REPLICA_READY && !gt_ctl_leaving(r)) {
			*(stays(r) ? &t.ready : &t.old_ready) += 1;
			t.only_moves = t.only_moves && gt_ctl_current(r);
		}
	}
	return t;
}

/* Old replicas bridge the time until a new one is ready, if there is anything to bridge for; and
 * those on nodes that drain until each has a successor. What is still starting would be of no use
 * to anybody. */
static void replace_old(struct gt_control *c, struct gt_ctl_live *live, struct tally *t)
{
	bool bridge = live->decision.need > 0 && t->ready == 0, late;
	uint32_t move = live->decision.need > t->ready ? live->decision.need - t->ready : 0;
	struct gt_ctl_replica *r;

	t->old_ready = 0;
	DL_FOREACH (live->replicas, r) {
		bool moves = gt_ctl_current(r), keep = r->state == GT_REPLICA_READY;
		const struct gt_ctl_replica *mover = r->gang    ? gang_mover(r->gang)
						     : stays(r) ? NULL
								: r;

		if (!mover || gt_ctl_leaving(r) || (r->gang && gt_ctl_follows(r)))
			continue;
		if (moves) {
			(void)gt_ctl_node_moves(c, mover->node, &late);
			keep = keep && move > 0 && !late;
			move -= keep;
		} else {
			keep = keep && bridge;
		}
		t->old_ready += keep;
		if (!keep)
			gt_ctl_replica_leave(c, r, moves ? "node drains" : "replaced", false);
	}
}

/* Nobody can be told when room appears, so waiters are not refused before it has lasted. */
static void start_blocked(struct gt_control *c, struct gt_ctl_live *live, const struct tally *t,
			  const struct gt_sched_look *look, const struct gt_err *why)
{
	uint64_t now = gt_ctl_now(c);
	struct gt_end end = { .cause = "no_capacity", .exit_code = -1 };
	const struct gt_ctl_node *node = gt_ctl_gpus_may_come(c, NULL, live->f->rev->spec);

	if (live->blocked_ns == 0) {
		gt_auto(free) char *text = gt_asprintf(
			"%s%s%s", why->text,
			node ? "; which GPUs there are is not known yet on node " : "",
			node ? node->name : "");

		live->blocked_ns = now;
		gt_ctl_blocked_add(c, live);
		(void)gt_ctl_pressure(c, live);
		gt_ctl_event(c, "scale.blocked", gt_ctl_name(live->f), NULL, NULL, "no_capacity",
			     "%s", text);
		gt_ctl_journal_place(c, live, NULL, look, text);
		return;
	}
	if (gt_ctl_pressure(c, live) || now < live->blocked_ns + CTL_NO_CAPACITY_NS ||
	    t->ready + t->old_ready > 0 || live->coming || node)
		return; /* it waits for its turn, GPUs or a host, or has something to serve with */
	gt_strcopy(end.text, sizeof(end.text), why->text);
	gt_ctl_failure_refuse(live, &end, now + CTL_NO_CAPACITY_NS);
	live->blocked_ns = now + CTL_NO_CAPACITY_NS; /* who comes after that may wait again */
}

static int place_next(struct gt_control *c, struct gt_ctl_live *live, struct gt_sched_spot *ret,
		      struct gt_sched_look *look, struct gt_err *err)
{
	int r = gt_ctl_place(c, live, ret, look, err);

	if (r < 0 || !gt_ctl_room_promised(c, live, ret->node))
		return r;
	gt_sched_release(c->sched, ret);
	return gt_err_set(err, ENOSPC, "no_capacity",
			  "the room that there is was made for another function");
}

/* A place for all of the next one. */
static int reserve(struct gt_control *c, struct gt_ctl_live *live,
		   struct gt_sched_spot ret[GT_GANG_MAX], struct gt_sched_look *look,
		   struct gt_err *err)
{
	if (live->f->rev->spec->gang.size > 0)
		return gt_ctl_gang_reserve(c, live, ret, look, err);
	return place_next(c, live, ret, look, err);
}

static struct gt_ctl_replica *start_one(struct gt_control *c, struct gt_ctl_live *live,
					const struct gt_sched_spot *spots, const char *reason)
{
	if (live->f->rev->spec->gang.size > 0)
		return gt_ctl_gang_start(c, live, spots, reason);
	return gt_ctl_replica_new(c, live->f, spots, NULL, NULL, reason);
}

/* Its old replicas may run where nobody sees them. */
static bool fenced(struct gt_control *c, struct gt_ctl_live *live)
{
	uint64_t until = gt_ctl_fence_ns(c, live);
	bool told = live->fence_told;

	live->fence_told = until != 0;
	if (until && !told)
		gt_ctl_event(c, "scale.fenced", gt_ctl_name(live->f), NULL, NULL, "node_lost",
			     "a replica may still run on a node that is away: none starts for "
			     "%llu ms",
			     (unsigned long long)((until - gt_ctl_now(c)) / GT_NS_PER_MS));
	return until != 0;
}

/* How many may be started now. */
static uint32_t start_room(struct gt_control *c, struct gt_ctl_live *live, const struct tally *t)
{
	uint32_t have = t->ready + t->starting, need = live->decision.need;
	uint32_t min = live->f->rev->spec->scale.min;

	if (have >= need || gt_ctl_now(c) < live->retry_at_ns || fenced(c, live))
		return 0;
	/* After a backoff somebody must ask for it: those who had waited were refused. */
	if (live->retry_at_ns && live->queued == 0 && min == 0 && t->ready + t->old_ready == 0)
		return 0;
	/* One over max while the old revision serves; and one try while none has succeeded. */
	if (live->failures > 0 && t->ready == 0)
		return t->starting > 0 ? 0 : 1;
	if (t->old_ready > 0) {
		uint32_t max = live->f->rev->spec->scale.max + 1, all = have + t->old_ready;

		if (t->only_moves && all < max)
			return GT_MIN(need - have, max - all);
		return t->starting > 0 ? 0 : 1;
	}
	return need - have;
}

/* A place was found. */
static void unblocked(struct gt_ctl_live *live)
{
	if (live->blocked_ns == 0)
		return;
	live->blocked_ns = 0;
	if (live->failures == 0)
		gt_ctl_failure_clear(live);
}

/* Those that are parked come first: they are there in a moment. */
static void unpark_missing(struct gt_control *c, struct gt_ctl_live *live, struct tally *t)
{
	while (t->parked > 0 && t->ready + t->starting < live->decision.need &&
	       gt_ctl_unpark_one(c, live)) {
		*t = tally_of(live);
		unblocked(live);
	}
}

/* A parked one that can not come back where it is (its GPUs are another's) gives way. */
static void max_keep(struct gt_control *c, struct gt_ctl_live *live, struct tally *t,
		     uint32_t started)
{
	struct gt_ctl_replica *r;

	if (t->parked == 0 ||
	    t->ready + t->starting + started + t->parked < live->f->rev->spec->scale.max)
		return;
	DL_FOREACH (live->replicas, r) {
		if (!is_parked(r))
			continue;
		t->parked--;
		gt_ctl_replica_leave(c, r, "its GPUs are in use", false);
		return;
	}
}

static void start_missing(struct gt_control *c, struct gt_ctl_live *live, struct tally *t)
{
	uint32_t n = start_room(c, live, t), started = 0;
	const char *reason = live->queued + live->in_flight > 0 ? "demand"
			     : live->booked                     ? "schedule"
								: "min";

	if (live->decision.need <= t->ready + t->starting)
		live->blocked_ns = 0;
	live->unplaced = 0;
	for (; started < n; started++) {
		struct gt_sched_spot spots[GT_GANG_MAX];
		struct gt_err err = { 0 };
		struct gt_sched_look look = { 0 };

		if (reserve(c, live, spots, &look, &err) < 0) {
			live->unplaced = n - started;
			gt_ctl_hosts_touch(c);
			start_blocked(c, live, t, &look, &err);
			break;
		}
		max_keep(c, live, t, started);
		unblocked(live);
		if (started == 0)
			gt_ctl_event(c, "scale.up", gt_ctl_name(live->f), NULL, NULL, NULL,
				     "%u -> %u: %s", t->ready + t->starting, live->decision.need,
				     live->decision.why);
		gt_ctl_journal_place(c, live, start_one(c, live, spots, reason), &look, reason);
	}
	t->starting += started;
}

/* Those that shall outlive their replacements are looked at last. */
static void surplus_sort(struct gt_ctl_live *live)
{
	struct gt_ctl_replica *r, *next, *last = live->replicas ? live->replicas->prev : NULL;

	DL_FOREACH_SAFE (live->replicas, r, next) {
		bool end = r == last;

		if (r->original) {
			DL_DELETE(live->replicas, r);
			DL_APPEND(live->replicas, r);
		}
		if (end)
			break;
	}
}

/* Newest first: the oldest have the warmest caches. Those that still start are exempt. One that its
 * node could not park just now stays until it is asked again. */
static void stop_surplus(struct gt_control *c, struct gt_ctl_live *live, struct tally *t)
{
	uint32_t n = t->ready > live->decision.wanted ? t->ready - live->decision.wanted : 0;
	uint32_t max = live->f->rev->spec->scale.max, ready = t->ready, left = 0, room;
	struct gt_ctl_replica *r;

	if (n == 0)
		return;
	t->ready -= n;
	room = max > t->ready + t->starting ? max - t->ready - t->starting : 0;
	surplus_sort(live);
	DL_FOREACH (live->replicas, r) {
		if (n == 0)
			break;
		if (r->state != GT_REPLICA_READY || !stays(r) || gt_ctl_leaving(r) ||
		    gt_ctl_follows(r))
			continue;
		n--;
		if (gt_ctl_now(c) < r->park_retry_ns && t->parked < room)
			continue;
		if (left++ == 0)
			gt_ctl_event(c, "scale.down", gt_ctl_name(live->f), NULL, NULL, NULL,
				     "%u -> %u: %s", ready, live->decision.wanted,
				     live->decision.why);
		/* Parked ones count: all of them together must not be more than max. */
		if (t->parked < room && gt_ctl_park(c, r, "idle", NULL))
			t->parked++;
		else
			gt_ctl_replica_leave(c, r, "idle", false);
	}
}

/* A drain that was called off leaves a successor on its way that is one too many. */
static void stop_starting(struct gt_control *c, struct gt_ctl_live *live, struct tally *t)
{
	uint32_t max = live->f->rev->spec->scale.max;
	struct gt_ctl_replica *r;

	DL_FOREACH (live->replicas, r) {
		if (t->old_ready > 0 || t->ready + t->starting <= max)
			return;
		if (!is_starting(r) || !stays(r) || gt_ctl_follows(r))
			continue;
		gt_ctl_replica_leave(c, r, "above max", false);
		t->starting--;
	}
}

/* Failures in a row are forgotten once a replica has stayed ready for long enough. Returns when. */
static uint64_t failures_expire(struct gt_control *c, struct gt_ctl_live *live)
{
	uint64_t first = CTL_NEVER;
	const struct gt_ctl_replica *r;

	if (live->failures == 0)
		return CTL_NEVER;
	DL_FOREACH (live->replicas, r)
		if (r->state == GT_REPLICA_READY && gt_ctl_current(r))
			first = GT_MIN(first, r->ready_ns);
	if (first == CTL_NEVER)
		return CTL_NEVER;
	first += GT_BACKOFF_CLEAR_MS * GT_NS_PER_MS;
	if (gt_ctl_now(c) < first)
		return first;
	live->failures = 0;
	live->retry_at_ns = 0;
	return CTL_NEVER;
}

static uint64_t next_due(struct gt_control *c, const struct gt_ctl_live *live,
			 const struct tally *t)
{
	uint64_t now = gt_ctl_now(c), due = CTL_NEVER;
	const struct gt_ctl_replica *r;

	if (t->ready > live->decision.need)
		due = live->decision.due_ns;
	if (t->ready + t->starting < live->decision.need) {
		uint64_t fence_ns = gt_ctl_fence_ns(c, live);

		/* The member that is missing may come before. */
		if (fence_ns)
			due = GT_MIN(due, GT_MIN(fence_ns, now + FENCE_LOOK_NS));
		if (now < live->retry_at_ns)
			due = GT_MIN(due, live->retry_at_ns);
		else if (live->blocked_ns && now < live->blocked_ns + CTL_NO_CAPACITY_NS)
			due = GT_MIN(due, live->blocked_ns + CTL_NO_CAPACITY_NS);
		if (live->blocked_ns && now < live->pressure_due_ns)
			due = GT_MIN(due, live->pressure_due_ns);
	}
	DL_FOREACH (live->replicas, r) {
		if (r->state == GT_REPLICA_DRAINING && !r->stop_ordered && !gt_ctl_follows(r))
			due = GT_MIN(due, r->drain_until_ns);
		if (r->state == GT_REPLICA_READY && now < r->park_retry_ns)
			due = GT_MIN(due, r->park_retry_ns);
		due = GT_MIN(due, gt_ctl_park_due(r));
	}
	return GT_MIN(due, gt_ctl_gangs_due(live));
}

void gt_ctl_decide(struct gt_control *c, struct gt_ctl_function *f)
{
	struct gt_ctl_live *live = gt_ctl_live(c, f);
	struct gt_ctl_replica *r, *r_next;
	uint64_t due = CTL_NEVER;
	struct gt_scale_in in;
	bool busy = live->queued + live->in_flight > 0;
	struct tally t;

	DL_FOREACH_SAFE (live->replicas, r, r_next)
		if (c->settled)
			gt_ctl_park_late(c, r);
	t = tally_of(live);
	c->decided++;
	gt_ctl_scale(c, live, t.ready, t.starting, &in);
	if (busy && live->queued + live->in_flight == 0 && f->rev->spec->resources.gpu.count > 0)
		gt_ctl_blocked_touch(c); /* a turn need not last as long as a busy one's */
	if (c->settled) {
		uint64_t expire = failures_expire(c, live);

		gt_ctl_journal_scale(c, live, &in);
		replace_old(c, live, &t);
		if (!gt_ctl_fence_ns(c, live))
			gt_ctl_gangs_resume(c, live, t.ready + t.starting <= live->decision.need);
		unpark_missing(c, live, &t);
		start_missing(c, live, &t);
		stop_surplus(c, live, &t);
		stop_starting(c, live, &t);
		DL_FOREACH_SAFE (live->replicas, r, r_next) {
			gt_ctl_park_check(c, r);
			gt_ctl_replica_drain_check(c, r);
		}
		due = GT_MIN(next_due(c, live, &t), expire);
	}
	gt_ctl_promise_check(c, live);
	gt_ctl_due_set(c, live, due);
	live->touched = false; /* what the decision itself changed needs no second one */
	if (!live->route_changed)
		return;
	live->route_changed = false;
	gt_ctl_tell_route(c, f);
}
