/* park.c - processes that stand still and come back, as src/agent does it: an order is a level, and
 * what was under way ends before the next begins. */
#include "world_priv.h"

/* ---- the node's memory for them ---- */
static uint64_t parked_bytes(const struct w_agent *a)
{
	const struct w_proc *p;
	uint64_t bytes = 0;

	DL_FOREACH (a->procs, p)
		bytes += p->park.bytes;
	return bytes;
}

static bool reserve(struct gt_world *w, struct w_proc *p)
{
	uint64_t taken = parked_bytes(p->agent), bytes = p->kind.memory_mib * GT_MIB;

	if (gt_w_sabotaged(w, "parking memory is not counted"))
		taken = 0;
	if (taken > w->config.parking_bytes || bytes > w->config.parking_bytes - taken)
		return false;
	p->park.bytes = bytes;
	return true;
}

/* ---- the ways ---- */
static void move(struct gt_world *w, struct w_proc *p, enum gt_replica_state to)
{
	gt_replica_state_move(&p->state, to);
	gt_w_agent_changed(w, p);
}

static void refuse(struct gt_world *w, struct w_proc *p)
{
	w->stats.park_refusals++;
	p->park.refused++;
	p->park.bytes = 0;
	p->want_parked = false;
	move(w, p, GT_REPLICA_READY);
	gt_w_calls_resume(w, p);
}

static void on_parked(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (!p || !p->park_busy || p->state != GT_REPLICA_PARKING)
		return;
	p->park_busy = false;
	if (gt_w_chance(w, p->kind.park_refuse_permille)) {
		refuse(w, p);
		gt_w_park_pursue(w, p);
		return;
	}
	w->stats.parks++;
	p->park.parks++;
	gt_w_meter(w);
	if (!gt_w_sabotaged(w, "a parked one keeps its GPUs"))
		w->stats.gpus_milli -= gt_w_gpus_count(w, p, false);
	move(w, p, GT_REPLICA_PARKED);
	gt_w_park_pursue(w, p);
}

static void on_back(struct gt_world *w, struct w_event *e)
{
	struct w_proc *p = gt_w_proc_of(w, e);

	if (!p || !p->park_busy || p->state != GT_REPLICA_UNPARKING)
		return;
	p->park_busy = false;
	if (gt_w_chance(w, p->kind.unpark_fail_permille)) {
		w->stats.unpark_fails++;
		gt_w_proc_end(w, p, GT_REPLICA_FAILED, "unpark_failed");
		return;
	}
	w->stats.unparks++;
	p->park.unparks++;
	p->park.refused = 0;
	p->park.bytes = 0;
	move(w, p, GT_REPLICA_READY);
	gt_w_calls_resume(w, p);
	gt_w_park_pursue(w, p);
}

void gt_w_park_pursue(struct gt_world *w, struct w_proc *p)
{
	bool off = p->state == GT_REPLICA_READY && p->want_parked;

	if (p->park_busy || (!off && (p->state != GT_REPLICA_PARKED || p->want_parked)))
		return;
	if (off && !reserve(w, p)) {
		refuse(w, p);
		return;
	}
	p->park_busy = true;
	if (!off) {
		gt_w_meter(w);
		w->stats.gpus_milli += gt_w_gpus_count(w, p, true);
	}
	move(w, p, off ? GT_REPLICA_PARKING : GT_REPLICA_UNPARKING);
	gt_w_proc_later(w, p, gt_w_below(w, (off ? p->kind.park_ms : p->kind.unpark_ms) + 1ULL),
			off ? on_parked : on_back);
}

void gt_w_park_order(struct gt_world *w, struct w_proc *p, const struct gt_order *o)
{
	bool other = p->turn != o->turn;

	if (other) {
		p->turn = o->turn;
		p->want_parked = o->want == GT_WANT_PARK;
	}
	gt_w_park_pursue(w, p);
	if (other) /* reports are of this turn, but not of the state before it */
		gt_w_agent_changed(w, p);
}
