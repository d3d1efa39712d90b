/* report.c - telling control what is. At once, one post in flight; what changes meanwhile goes with
 * the next. After a (re)connect and after a failure the next one lists everything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "images.h"

#define POST_TIMEOUT_MS 5000
#define RETRY_FIRST_MS  10
#define RETRY_MAX_MS    1000
#define PROGRESS_MS     250 /* pulls that go on make a report at most so often */

static void post(struct agent *a);

static void observe(const struct replica *r, struct gt_observed *o)
{
	gt_strcopy(o->replica, sizeof(o->replica), r->id);
	gt_strcopy(o->function, sizeof(o->function), r->function);
	o->revision = r->revision;
	o->state = r->state;
	o->pid = gt_replica_state_ended(r->state) ? 0 : r->where.pid;
	o->created_ms = r->created_ms;
	o->cpu_milli = r->spec ? r->spec->resources.cpu_milli : 0;
	o->memory_bytes = r->spec ? r->spec->resources.memory_bytes : 0;
	o->phases = r->phases;
	o->usage = r->usage;
	if (r->pull)
		o->pull = *gt_image_progress(r->pull);
	o->turn = r->parking.turn;
	o->park = r->park;
	gt_weights_observe(r->weights, &o->weights);
	o->gpus = r->gpus; /* this and the end are borrowed: not freed with the report */
	o->n_gpus = r->n_gpus;
	o->gang = r->gang;
	o->end = r->end;
}

/* Borrowed. */
static void tell_facts(struct agent *a, struct gt_report *report)
{
	const struct gt_gpu *gpus;

	gt_strcopy(report->address, sizeof(report->address), a->address);
	report->n_gpus = gt_gpus_list(a->gpus, &gpus);
	report->gpus = (struct gt_gpu *)gpus;
	report->gpu_driver = *gt_gpus_driver(a->gpus);
	report->labels = a->labels;
	report->n_labels = a->n_labels;
}

static void tell_more(struct agent *a, struct gt_report *report)
{
	struct reporter *rep = &a->report;
	const struct gt_gpu_told *told;

	if (report->full)
		tell_facts(a, report);
	if (report->full || rep->stats) {
		report->n_gpu_stats = gt_agent_gpus_stats(a, &told);
		report->gpu_stats = (struct gt_gpu_told *)told;
	}
	rep->stats = false;
	report->events = rep->events;
	report->n_events = rep->sent_events = rep->n_events;
}

static void build(struct agent *a, struct gt_buf *out)
{
	struct gt_report report = {
		.full = a->report.full,
		.epoch = a->epoch,
		.cpu_milli = a->cpu_milli,
		.memory_bytes = a->memory_bytes,
		.parking_bytes = a->parking_bytes,
	};
	struct replica *r, *next;

	gt_strcopy(report.node, sizeof(report.node), a->node);
	tell_more(a, &report);
	if (report.full || gt_weights_dirty(a->weights))
		gt_weights_observe_node(a->weights, &report.weights);
	report.replicas = gt_alloc_array(HASH_COUNT(a->replicas) + 1, sizeof(*report.replicas));
	HASH_ITER (hh, a->replicas, r, next) {
		if (report.full || r->dirty)
			observe(r, &report.replicas[report.n_replicas++]);
		r->dirty = false;
	}
	gt_report_write(&report, out);
	free(report.replicas);
	a->report.sent_full = report.full ? report.epoch : 0;
	a->report.full = a->report.due = false;
}

static bool is_needed(const struct agent *a)
{
	struct replica *r, *next;

	if (a->report.full || a->report.due || a->report.stats || a->report.n_events > 0 ||
	    gt_weights_dirty(a->weights))
		return true;
	HASH_ITER (hh, a->replicas, r, next) {
		if (r->dirty)
			return true;
	}
	return false;
}

static void on_retry(void *arg)
{
	post(arg);
}

static void events_sent(struct reporter *rep)
{
	rep->n_events -= rep->sent_events;
	memmove(rep->events, rep->events + rep->sent_events, rep->n_events * sizeof(*rep->events));
	rep->sent_events = 0;
}

void gt_report_event(struct agent *a, const struct gt_told_event *event)
{
	struct reporter *rep = &a->report;

	if (rep->n_events == GT_TOLD_EVENTS_MAX) {
		rep->lost_events++; /* those that wait say what began it */
		return;
	}
	rep->events[rep->n_events++] = *event;
	gt_report_soon(a);
}

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct agent *a = arg;
	struct reporter *rep = &a->report;

	(void)body;
	(void)len;
	rep->call = NULL;
	if (status / 100 == 2) {
		rep->retry_ms = 0;
		if (rep->sent_full)
			rep->told = rep->sent_full;
		gt_lease_heard(a, rep->sent_ns);
		events_sent(rep);
		gt_report_soon(a);
		return;
	}
	gt_debug("report: status %d %s", status, err ? err->text : "");
	rep->full = true; /* nobody knows what arrived of it */
	rep->sent_events = 0;
	rep->retry_ms = rep->retry_ms ? GT_MIN(rep->retry_ms * 2, RETRY_MAX_MS) : RETRY_FIRST_MS;
	gt_timer_set(a->loop, &rep->retry, rep->retry_ms, on_retry, a);
}

static void on_beat(void *arg)
{
	struct agent *a = arg;

	a->report.due = true;
	post(a);
	gt_timer_set(a->loop, &a->report.beat, GT_NODE_BEAT_MS, on_beat, a);
}

static void post(struct agent *a)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/nodes/%s/report", a->node);
	struct gt_http_out out = {
		.method = "POST",
		.unix_path = a->link_path,
		.url = url,
		.content_type = "application/json",
		.timeout_ms = POST_TIMEOUT_MS,
		.on_done = on_done,
		.arg = a,
	};
	struct gt_err err;

	/* Without a watch there is no epoch to report to; its snapshot brings us back here. */
	if (a->report.call || !a->link_up || a->epoch == 0 || !is_needed(a) ||
	    gt_timer_is_set(&a->report.retry))
		return;
	gt_timer_set(a->loop, &a->report.beat, GT_NODE_BEAT_MS, on_beat,
		     a); /* from the last one on */
	a->report.sent_ns = gt_loop_clock_ns(a->loop);
	gt_buf_init(&body, 0);
	build(a, &body);
	out.body = gt_buf_str(&body);
	out.body_len = body.len;
	if (gt_http_start(a->client, &out, &a->report.call, &err) < 0)
		on_done(0, NULL, 0, &err, a);
}

static void on_deferred(void *arg)
{
	struct agent *a = arg;

	a->report.deferred = false;
	post(a);
}

/* At the end of the round: all that happened in it makes one report. */
void gt_report_soon(struct agent *a)
{
	if (a->report.deferred || a->report.call)
		return;
	a->report.deferred = true;
	gt_loop_defer(a->loop, on_deferred, a);
}

static void on_progress(void *arg)
{
	struct agent *a = arg;
	struct replica *r, *next;

	HASH_ITER (hh, a->replicas, r, next) {
		if (r->pull)
			r->dirty = true;
	}
	gt_report_soon(a);
}

void gt_report_progress(struct agent *a)
{
	if (!gt_timer_is_set(&a->report.progress))
		gt_timer_set(a->loop, &a->report.progress, PROGRESS_MS, on_progress, a);
}

void gt_report_full(struct agent *a)
{
	a->report.full = true;
	a->report.retry_ms = 0;
	gt_timer_clear(a->loop, &a->report.retry);
	gt_report_soon(a);
}

void gt_report_stop(struct agent *a)
{
	gt_timer_clear(a->loop, &a->report.retry);
	gt_timer_clear(a->loop, &a->report.progress);
	gt_timer_clear(a->loop, &a->report.beat);
	gt_http_cancel(a->report.call);
	a->report.call = NULL;
	a->link_up = false;
}
