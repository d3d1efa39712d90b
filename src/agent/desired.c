/* desired.c - what should run: the watch of this node's orders, and making it so. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"

static void obey(struct agent *a, const struct gt_order *o)
{
	struct replica *r = gt_replica_find(a, o->replica);

	if (o->want != GT_WANT_STOP) {
		if (r)
			gt_park_order(r, o->want == GT_WANT_PARK, o->turn);
		/* It runs, or has ended: either way the order was carried out. The full report that
		 * follows lacks one that ended with the machine. */
		if (r || o->known)
			return;
		r = gt_replica_new(a, o->replica, o->function, o->revision, o->spec_json);
		gt_replica_gpus_set(r, o->gpus, o->n_gpus);
		gt_replica_gang_set(r, o);
		gt_replica_start(r);
		return;
	}
	/* A stop of what never started is answered too: control waits for the word. */
	if (!r) {
		r = gt_replica_new(a, o->replica, o->function, o->revision, o->spec_json);
		r->gang = o->gang;
	}
	r->forgotten = false; /* control has heard of it again and waits for its end */
	gt_replica_stop(r, o->grace_ms);
}

static bool is_listed(const struct gt_line *l, const char *id)
{
	for (size_t i = 0; i < l->n_orders; i++) {
		if (gt_streq(l->orders[i].replica, id))
			return true;
	}
	return false;
}

/* What a snapshot does not list, the control that wrote it does not want. But a control that has
 * just started does not know it yet: it learns from the full report and decides then, however often
 * its watch breaks before that has arrived. */
static void take_snapshot(struct agent *a, const struct gt_line *l)
{
	bool same = a->report.told == l->epoch;
	struct replica *r, *next;

	a->epoch = l->epoch;
	HASH_ITER (hh, a->replicas, r, next) {
		if (same && !is_listed(l, r->id))
			gt_replica_forget(r);
	}
	for (size_t i = 0; i < l->n_orders; i++)
		obey(a, &l->orders[i]);
	gt_report_full(a);
}

static void on_line(const char *text, size_t len, void *arg)
{
	struct agent *a = arg;
	struct gt_line line = { 0 };
	struct gt_err err = { 0 };
	struct replica *r;

	if (a->stopping)
		return;
	if (gt_line_read(text, len, &line, &err) < 0) {
		gt_warn("an order could not be read: %s", err.text);
		return;
	}
	/* An older control that lives on must not undo what a newer one wants: neither by what it
	 * begins with nor by what follows. */
	if (line.type == GT_LINE_SNAPSHOT)
		a->refuses = line.epoch < a->epoch;
	if (a->refuses) {
		gt_debug("an older control is not obeyed: epoch %llu has begun",
			 (unsigned long long)a->epoch);
	} else if (line.type == GT_LINE_SNAPSHOT) {
		take_snapshot(a, &line);
	} else if (line.type == GT_LINE_ORDER && line.n_orders == 1) {
		obey(a, &line.orders[0]);
	} else if (line.type == GT_LINE_FORGET) {
		r = gt_replica_find(a, line.name);
		if (r)
			gt_replica_forget(r);
	}
	gt_line_fini(&line);
}

static void on_up(void *arg)
{
	struct agent *a = arg;

	a->link_up = true;
	gt_debug("link to control is up");
}

static void on_down(const struct gt_err *why, void *arg)
{
	struct agent *a = arg;

	/* Everything goes on as it is; control counts the time. */
	a->link_up = false;
	gt_debug("link to control is down: %s", why->text);
}

int gt_desired_start(struct agent *a, struct gt_err *err)
{
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/nodes/%s/desired", a->node);
	struct gt_ndjson_config config = {
		.unix_path = a->link_path,
		.url = url,
		.on_up = on_up,
		.on_line = on_line,
		.on_down = on_down,
		.arg = a,
	};
	int r = gt_http_client_new(a->loop, &a->client, err);

	return r < 0 ? r : gt_ndjson_watch_new(a->loop, a->client, &config, &a->watch, err);
}

void gt_desired_stop(struct agent *a)
{
	gt_ndjson_watch_free(a->watch);
	a->watch = NULL;
	if (a->client)
		gt_report_stop(a);
	gt_http_client_free(a->client); /* with the connections that it keeps for the next report */
	a->client = NULL;
}

/* The uplink has heard that another daemon leads. Control here may hang, and would end nothing. */
void gt_desired_reconnect(struct gt_request *req, void *app)
{
	struct agent *a = app;
	struct gt_err err = { 0 };

	gt_request_reply(req, 204, NULL, NULL);
	if (a->stopping)
		return;
	gt_desired_stop(a);
	if (gt_desired_start(a, &err) == 0)
		return;
	gt_error("link to control: %s", err.text);
	gt_loop_stop(a->loop);
}
