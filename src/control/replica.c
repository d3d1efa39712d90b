/* replica.c - one replica from its order to its end. The state changes through
 * gt_replica_state_move only, and each change leaves an event. */
#include "gang.h"
#include "place.h"

#include <stdlib.h>
#include <string.h>

#define STRAY_GRACE_MS GT_DEFAULT_DRAIN_MS /* its spec is unknown */

static const char *name_of_node(const struct gt_ctl_replica *r)
{
	return r->node->name;
}

static void state_event(struct gt_control *c, const struct gt_ctl_replica *r, const char *text)
{
	char type[40];

	gt_strcopy(type, sizeof(type), "replica.");
	gt_strcopy(type + 8, sizeof(type) - 8, gt_replica_state_name(r->state));
	gt_ctl_event(c, type, r->function, r->id, name_of_node(r), r->end ? r->end->cause : "",
		     "revision %u: %s", r->revision, text);
}

static void replica_link(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_ctl_replica **list = r->f ? &gt_ctl_live(c, r->f)->replicas : &c->strays;

	DL_PREPEND(*list, r);
	HASH_ADD_STR(c->replicas, id, r);
	DL_PREPEND2(r->node->list, r, node_prev, node_next);
	r->node->replicas++;
}

/* The books of the node are closed here too: an ended replica takes nothing. */
static void replica_unlink(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_ctl_replica **list = r->f ? &r->f->live->replicas : &c->strays;

	DL_DELETE(*list, r);
	HASH_DEL(c->replicas, r);
	DL_DELETE2(r->node->list, r, node_prev, node_next);
	r->node->replicas--;
	gt_sched_release(c->sched, &r->spot);
}

static void replica_bind(struct gt_ctl_replica *r, struct gt_ctl_function *f)
{
	r->f = f;
	r->rev = gt_ctl_revision_ref(f->rev);
}

struct gt_ctl_replica *gt_ctl_replica_new(struct gt_control *c, struct gt_ctl_function *f,
					  const struct gt_sched_spot *spot,
					  struct gt_ctl_gang *gang,
					  const struct gt_gang_member *member, const char *reason)
{
	struct gt_ctl_replica *r = gt_alloc(sizeof(*r));

	gt_ulid(&c->ports.clock, &c->ports.rnd, r->id);
	gt_strcopy(r->function, sizeof(r->function), gt_ctl_name(f));
	r->revision = f->rev->row.revision;
	r->spot = *spot;
	r->node = c->node_at[spot->node];
	r->state = GT_REPLICA_PENDING;
	r->created_ms = gt_wall_ms(&c->ports.clock);
	r->created_ns = gt_ctl_now(c);
	r->reason = reason;
	r->gang = gang;
	if (gang) {
		r->member = *member;
		gt_strcopy(r->member.id, sizeof(r->member.id), gang->id);
	}
	replica_bind(r, f);
	r->cpu_milli = f->rev->spec->resources.cpu_milli;
	r->memory_bytes = f->rev->spec->resources.memory_bytes;
	gt_ctl_gpus_of_spot(r);
	replica_link(c, r);
	gt_ctl_live(c, f)->starts_total += !gt_ctl_follows(r);
	gt_ctl_replica_order(c, r);
	state_event(c, r, reason);
	return r;
}

struct gt_ctl_replica *gt_ctl_replica_adopt(struct gt_control *c, struct gt_ctl_function *f,
					    struct gt_ctl_node *node, const struct gt_observed *o)
{
	struct gt_ctl_replica *r = gt_alloc(sizeof(*r));

	gt_strcopy(r->id, sizeof(r->id), o->replica);
	gt_strcopy(r->function, sizeof(r->function), o->function);
	r->revision = o->revision;
	r->node = node;
	r->state = GT_REPLICA_PENDING;
	r->adopted = r->seen = true;
	r->created_ms = o->created_ms;
	r->created_ns = gt_ctl_now(c);
	r->reason = "adopted";
	if (f)
		replica_bind(r, f);
	r->cpu_milli = o->cpu_milli; /* of its own revision */
	r->memory_bytes = o->memory_bytes;
	r->turn = o->turn;
	r->park = o->park;
	r->park_ordered = o->state == GT_REPLICA_PARKING || o->state == GT_REPLICA_PARKED;
	r->off_gpu = o->state == GT_REPLICA_PARKED && o->n_gpus > 0;
	if (o->n_gpus > 0) {
		r->gpus.n = o->n_gpus;
		r->gpus.list = gt_alloc_array(o->n_gpus, sizeof(*o->gpus));
		memcpy(r->gpus.list, o->gpus, o->n_gpus * sizeof(*o->gpus));
	}
	gt_ctl_book(c, r);
	replica_link(c, r);
	r->member = o->gang;
	if (o->gang.size > 0)
		gt_ctl_gang_adopt(c, r);
	return r;
}

void gt_ctl_replica_free(struct gt_ctl_replica *r)
{
	gt_ctl_revision_unref(r->rev);
	free(r->gpus.list);
	if (r->end)
		gt_end_fini(r->end);
	free(r->end);
	free(r);
}

/* ---- orders ---- */
/* The text is borrowed: the order must not be fini'd. One that was found, of an older revision, has
 * no text here: its node knows it, or must not start it with another's. */
void gt_ctl_replica_order_fill(const struct gt_ctl_replica *r, struct gt_order *o)
{
	static char no_spec[] = "{}";
	bool has_spec = r->rev && r->rev->row.revision == r->revision;

	*o = (struct gt_order){ .revision = r->revision,
				.want = r->stop_ordered   ? GT_WANT_STOP
					: r->park_ordered ? GT_WANT_PARK
							  : GT_WANT_RUN,
				.turn = r->turn,
				.known = r->seen,
				.grace_ms = r->grace_ms,
				.spec_json = has_spec ? r->rev->row.spec_json : no_spec,
				.gpus = r->gpus.list,
				.n_gpus = r->gpus.n,
				.gang = r->member };
	gt_strcopy(o->replica, sizeof(o->replica), r->id);
	gt_strcopy(o->function, sizeof(o->function), r->function);
	if (r->gang && r->gang->addresses) {
		o->addresses = r->gang->addresses;
		o->n_addresses = r->gang->size;
	}
}

void gt_ctl_replica_order(struct gt_control *c, const struct gt_ctl_replica *r)
{
	struct gt_order o;

	gt_ctl_replica_order_fill(r, &o);
	c->ports.on_order(c->ports.ctx, r->node->name, &o);
}

static uint64_t drain_ms(const struct gt_ctl_replica *r)
{
	return r->rev ? r->rev->spec->limits.drain_ms : STRAY_GRACE_MS;
}

void gt_ctl_replica_stop_order(struct gt_control *c, struct gt_ctl_replica *r, bool force)
{
	uint64_t grace_ms = force ? 0 : drain_ms(r);

	if (r->stop_ordered && r->grace_ms == grace_ms)
		return;
	r->stop_ordered = true;
	r->grace_ms = grace_ms;
	gt_ctl_replica_order(c, r);
}

void gt_ctl_replica_reroute(struct gt_control *c, const struct gt_ctl_replica *r)
{
	if (!r->f)
		return;
	gt_ctl_live(c, r->f)->route_changed = true;
	gt_ctl_touch(c, r->f);
}

void gt_ctl_replica_leave_alone(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
				bool force)
{
	bool may_serve = r->state == GT_REPLICA_READY || r->state == GT_REPLICA_PARKING ||
			 r->state == GT_REPLICA_DRAINING;

	if (r->state != GT_REPLICA_DRAINING) {
		r->reason = reason;
		r->drain_until_ns = gt_ctl_now(c) + drain_ms(r) * GT_NS_PER_MS;
		gt_replica_state_move(&r->state, GT_REPLICA_DRAINING);
		state_event(c, r, reason);
	}
	if (force || !may_serve)
		gt_ctl_replica_stop_order(c, r, force);
	gt_ctl_replica_reroute(c, r);
}

void gt_ctl_replica_leave(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
			  bool force)
{
	if (r->gang)
		gt_ctl_gang_leave(c, r->gang, reason, force);
	else
		gt_ctl_replica_leave_alone(c, r, reason, force);
}

void gt_ctl_replica_stop_found(struct gt_control *c, struct gt_ctl_replica *r)
{
	if (r->gang) {
		gt_ctl_gang_break(c, r->gang, false, "a member is stopped by its node");
		return;
	}
	gt_ctl_replica_leave(c, r, "stopped by its node", false);
	gt_ctl_replica_stop_order(c, r, false);
}

void gt_ctl_replica_drain_check(struct gt_control *c, struct gt_ctl_replica *r)
{
	if (r->state != GT_REPLICA_DRAINING || r->stop_ordered || (r->gang && gt_ctl_follows(r)))
		return;
	if (gt_ctl_now(c) < r->drain_until_ns && !gt_ctl_gateways_drained(c, r))
		return;
	if (r->gang)
		gt_ctl_gang_stop(c, r->gang, false);
	else
		gt_ctl_replica_stop_order(c, r, false);
}

/* ---- what a node saw ---- */
static void start_time_learn(struct gt_ctl_live *live, const struct gt_ctl_replica *r)
{
	/* Without its image's pull and a fill of the store: minutes that the next start does not
	 * take. */
	uint64_t all_ns = r->ready_ns - r->created_ns;
	uint64_t pull_us = r->phases.image_us + r->phases.weights_us;
	uint64_t pull_ns = GT_MIN(pull_us * GT_NS_PER_US, all_ns);
	uint64_t ms = (all_ns - pull_ns) / GT_NS_PER_MS;

	live->start_ms = live->start_ms == CTL_START_MS_DEFAULT
				 ? ms
				 : (7 * live->start_ms + 3 * ms) / 10;
	live->start_ms = GT_MAX(live->start_ms, 1);
	gt_ctl_sample_start(live, all_ns - pull_ns);
}

void gt_ctl_replica_ready(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_ctl_live *live = r->f ? gt_ctl_live(c, r->f) : NULL;
	const struct gt_ctl_replica *other;
	uint32_t ready = 0;

	r->ready_ns = r->on_ns = gt_ctl_now(c);
	r->ready_ms = gt_wall_ms(&c->ports.clock);
	gt_replica_state_move(&r->state, GT_REPLICA_READY);
	state_event(c, r, r->adopted ? "found running" : "answers");
	if (!live || gt_ctl_follows(r))
		return;
	if (!r->adopted)
		start_time_learn(live, r);
	if (gt_ctl_current(r))
		gt_ctl_failure_clear(live);
	DL_FOREACH (live->replicas, other)
		ready += other->state == GT_REPLICA_READY && !gt_ctl_follows(other);
	/* Of a found one nothing is known, unless the last control told what it was kept for. */
	if (!r->adopted || c->settled || !live->holds_known ||
	    live->f->rev->spec->scale_policy == GT_SCALE_KPA)
		live->sample.renew = ready;
	live->route_changed = true;
	gt_ctl_touch(c, r->f);
}

/* The last few of a function stay readable after their end. */
static void history_add(struct gt_ctl_live *live, struct gt_ctl_replica *r)
{
	DL_PREPEND(live->ended, r);
	if (live->n_ended++ < CTL_ENDED_KEPT)
		return;
	struct gt_ctl_replica *oldest = live->ended->prev; /* a DL's head knows its tail */

	DL_DELETE(live->ended, oldest);
	gt_ctl_replica_free(oldest);
	live->n_ended--;
}

void gt_ctl_replica_ended(struct gt_control *c, struct gt_ctl_replica *r,
			  enum gt_replica_state state, const struct gt_end *end)
{
	bool meant = gt_ctl_leaving(r), again = gt_ctl_gang_ended(c, r, meant, end);

	gt_replica_state_move(&r->state, state);
	r->ended_ms = gt_wall_ms(&c->ports.clock);
	if (end && (end->cause[0] || end->text[0])) {
		r->end = gt_alloc(sizeof(*r->end));
		gt_end_copy(r->end, end);
	}
	state_event(c, r, end && end->text[0] ? end->text : r->reason);
	c->ports.on_forget(c->ports.ctx, r->node->name, r->id);
	replica_unlink(c, r);
	gt_ctl_park_ended(c, r);
	gt_ctl_blocked_touch(c);
	if (!r->f) {
		gt_ctl_replica_free(r);
		return;
	}
	struct gt_ctl_live *live = gt_ctl_live(c, r->f);

	live->route_changed = true;
	if (!meant && end && !again)
		gt_ctl_failure_note(c, r, end);
	history_add(live, r);
	gt_ctl_touch(c, live->f);
}

void gt_ctl_replica_orphan(struct gt_control *c, struct gt_ctl_replica *r)
{
	DL_DELETE(r->f->live->replicas, r);
	r->f = NULL;
	DL_PREPEND(c->strays, r);
}

/* ---- reading ---- */
static void view_of(const struct gt_ctl_replica *r, struct gt_replica_view *v)
{
	*v = (struct gt_replica_view){ .id = r->id,
				       .function = r->function,
				       .node = r->node->name,
				       .revision = r->revision,
				       .state = r->state,
				       .pid = r->pid,
				       .created_ms = r->created_ms,
				       .ready_ms = r->ready_ms,
				       .ended_ms = r->ended_ms,
				       .phases = r->phases,
				       .usage = &r->usage,
				       .pull = r->pull,
				       .park = r->park,
				       .parks = r->rev && r->rev->spec->park.method != GT_PARK_STOP,
				       .weights = r->weights,
				       .gpus = r->gpus.list,
				       .n_gpus = r->gpus.n,
				       .gpu = gt_ctl_gpu_of(r),
				       .member = r->member.size ? &r->member : NULL,
				       .end = r->end,
				       .reason = r->reason };
}

struct found {
	const struct gt_ctl_replica **all;
	size_t n, cap;
};

static void found_add(struct found *found, const struct gt_ctl_replica *list)
{
	const struct gt_ctl_replica *r;

	DL_FOREACH (list, r) {
		if (found->n == found->cap) {
			found->cap = found->cap ? 2 * found->cap : 32;
			found->all = gt_grow(found->all, found->cap, sizeof(found->all[0]));
		}
		found->all[found->n++] = r;
	}
}

static int newest_first(const void *a, const void *b)
{
	return strcmp((*(const struct gt_ctl_replica *const *)b)->id,
		      (*(const struct gt_ctl_replica *const *)a)->id);
}

void gt_control_replicas(struct gt_control *c, const char *function,
			 bool (*fn)(const struct gt_replica_view *v, void *arg), void *arg)
{
	struct gt_ctl_function *f = function ? gt_ctl_function_find(c, function) : NULL;
	struct found found = { 0 };
	const struct gt_ctl_live *live;

	if (!function) {
		DL_FOREACH (c->lives, live) {
			found_add(&found, live->replicas);
			found_add(&found, live->ended);
		}
		found_add(&found, c->strays);
	} else if (f && f->live) {
		found_add(&found, f->live->replicas);
		found_add(&found, f->live->ended);
	}
	if (found.n > 0) /* ids sort by time */
		qsort(found.all, found.n, sizeof(found.all[0]), newest_first);
	for (size_t i = 0; i < found.n; i++) {
		struct gt_replica_view v;

		view_of(found.all[i], &v);
		if (!fn(&v, arg))
			break;
	}
	free(found.all);
}

int gt_control_replica_stop(struct gt_control *c, const char *function, const char *id, bool force,
			    struct gt_err *err)
{
	struct gt_ctl_replica *r;

	HASH_FIND_STR(c->replicas, id, r);
	if (!r || strcmp(r->function, function) != 0)
		return gt_err_set(err, ENOENT, "not_found", "function %s has no live replica %s",
				  function, id);
	gt_ctl_replica_leave(c, r, "asked", force);
	gt_ctl_finish(c);
	return 0;
}
