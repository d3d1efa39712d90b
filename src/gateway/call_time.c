/* call_time.c - how long a call may stay in each of its states, and what happens then. */
#include "calls.h"
#include "cluster.h"
#include "nodes.h"

#include <stdio.h>
#include <string.h>

#include <gantry/base/units.h>

/* When the state's time is over (0 = never), and by which limit. */
struct due {
	uint64_t at_ns, ms;
	const char *limit;
};

static void or_sooner(struct due *d, const char *limit, uint64_t from_ns, uint64_t ms)
{
	uint64_t at_ns = from_ns + ms * GT_NS_PER_MS;

	if (ms && (!d->at_ns || at_ns < d->at_ns))
		*d = (struct due){ at_ns, ms, limit };
}

static const char away[] = "control";
static const char reach[] = "node";
static const char ended[] = "certificate";
static const char fence[] = "routes";

/* Control is needed, and says nothing even on its link. */
static void or_away(struct due *d, const struct gt_call *call, uint64_t ms)
{
	if (!call->gw->watch_up)
		or_sooner(d, away, GT_MAX(call->gw->down_since_ns, call->slot_ns), ms);
}

/* The client is expected to send more of its body. */
static bool owes_body(const struct gt_call *call)
{
	return !call->req_done && gt_call_body_room(call) > 0;
}

/* A node's right to ask ends with its certificate: it asks again by its next one. */
static void until_end(struct due *d, const struct gt_call *call)
{
	uint64_t until_ns = gt_cluster_until_ns(call);

	if (until_ns != UINT64_MAX && (!d->at_ns || until_ns < d->at_ns))
		*d = (struct due){ until_ns, 0, ended };
}

/* Of a request to control or to an agent; whoever asks an agent has a limit of its own. */
static void due_of_none(struct due *d, const struct gt_call *call)
{
	if (call->fenced)
		or_sooner(d, fence, call->fenced->since_ns, GT_GW_REACH_MS);
	else if (call->node)
		or_sooner(d, reach, call->ask_ns, GT_GW_REACH_MS);
	else if (call->way != GT_WAY_AGENT && call->way != GT_WAY_LEADER)
		or_away(d, call, GT_GW_REACH_MS);
	until_end(d, call);
}

static struct due due(const struct gt_call *call)
{
	const struct gt_route *r = call->fn ? &call->fn->route : NULL;
	uint64_t client_ns = GT_MAX(call->conn->x->progress_ns, call->slot_ns);
	struct due d = { 0 };

	switch (call->state) {
	case GT_CALL_HELD:
		or_sooner(&d, NULL, call->begun_ns, GT_GW_FIRST_MS);
		return d;
	case GT_CALL_QUEUED:
		or_sooner(&d, "limits.wait", call->waiter.since_ns, call->wait_ms);
		or_sooner(&d, "Gantry-Deadline", call->begun_ns, call->deadline_ms);
		if (!call->fn->n_ready)
			or_away(&d, call, GT_GW_STALE_MS);
		return d;
	case GT_CALL_PAUSED:
		d.at_ns = call->retry_at_ns;
		return d;
	case GT_CALL_DIALING:
	case GT_CALL_SENT:
		if (!r) {
			due_of_none(&d, call);
			return d;
		}
		or_sooner(&d, "limits.run", call->slot_ns, r->run_ms);
		or_sooner(&d, "limits.first_byte", call->slot_ns, r->first_byte_ms);
		if (call->state == GT_CALL_DIALING && call->node)
			or_sooner(&d, reach, call->ask_ns, GT_GW_REACH_MS);
		or_sooner(&d, "Gantry-Deadline", call->begun_ns, call->deadline_ms);
		if (!call->req_done) /* while there is no room for more, look again later */
			or_sooner(&d, "limits.idle",
				  owes_body(call) ? GT_MAX(client_ns, call->moved_ns)
						  : gt_gw_now(call->gw),
				  r->idle_ms);
		return d;
	case GT_CALL_STREAM:
	case GT_CALL_TUNNEL:
		if (!r) {
			until_end(&d, call);
			return d;
		}
		or_sooner(&d, "limits.run", call->slot_ns, r->run_ms);
		or_sooner(&d, "limits.idle", GT_MAX(client_ns, call->moved_ns), r->idle_ms);
		return d;
	default:
		return d;
	}
}

static void on_timer(void *arg);

void gt_call_arm(struct gt_call *call)
{
	uint64_t at_ns = due(call).at_ns;

	/* One that is early looks again: most calls are over before that. */
	if (at_ns && gt_timer_is_set(&call->timer) && call->timer.due_ns <= at_ns)
		return;
	if (at_ns)
		gt_timer_set_at(call->gw->loop, &call->timer, at_ns, on_timer, call);
	else
		gt_timer_clear(call->gw->loop, &call->timer);
}

static void refuse_late(struct gt_call *call, const char *slug, const struct due *d,
			const char *what)
{
	struct gt_refusal why = GT_REFUSAL(slug, NULL);
	char detail[200], time[32];

	gt_format_duration_ms(d->ms, time, sizeof(time));
	snprintf(detail, sizeof(detail), "%s: %s within %s", d->limit, what, time);
	why.detail = detail;
	why.path = d->limit;
	if (strcmp(slug, "request_timeout") != 0)
		why.retry_after_s = gt_call_retry_after_s(call);
	gt_call_refuse(call, &why);
}

/* No slot is held. */
static void waited(struct gt_call *call, const struct due *d)
{
	if (!call->waiter.able && !strcmp(d->limit, "limits.wait"))
		refuse_late(call, "request_timeout", d, "the body did not come");
	else
		refuse_late(call, "wait_timeout", d,
			    call->fn->n_ready ? "no slot became free (see scale.max)"
					      : "no replica became ready (see the function's "
						"events)");
}

/* A slot is held, and no answer has come. */
static void unanswered(struct gt_call *call, const struct due *d)
{
	bool by_client = owes_body(call) && (!strcmp(d->limit, "limits.idle") ||
					     !strcmp(d->limit, "limits.first_byte"));

	if (by_client)
		refuse_late(call, "request_timeout", d, "the body did not go on to its end");
	else
		refuse_late(call, "run_timeout", d, "the replica gave no answer");
}

static void refuse_away(struct gt_call *call)
{
	gt_call_refuse_for_now(
		call, "unavailable",
		call->fn ? "no replica is ready, and control, which starts them, does not answer"
			 : "control does not answer");
}

static void on_timer(void *arg)
{
	struct gt_call *call = arg;
	struct due d = due(call);

	if (!d.at_ns || d.at_ns > gt_gw_now(call->gw)) {
		gt_call_arm(call); /* bytes moved meanwhile */
		return;
	}
	if (d.limit == away) {
		refuse_away(call);
		return;
	}
	if (d.limit == reach) {
		gt_node_late(call);
		return;
	}
	if (d.limit == fence) {
		gt_fence_late(call);
		return;
	}
	if (d.limit == ended) {
		gt_conn_close(call->conn);
		return;
	}
	switch (call->state) {
	case GT_CALL_HELD:
		gt_call_refuse_for_now(call, "unavailable",
				       "the gateway has no routes from control yet");
		break;
	case GT_CALL_QUEUED:
		waited(call, &d);
		break;
	case GT_CALL_PAUSED:
		gt_relay_retry(call);
		break;
	case GT_CALL_DIALING:
	case GT_CALL_SENT:
		unanswered(call, &d);
		break;
	default:
		refuse_late(call, "run_timeout", &d,
			    !strcmp(d.limit, "limits.idle") ? "nothing more came of the answer"
							    : "the answer did not end");
	}
}
