/* control.c - control's process, the ports around it, and the store behind it. */
#include "rules_gang.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/control/learned.h>
#include <gantry/control/member.h>
#include <gantry/control/schedule.h>

#define STORE_NS (5 * W_MS)

/* ---- the store: a write becomes durable after a while, or fails ---- */
struct write {
	struct w_fn *fn; /* NULL: it is about a node */
	struct gt_node_row node;
	bool drop;
	uint32_t revision;
	char text[W_TEXT];
	uint64_t created_ms;
	gt_store_done_fn *done;
	void *arg;
	struct gt_world *w;
};

static void write_apply(const struct write *write)
{
	struct w_fn *fn = write->fn;

	if (!fn) {
		size_t node = strtoul(write->node.name + strlen("node"), NULL, 10);

		write->w->agents[node].said = write->node;
		return;
	}
	fn->stored = !write->drop;
	fn->revision = write->revision;
	fn->created_ms = write->created_ms;
	gt_strcopy(fn->text, sizeof(fn->text), write->text);
}

/* a: epoch of the control that asked */
static void write_end(struct gt_world *w, struct w_event *e)
{
	const struct write *write = e->data;
	const struct gt_err full = { .code = ENOSPC, .slug = "storage_full", .text = "disk full" };
	bool same_control = w->c && e->a == w->epoch;

	/* After a crash it is open whether the last writes were committed; nobody is told. */
	if (gt_w_chance(w, same_control ? w->store_fail_permille : 500)) {
		if (same_control)
			write->done(&full, write->arg);
		return;
	}
	if (!same_control && w->c)
		return; /* the next control has read the store already */
	write_apply(write);
	if (same_control)
		write->done(NULL, write->arg);
}

static struct write *write_begin(struct gt_world *w, const char *function /* or NULL */,
				 gt_store_done_fn *done, void *arg)
{
	struct write *write = gt_alloc(sizeof(*write));
	uint64_t takes_ns = STORE_NS + gt_w_below(w, w->store_slow_ms) * W_MS;

	/* one after the other, as they were given */
	w->store_at_ns = GT_MAX(w->store_at_ns, w->now_ns + takes_ns);
	struct w_event *e = gt_w_at(w, w->store_at_ns, write_end);

	e->a = w->epoch;
	e->data = write;
	write->w = w;
	write->fn = function ? gt_w_fn(w, function) : NULL;
	write->done = done;
	write->arg = arg;
	return write;
}

static void store_put(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		      void *arg)
{
	struct write *write = write_begin(ctx, row->name, done, arg);

	write->revision = row->revision;
	write->created_ms = row->created_ms;
	gt_strcopy(write->text, sizeof(write->text), row->spec_json);
}

static void store_drop(void *ctx, const char *function, gt_store_done_fn *done, void *arg)
{
	write_begin(ctx, function, done, arg)->drop = true;
}

static void store_put_node(void *ctx, const struct gt_node_row *row, gt_store_done_fn *done,
			   void *arg)
{
	write_begin(ctx, NULL, done, arg)->node = *row;
}

static void store_revisions(void *ctx, const char *function, gt_store_revisions_fn *done, void *arg)
{
	const struct gt_err none = { .code = ENOENT, .slug = "not_found", .text = "no history" };

	(void)ctx;
	(void)function;
	done(&none, NULL, 0, arg);
}

/* ---- what control says ---- */
static void on_order(void *ctx, const char *node, const struct gt_order *told)
{
	struct gt_order same = *told;
	const struct gt_order *order = &same;
	struct gt_world *w = ctx;

	if (gt_w_sabotaged(w, "epochs of gangs stand still") && same.gang.size > 0)
		same.gang.epoch = 1;

	gt_w_mix(w,
		 order->want == GT_WANT_RUN    ? "run"
		 : order->want == GT_WANT_PARK ? "park"
					       : "stop",
		 order->replica, order->revision);
	gt_w_rule_order(w, node, order);
	gt_w_agent_order(w, node, order);
	if (gt_w_sabotaged(w, "orders go to two nodes") && order->want == GT_WANT_RUN)
		gt_w_agent_order(w, strcmp(node, "node0") == 0 ? "node1" : "node0", order);
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	struct gt_world *w = ctx;

	gt_w_mix(w, "forget", replica, 0);
	gt_w_rule_forget(w, replica); /* a lost node may bring it back */
	gt_w_agent_forget(w, node, replica);
}

static void on_route(void *ctx, const char *function)
{
	gt_w_mix(ctx, "route", function, 0);
	gt_w_rule_route(ctx, function);
	gt_w_gateway_route(ctx, function);
}

static void on_event(void *ctx, const struct gt_event *event)
{
	struct gt_world *w = ctx;

	gt_w_mix(w, event->type, event->text, event->id);
	if (event->id <= w->last_event_id)
		gt_w_break(w, "epoch", "event %llu follows %llu", (unsigned long long)event->id,
			   (unsigned long long)w->last_event_id);
	w->last_event_id = event->id;
	w->stats.scale_events += gt_starts_with(event->type, "scale.");
}

static void on_due(void *ctx)
{
	(void)ctx;
}

/* ---- the process ---- */
struct gt_spec *gt_w_spec(const char *text)
{
	const struct gt_world_kind kind = gt_w_kind_read(text);
	struct gt_spec *spec = gt_spec_new();

	spec->scale.min = kind.min;
	spec->scale.max = kind.max;
	spec->scale.target = kind.target;
	spec->scale.concurrency = kind.concurrency;
	spec->scale.idle_ms = kind.idle_ms;
	spec->limits.drain_ms = kind.drain_ms;
	spec->park.method = kind.park_after_ms ? GT_PARK_AUTO : GT_PARK_STOP;
	spec->park.after_ms = kind.park_after_ms;
	spec->disconnect.stop_after_ms = kind.stop_after_ms;
	spec->disconnect.lost_after_ms = kind.lost_after_ms;
	spec->disconnect.reconcile = (enum gt_reconcile)kind.reconcile;
	spec->limits.queue = kind.queue;
	spec->limits.wait_ms = kind.wait_ms;
	spec->resources.memory_bytes = kind.memory_mib * GT_MIB;
	spec->gang.size = kind.gang;
	spec->gang.spread = (enum gt_gang_spread)kind.gang_spread;
	spec->network = kind.gang ? GT_NETWORK_HOST : GT_NETWORK_NONE;
	spec->resources.gpu.count = kind.gpus;
	spec->resources.gpu.share_milli = kind.gpu_milli < GT_GPU_WHOLE ? kind.gpu_milli : 0;
	return spec;
}

static struct gt_spec *spec_of(const struct gt_world *w, const char *text)
{
	struct gt_spec *spec = gt_w_spec(text);

	spec->scale.max += gt_w_sabotaged(w, "max is one more");
	if (gt_w_sabotaged(w, "min is forgotten"))
		spec->scale.min = 0;
	return spec;
}

static void row_load(struct gt_world *w, struct w_fn *fn)
{
	struct gt_function_row row = { .name = fn->name,
				       .revision = fn->revision,
				       .created_ms = fn->created_ms,
				       .spec_json = fn->text };

	snprintf(row.etag, sizeof(row.etag), "%u", gt_w_kind_read(fn->text).serial);
	gt_control_load(w->c, &row, spec_of(w, fn->text));
}

void gt_w_control_start(struct gt_world *w)
{
	const struct gt_control_config config = { .epoch = ++w->epoch,
						  .node_lost_ms = w->config.node_lost_ms };
	struct gt_control_ports ports = {
		.clock = { .mono_ns = (uint64_t(*)(void *))gt_world_now,
			   .wall_ms = gt_w_wall_ms,
			   .arg = w },
		.rnd = gt_rand_seeded(&w->rng),
		.store = { .ctx = w,
			   .put = store_put,
			   .drop = store_drop,
			   .put_node = store_put_node,
			   .revisions = store_revisions },
		.ctx = w,
		.on_order = on_order,
		.on_forget = on_forget,
		.on_route = on_route,
		.on_route_gone = on_route,
		.on_event = on_event,
		.on_due = on_due,
	};

	gt_w_tasks_ports(w, &ports);
	gt_w_rules_restart(w);
	w->stats.control_starts++;
	w->c = gt_control_new(&ports, &config);
	for (size_t i = 0; i < w->n_fns; i++)
		if (w->fns[i]->stored)
			row_load(w, w->fns[i]);
	for (size_t i = 0; i < w->config.nodes; i++)
		if (w->agents[i].said.duty != GT_DUTY_ALL &&
		    !gt_w_sabotaged(w, "what was said of nodes is forgotten"))
			gt_control_load_node(w->c, &w->agents[i].said);
	for (size_t i = 0; i < w->config.nodes && w->config.members; i++) {
		struct gt_member m = { .since_ms = 1 };

		gt_strcopy(m.node, sizeof(m.node), w->agents[i].peer.name);
		gt_control_load_member(w->c, &m);
	}
	struct gt_err err = { 0 };

	if (w->learned.len > 0 &&
	    gt_control_learned_load(w->c, gt_buf_str(&w->learned), w->learned.len, &err) < 0)
		gt_w_break(w, "learned", "%s", err.text);
	gt_control_tasks_load(w->c);
	gt_control_schedules_load(w->c);
}

static void control_back(struct gt_world *w, struct w_event *e)
{
	(void)e;
	if (gt_w_sabotaged(w, "the epoch goes back") && w->epoch > 1)
		w->epoch -= 2;
	gt_w_control_start(w);
}

/* Everybody's connection breaks; they try again until control is back. */
void gt_world_control_kill(struct gt_world *w)
{
	if (!w->c)
		return;
	gt_w_mix(w, "control dies", "", w->epoch);
	gt_control_learned_save(w->c, w->epoch & 1, &w->learned); /* in turns: ended, killed */
	w->stats.decisions += gt_control_decided(w->c);
	gt_control_free(w->c);
	w->c = NULL;
	gt_w_tasks_lost(w);
	for (size_t i = 0; i < w->config.nodes; i++) {
		w->agents[i].peer.heard = 0;
		gt_w_peer_break(w, &w->agents[i].peer, 10 + gt_w_below(w, 500));
	}
	for (size_t i = 0; i < w->config.gateways; i++) {
		w->gateways[i].peer.heard = 0;
		gt_w_peer_break(w, &w->gateways[i].peer, 10 + gt_w_below(w, 500));
	}
	gt_w_at(w, w->now_ns + (10 + gt_w_below(w, 1500)) * W_MS, control_back);
}

static void duty_done(const struct gt_err *err, void *arg)
{
	gt_w_mix(arg, "duty", err ? err->slug : "done", 0);
}

void gt_world_node_set(struct gt_world *w, size_t node, enum gt_node_duty duty,
		       uint64_t deadline_ms)
{
	char name[GT_NAME_MAX + 1];

	snprintf(name, sizeof(name), "node%zu", node);
	if (w->c)
		gt_control_node_set(w->c, name, duty, deadline_ms, duty_done, w);
}

void gt_world_store_fail(struct gt_world *w, unsigned permille, uint64_t slow_ms)
{
	w->store_fail_permille = permille;
	w->store_slow_ms = slow_ms;
}

/* ---- deploys ---- */
static void put_done(const struct gt_err *err, enum gt_put_result result,
		     const struct gt_function_view *view, void *arg)
{
	(void)result;
	(void)view;
	gt_w_mix(arg, "put", err ? err->slug : "done", 0);
}

static void delete_done(const struct gt_err *err, void *arg)
{
	gt_w_mix(arg, "delete", err ? err->slug : "done", 0);
}

void gt_world_deploy(struct gt_world *w, size_t fn, const struct gt_world_kind *kind)
{
	char text[W_TEXT], etag[16];
	struct gt_put put = { .name = w->fns[fn]->name, .spec_json = text, .etag = etag };

	if (!w->c)
		return;
	gt_w_kind_write(kind, text);
	snprintf(etag, sizeof(etag), "%u", kind->serial);
	put.spec = spec_of(w, text);
	gt_control_put(w->c, &put, put_done, w);
}

void gt_world_delete(struct gt_world *w, size_t fn, bool force)
{
	if (w->c)
		gt_control_delete(w->c, w->fns[fn]->name, NULL, force, delete_done, w);
}

void gt_world_load(struct gt_world *w, size_t fn, const struct gt_world_kind *kind)
{
	struct w_fn *f = w->fns[fn];

	f->stored = true;
	f->revision++;
	f->created_ms = gt_w_wall_ms(w);
	gt_w_kind_write(kind, f->text);
	row_load(w, f);
}
