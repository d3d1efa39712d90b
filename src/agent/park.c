/* park.c - carries out what park_steps.c says. Orders are a level, not an edge: when a way has
 * ended somewhere else than what is wanted by then, the next one begins. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/gpu/helper.h>

#include "agent_impl.h"

#define MOMENT_MS 10

/* ---- which method ---- */

static enum gt_park_method choose(const struct replica *r, const char **why)
{
	const struct gt_spec *spec = r->spec;
	enum gt_park_method asked = spec->park.method;
	bool freezer = gt_runtime_can_freeze(r->agent->rt);

	*why = "asked for";
	if (asked == GT_PARK_STOP)
		return GT_PARK_STOP;
	if (r->agent->parking_bytes == 0) {
		*why = "the node's parking_memory is 0";
		return GT_PARK_STOP;
	}
	if (asked == GT_PARK_AUTO) {
		*why = "the program can sleep";
		asked = GT_PARK_HTTP;
		if (!spec->park.http.sleep) {
			*why = "it has no GPU";
			asked = r->n_gpus ? GT_PARK_CUDA : GT_PARK_FREEZE;
		}
	}
	if (asked == GT_PARK_FREEZE && !freezer) {
		*why = "this machine can not freeze control groups";
		return GT_PARK_STOP;
	}
	if (asked == GT_PARK_CUDA && !gt_park_cuda_can(r, why))
		return GT_PARK_STOP;
	if (asked == GT_PARK_CUDA && spec->park.method == GT_PARK_AUTO)
		*why = "its driver can move what is on the GPU";
	return asked;
}

void gt_park_choose(struct replica *r)
{
	const char *why;

	r->park.method = choose(r, &why);
	if (r->park.method != GT_PARK_STOP) /* control plans with it, before the first round */
		(void)gt_usage_look(r);
	gt_strcopy(r->park.why, sizeof(r->park.why), why);
	gt_park_steps_init(&r->parking.steps, r->park.method,
			   r->park.method != GT_PARK_STOP && r->spec->park.http.sleep,
			   r->n_gpus > 0);
}

void gt_park_choose_again(struct agent *a)
{
	struct replica *r;

	for (r = a->replicas; r; r = r->hh.next)
		if (r->state == GT_REPLICA_READY && !r->parking.busy && r->n_gpus > 0)
			gt_park_choose(r);
}

/* ---- the node's memory for parked ones ---- */

static uint64_t parked_bytes(const struct agent *a)
{
	const struct replica *r;
	uint64_t bytes = 0;

	for (r = a->replicas; r; r = r->hh.next)
		bytes += r->park.bytes;
	return bytes;
}

static uint64_t given_bytes(const struct replica *r)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < r->n_gpus; i++)
		bytes += r->gpus[i].memory_bytes;
	return bytes;
}

/* What it holds, and what comes to it out of its GPUs. */
static uint64_t bytes_of(struct replica *r)
{
	uint64_t bytes = gt_usage_look(r) ? r->usage.memory_bytes : r->spec->resources.memory_bytes;

	return GT_MAX(bytes + gt_usage_gpu_parked(&r->usage, given_bytes(r)), 1u);
}

/* What its GPU holds will be in its own memory, and must not be more than it may have. */
static int raise_limit(struct replica *r)
{
	r->parking.raised = true;
	return gt_container_memory(r->container, r->spec->resources.memory_bytes + given_bytes(r),
				   NULL);
}

/* It may use more than that by now, and must not die of it. */
static void lower_limit(struct replica *r)
{
	uint64_t bytes = r->spec->resources.memory_bytes;
	struct gt_usage usage = { 0 };

	if (!r->parking.raised)
		return;
	if (gt_container_usage(r->container, &usage, NULL) < 0 || usage.memory_bytes > bytes ||
	    gt_container_memory(r->container, bytes, NULL) < 0) {
		gt_warn("replica %s keeps the memory limit that it was parked with", r->id);
		return;
	}
	r->parking.raised = false;
}

static enum park_came reserve(struct replica *r)
{
	uint64_t taken = parked_bytes(r->agent), bytes = bytes_of(r);

	if (taken > r->agent->parking_bytes || bytes > r->agent->parking_bytes - taken)
		return PARK_AGAIN;
	if (r->park.method == GT_PARK_CUDA && raise_limit(r) < 0)
		return PARK_ERROR;
	r->park.bytes = bytes;
	return PARK_OK;
}

/* ---- doing ---- */

static void on_timer(void *arg)
{
	gt_park_done(arg, PARK_OK);
}

static enum park_came came_of(int res)
{
	return res == 0 ? PARK_OK : res == -EAGAIN || res == -EBUSY ? PARK_AGAIN : PARK_ERROR;
}

/* A simulated GPU knows a process that was checkpointed, as a real one's driver does. */
static void give(struct replica *r)
{
	if (r->park.method == GT_PARK_CUDA)
		gt_gpu_ledger_give_back(r->agent->ledger, r->id);
	else
		gt_replica_gpus_return(r);
}

/* False: gt_park_done follows. */
static bool perform(struct replica *r, enum park_do what, enum park_came *came)
{
	struct gt_loop *loop = r->agent->loop;

	*came = PARK_ERROR;
	switch (what) {
	case PARK_RESERVE:
		*came = reserve(r);
		return true;
	case PARK_FREEZE:
		*came = came_of(gt_container_freeze(r->container, NULL));
		return true;
	case PARK_THAW:
		*came = came_of(gt_container_thaw(r->container, NULL));
		return true;
	case PARK_GIVE:
		give(r);
		*came = PARK_OK;
		return true;
	case PARK_TAKE:
		*came = came_of(gt_replica_gpus_again(r, NULL));
		if (*came == PARK_OK && r->park.method != GT_PARK_CUDA)
			gt_agent_gpus_started(r);
		return true;
	case PARK_FIND:
	case PARK_FREE:
	case PARK_STATE:
	case PARK_LOCK:
	case PARK_CHECKPOINT:
	case PARK_RESTORE:
	case PARK_UNLOCK:
		gt_park_ask_driver(r);
		return false;
	case PARK_SLEEP:
	case PARK_WAKE:
		gt_park_post(r, what == PARK_SLEEP ? r->spec->park.http.sleep
						   : r->spec->park.http.wake);
		return false;
	case PARK_PROBE:
		gt_probe_start(r);
		return false;
	case PARK_WAIT:
		gt_timer_set(loop, &r->parking.timer, MOMENT_MS, on_timer, r);
		return false;
	default:
		return true;
	}
}

/* ---- the ends ---- */

static uint64_t took_us(const struct replica *r)
{
	uint64_t ns = gt_loop_clock_ns(r->agent->loop) - r->parking.began_ns;

	return GT_MAX(ns / GT_NS_PER_US, 1u);
}

static void is_parked(struct replica *r)
{
	r->park.parks++;
	r->park.park_us = took_us(r);
	gt_record_park(r, GT_REPLICA_PARKED);
	gt_replica_move(r, GT_REPLICA_PARKED);
}

static void is_ready(struct replica *r)
{
	const struct park_steps *s = &r->parking.steps;

	r->park.bytes = 0;
	lower_limit(r);
	if (s->off) {
		r->park.refused++;
		r->parking.wanted = false; /* control will ask again, or stop it */
		gt_strcopy(r->park.why, sizeof(r->park.why), s->why ? s->why : "");
	} else {
		r->park.unparks++;
		r->park.refused = 0;
		r->park.unpark_us = took_us(r);
	}
	gt_record_park(r, GT_REPLICA_READY);
	gt_replica_move(r, GT_REPLICA_READY);
}

static void is_lost(struct replica *r)
{
	char text[200];

	snprintf(text, sizeof(text), "it could not be parked or brought back: %s",
		 r->parking.steps.why);
	gt_warn("replica %s: %s", r->id, text);
	gt_replica_kill(r, "unpark_failed", text);
}

static void go(struct replica *r, enum park_do next)
{
	enum park_came came;

	while (!gt_park_is_end(next)) {
		if (!perform(r, next, &came))
			return;
		next = gt_park_next(&r->parking.steps, came, gt_loop_clock_ns(r->agent->loop));
	}
	r->parking.busy = false;
	if (next == PARK_KILL) {
		is_lost(r);
		return;
	}
	if (next == PARK_PARKED)
		is_parked(r);
	else
		is_ready(r);
	gt_park_pursue(r);
}

void gt_park_done(struct replica *r, enum park_came came)
{
	if (r->parking.busy)
		go(r, gt_park_next(&r->parking.steps, came, gt_loop_clock_ns(r->agent->loop)));
}

/* ---- what is wanted ---- */

void gt_park_pursue(struct replica *r)
{
	struct parking *p = &r->parking;
	bool off = r->state == GT_REPLICA_READY && p->wanted;

	if (p->busy || r->killed || gt_gpu_reset_runs(r->agent) ||
	    (r->n_gpus > 0 && !gt_gpus_known(r->agent->gpus)) ||
	    (!off && (r->state != GT_REPLICA_PARKED || p->wanted)))
		return;
	if (off && r->park.method == GT_PARK_STOP) {
		p->wanted = false;
		r->park.refused++;
		gt_replica_move(r, GT_REPLICA_READY); /* so that it is told */
		return;
	}
	p->busy = true;
	p->began_ns = gt_loop_clock_ns(r->agent->loop);
	gt_record_park(r, GT_REPLICA_PARKING);
	gt_replica_move(r, off ? GT_REPLICA_PARKING : GT_REPLICA_UNPARKING);
	go(r, gt_park_begin(&p->steps, off));
}

void gt_park_order(struct replica *r, bool park, uint32_t turn)
{
	if (r->parking.turn != turn)
		r->parking.wanted = park;
	r->parking.turn = turn;
	gt_park_pursue(r);
	r->dirty = true; /* reports are of this turn from now on; not of the state before it */
	gt_report_soon(r->agent);
}

bool gt_park_stop(struct replica *r)
{
	struct park_steps *s = &r->parking.steps;
	bool lost = false;

	for (size_t i = 0; i < s->n; i++)
		lost |= s->procs[i] != PARK_RUNS;
	gt_park_drop(r);
	if (s->frozen && !lost)
		(void)!gt_container_thaw(r->container, NULL); /* it shall see its signal */
	r->park.bytes = 0;
	return lost;
}

void gt_park_drop(struct replica *r)
{
	gt_timer_clear(r->agent->loop, &r->parking.timer);
	gt_park_post_stop(r);
	gt_gpu_op_cancel(r->parking.op);
	r->parking.op = NULL;
	r->parking.busy = false;
}

/* Its agent may have ended in the middle of the way. What the kernel knows of it is asked; a
 * program that may be asleep or awake is of no use to anybody. */
void gt_park_adopt(struct replica *r)
{
	struct park_steps *s = &r->parking.steps;
	bool frozen = gt_container_frozen(r->container, NULL) == 1;
	enum gt_replica_state was = gt_record_park_state(r);

	if (was != GT_REPLICA_READY && s->n > 0) /* whatever the driver, if any, says by now */
		r->park.method = s->method = GT_PARK_CUDA;
	if (r->park.method == GT_PARK_FREEZE && frozen) {
		s->frozen = true;
	} else if (r->park.method == GT_PARK_HTTP && was == GT_REPLICA_PARKED) {
		s->asleep = true;
		s->on_gpu = false;
		gt_replica_gpus_return(r);
	} else if (r->park.method == GT_PARK_CUDA && was == GT_REPLICA_PARKED && s->n > 0) {
		for (size_t i = 0; i < s->n; i++)
			s->procs[i] = PARK_CHECKPOINTED;
		s->frozen = frozen;
		s->on_gpu = false;
		r->parking.raised = true;
		give(r);
	} else {
		gt_replica_move(r, GT_REPLICA_READY);
		if (frozen || was != GT_REPLICA_READY) {
			s->why = "its agent ended while it was being parked";
			is_lost(r);
		}
		return;
	}
	r->parking.wanted = true; /* until control says otherwise */
	r->park.bytes = bytes_of(r);
	gt_replica_move(r, GT_REPLICA_PARKED);
}
