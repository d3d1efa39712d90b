#include "leader.h"
#include "calls.h"
#include "holds.h"
#include "nodes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct letter {
	struct gt_mail mail;
	struct gt_leader leader;
	bool shut;
};

/* ---- each shard ---- */

/* What is being served goes on to its end. What waits would wait for slots that are another
 * gateway's to give. */
static void let_go(struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;
	struct gt_target *t;
	struct gt_call *call;

	gw->synced = gw->watch_up = false;
	HASH_ITER (hh, gw->fns, rf, next) {
		DL_FOREACH (rf->fn.targets, t)
			gt_up_retire(t);
		while (rf->fn.waiters)
			gt_call_give_away(GT_CONTAINER(rf->fn.waiters, struct gt_call, waiter));
	}
	gt_nodes_let_go(gw);
	while ((call = gw->held)) { /* came before anything was known */
		DL_DELETE(gw->held, call);
		call->state = GT_CALL_SENT;
		gt_timer_clear(gw->loop, &call->timer);
		gt_conn_kick(call->conn);
		gt_call_reroute(call);
	}
}

/* A control that does not lead any more will not answer. Calls that its gateway has still go on. */
static void cut_requests(struct gt_gateway *gw)
{
	struct gt_conn *c, *next;

	DL_FOREACH_SAFE (gw->conns, c, next)
		if (c->call && c->call->way == GT_WAY_LEADER && c->call->state == GT_CALL_SENT &&
		    gt_path_read(&c->x->req).way == GT_WAY_CONTROL)
			gt_relay_broken(c->call, ECONNRESET);
}

/* shut: who led before is asked first what its calls have. */
static void take(struct gt_gateway *gw, const struct gt_leader *now, bool shut)
{
	bool followed = gt_follows(gw), other = now->epoch != gw->leader.epoch;

	gw->leader = *now;
	gw->others.shut = shut;
	if (gt_follows(gw) && !followed)
		let_go(gw);
	if (followed && (!gt_follows(gw) || other)) {
		gt_forward_retire(gw);
		cut_requests(gw);
	}
	if (followed && !gt_follows(gw))
		gw->down_since_ns = gt_gw_now(gw); /* calls are held until the routes are here */
}

static void open_letter(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct letter *l = GT_CONTAINER(m, struct letter, mail);

	if (!gw->freeing)
		take(gw, &l->leader, l->shut);
	free(l);
}

/* ---- shard 0 ---- */

static void take_everywhere(struct gt_gateway *gw, const struct gt_leader *now, bool shut)
{
	for (unsigned i = 1; gw->shards && i < gw->shards->n; i++) {
		struct letter *l = gt_alloc(sizeof(*l));

		*l = (struct letter){ .mail.fn = open_letter, .leader = *now, .shut = shut };
		gt_shard_post(gw->shards, i, &l->mail);
	}
	take(gw, now, shut);
}

static void follow(struct gt_gateway *gw, const struct gt_leader *now)
{
	gt_ndjson_watch_free(gw->watch);
	gw->watch = NULL;
	gt_info("gateway: the one of node %s serves all functions: calls go there", now->node);
	take_everywhere(gw, now, false);
	gt_holds_stop(gw);
	gt_holds_note(gw, now->door);
	gt_gw_ready(gw);
}

static int lead(struct gt_gateway *gw, const struct gt_leader *now, struct gt_err *err)
{
	gt_tells_stop(gw);
	gt_strcopy(gw->leader.own_door, sizeof(gw->leader.own_door), now->own_door);
	gt_holds_note(gw, now->before);
	take_everywhere(gw, now, gt_holds_awaits(gw));
	gt_holds_ask(gw);
	return gw->watch || !gw->http ? 0 : gt_gw_watch(gw, err);
}

void gt_leader_told(struct gt_gateway *gw, const struct gt_leader *now)
{
	if (now->epoch <= gw->leader.epoch)
		return;
	follow(gw, now);
	gt_forward_tell(gw);
}

void gt_leader_line(const char *text, size_t len, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_leader now;
	struct gt_err err = { 0 };

	if (gt_leader_read(text, len, &now, &err) < 0) {
		gt_error("gateway: a line of control is ignored: %s", err.text);
		return;
	}
	if (now.state == GT_LEADER_NONE || !now.epoch || !memcmp(&now, &gw->leader, sizeof(now)) ||
	    now.epoch < gw->leader.epoch) /* another gateway said so before control knew */
		return;
	if (now.state == GT_LEADER_OTHER) {
		follow(gw, &now);
	} else if (lead(gw, &now, &err) < 0) {
		gt_error("gateway: %s", err.text);
		gt_loop_stop(gw->loop);
	}
}

int gt_leader_follow(struct gt_gateway *gw, struct gt_err *err)
{
	struct gt_ndjson_config config = { .unix_path = gw->cfg.lead_path,
					   .url = "http://control/link/v1/leader",
					   .on_line = gt_leader_line,
					   .arg = gw };

	return gt_ndjson_watch_new(gw->loop, gw->http, &config, &gw->leads, err);
}

void gt_leader_free(struct gt_gateway *gw)
{
	gt_ndjson_watch_free(gw->leads);
	gt_forward_retire(gw);
}
