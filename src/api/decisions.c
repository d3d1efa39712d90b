/* api/decisions.c - the autoscaler's journal: why a function has the replicas that it has, and what
 * another policy would have cost. */
#include "api_priv.h"

#include <gantry/control/decision.h>

static void write_inputs(struct gt_json *j, const struct gt_scale_in *in)
{
	gt_json_object(j, "inputs");
	gt_json_str(j, "policy", gt_scale_policy_name(in->params.policy));
	gt_json_u64(j, "in_flight", in->in_flight);
	gt_json_u64(j, "queued", in->queued);
	gt_json_u64(j, "booked", in->booked);
	gt_json_num(j, "oldest_wait_ms", (double)in->oldest_wait_ns / GT_NS_PER_MS);
	gt_json_u64(j, "ready", in->ready);
	gt_json_u64(j, "starting", in->starting);
	gt_json_u64(j, "arrivals", in->arrivals);
	gt_json_u64(j, "completions", in->completions);
	gt_json_u64(j, "target", in->params.target);
	gt_json_u64(j, "min", in->params.min);
	gt_json_u64(j, "max", in->params.max);
	gt_json_u64(j, "buffer", in->params.buffer);
	if (in->params.idle_stated)
		gt_json_u64(j, "idle_ms", in->params.idle_ms);
	gt_json_num(j, "delay_price", in->params.price);
	gt_json_close(j, '}');
}

static void write_scale(struct gt_json *j, const struct gt_decision *d)
{
	const struct gt_scale_in *in = &d->scale.in;
	const struct gt_scale_out *out = &d->scale.out;

	gt_json_str(j, "rule", gt_scale_rule_name(out->need_rule));
	gt_json_str(j, "keep_rule", gt_scale_rule_name(out->wanted_rule));
	gt_json_str(j, "why", out->why);
	write_inputs(j, in);
	gt_json_object(j, "alternatives");
	for (unsigned r = 0; r < GT_SCALE_RULES; r++)
		if (out->asked[r] != GT_SCALE_SILENT)
			gt_json_u64(j, gt_scale_rule_name(r), out->asked[r]);
	gt_json_close(j, '}');
	gt_json_object(j, "outcome");
	gt_json_u64(j, "need", out->need);
	gt_json_u64(j, "wanted", out->wanted);
	if (out->due_ns != UINT64_MAX)
		gt_json_num(j, "again_in_ms",
			    out->due_ns > in->now_ns
				    ? (double)(out->due_ns - in->now_ns) / GT_NS_PER_MS
				    : 0);
	gt_json_close(j, '}');
}

static void write_nodes(struct gt_json *j, const struct gt_decision *d)
{
	gt_json_array(j, "candidates");
	for (size_t i = 0; i < d->place.n_best; i++) {
		const struct gt_place_node *n = &d->place.best[i];

		gt_json_object(j, NULL);
		gt_json_str(j, "node", n->node);
		gt_json_i64(j, "score", n->room + n->ready + n->spread);
		gt_json_i64(j, "room", n->room);
		gt_json_i64(j, "ready", n->ready);
		gt_json_i64(j, "spread", n->spread);
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
	gt_json_object(j, "limits");
	for (size_t i = 0; i < d->place.n_refused; i++)
		gt_json_u64(j, d->place.refused[i].limit, d->place.refused[i].nodes);
	gt_json_close(j, '}');
}

static void write_place(struct gt_json *j, const struct gt_decision *d)
{
	gt_json_str(j, "why", d->place.why);
	gt_json_object(j, "inputs");
	gt_json_u64(j, "cpu_milli", d->place.cpu_milli);
	gt_json_u64(j, "memory_bytes", d->place.memory_bytes);
	if (d->place.gpus) {
		gt_json_u64(j, "gpus", d->place.gpus);
		gt_json_u64(j, "gpu_milli", d->place.gpu_milli ? d->place.gpu_milli : GT_GPU_WHOLE);
		gt_json_u64(j, "gpu_memory_bytes", d->place.gpu_bytes);
	}
	gt_json_u64(j, "nodes", d->place.nodes);
	gt_json_u64(j, "nodes_looked_at", d->place.looked);
	gt_json_close(j, '}');
	write_nodes(j, d);
	gt_json_object(j, "outcome");
	gt_json_str(j, "node", d->place.node[0] ? d->place.node : NULL);
	if (d->place.replica[0])
		gt_json_str(j, "replica", d->place.replica);
	else
		gt_json_str(j, "refused", "no_capacity");
	if (d->place.given[0])
		gt_json_str(j, "gpus", d->place.given);
	if (d->place.weights_total) {
		gt_json_u64(j, "weights_here", d->place.weights_here);
		gt_json_u64(j, "weights_total", d->place.weights_total);
	}
	gt_json_close(j, '}');
}

static void write_evict(struct gt_json *j, const struct gt_decision *d)
{
	char why[2 * GT_NAME_MAX];

	snprintf(why, sizeof(why), "idle; %s needs its place", d->evict.by);
	gt_json_str(j, "why", why);
	gt_json_object(j, "inputs");
	gt_json_u64(j, "among", d->evict.among);
	gt_json_num(j, "worth_seconds", d->evict.worth);
	gt_json_close(j, '}');
	gt_json_object(j, "outcome");
	gt_json_str(j, "node", d->evict.node);
	gt_json_str(j, "replica", d->evict.replica);
	gt_json_str(j, "for", d->evict.by);
	gt_json_close(j, '}');
}

static void write_park(struct gt_json *j, const struct gt_decision *d)
{
	gt_json_str(j, "why", d->park.why);
	gt_json_object(j, "inputs");
	gt_json_str(j, "method", gt_park_method_name(d->park.method));
	gt_json_num(j, "expected_ms", d->park.swap_s * 1000);
	gt_json_close(j, '}');
	gt_json_object(j, "outcome");
	gt_json_str(j, "action", d->park.back ? "unpark" : "park");
	gt_json_str(j, "node", d->park.node);
	gt_json_str(j, "replica", d->park.replica);
	if (d->park.by[0])
		gt_json_str(j, "for", d->park.by);
	gt_json_close(j, '}');
}

static void write_decision(struct gt_json *j, const struct gt_decision *d)
{
	static void (*const write[])(struct gt_json * j, const struct gt_decision *d) = {
		[GT_DECISION_SCALE] = write_scale,
		[GT_DECISION_PLACE] = write_place,
		[GT_DECISION_EVICT] = write_evict,
		[GT_DECISION_PARK] = write_park,
	};

	_Static_assert(GT_LEN(write) == GT_DECISION_KINDS, "every kind can be shown");
	gt_json_object(j, NULL);
	gt_json_u64(j, "id", d->id);
	gt_view_time(j, "ts", d->wall_ms);
	gt_json_str(j, "function", d->function);
	gt_json_u64(j, "revision", d->revision);
	gt_json_str(j, "kind", gt_decision_kind_name(d->kind));
	write[d->kind](j, d);
	gt_json_close(j, '}');
}

struct page {
	struct gt_json json;
	uint64_t skip, limit, n, last;
	bool more;
};

static bool count_one(const struct gt_decision *d GT_UNUSED, void *arg)
{
	++*(uint64_t *)arg;
	return true;
}

static bool add_one(const struct gt_decision *d, void *arg)
{
	struct page *p = arg;

	if (p->skip > 0) {
		p->skip--;
		return true;
	}
	if (p->n == p->limit) {
		p->more = true;
		return false;
	}
	p->n++;
	p->last = d->id;
	write_decision(&p->json, d);
	return true;
}

void gt_api_list_decisions(struct gt_request *req, void *app)
{
	static const char *const known[] = { "limit", "cursor", "tail", NULL };
	static const char *const keep[] = { "limit", NULL };
	struct gt_api *api = app;
	struct gt_control *control = api->config.control;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct page p = { .limit = GT_LIST_DEFAULT };
	uint64_t after = 0, tail = UINT64_MAX, n = 0;
	struct gt_function_view v;
	struct gt_err err = { 0 };
	char cursor[24];

	if (!gt_api_query(req, known) || !gt_api_number(req, "limit", 1, GT_LIST_MAX, &p.limit) ||
	    !gt_api_number(req, "cursor", 0, UINT64_MAX, &after) ||
	    !gt_api_number(req, "tail", 0, GT_LIST_MAX, &tail) || !gt_api_function(api, req, &v))
		return;
	gt_json_begin(&p.json, &body);
	gt_json_object(&p.json, NULL);
	gt_json_array(&p.json, "items");
	if (gt_control_decisions(control, v.row->name, after, count_one, &n, &err) < 0) {
		gt_api_fail(req, &err);
		return;
	}
	p.skip = n > tail ? n - tail : 0;
	(void)!gt_control_decisions(control, v.row->name, after, add_one, &p, NULL);
	gt_json_close(&p.json, ']');
	snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)p.last);
	gt_json_str(&p.json, "next_cursor", p.more ? cursor : NULL);
	gt_json_close(&p.json, '}');
	if (p.more)
		gt_api_link_next(req, keep, cursor);
	gt_api_reply(req, 200, &body);
}

/* ---- the shadow ----------------------------------------------------------------------------- */

static void write_bill(struct gt_json *j, const char *name, const struct gt_scale_bill *b)
{
	gt_json_object(j, name);
	gt_json_num(j, "replica_seconds", b->replica_s);
	gt_json_num(j, "waiting_seconds", b->waiting_s);
	gt_json_u64(j, "starts", b->starts);
	gt_json_close(j, '}');
}

void gt_api_get_shadow(struct gt_request *req, void *app)
{
	static const char *const known[] = { NULL };
	struct gt_api *api = app;
	struct gt_control *control = api->config.control;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_scale_bill live, shadow;
	struct gt_err err = { 0 };
	struct gt_json j;

	if (!gt_api_query(req, known))
		return;
	if (gt_control_bills(control, gt_request_param(req, "function"), &live, &shadow, &err) <
	    0) {
		gt_api_fail(req, &err);
		return;
	}
	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "candidate", gt_control_candidate(control));
	write_bill(&j, "live", &live);
	write_bill(&j, "shadow", &shadow);
	gt_json_close(&j, '}');
	gt_api_reply(req, 200, &body);
}
