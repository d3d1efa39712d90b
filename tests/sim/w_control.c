/* w_control.c - control's process, the ports around it, and the store behind it. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

/* ---- the store: a write becomes durable after a while, or fails ---- */
struct w_write {
	size_t fn;
	bool drop;
	uint32_t revision;
	char text[W_TEXT];
	uint64_t created_ms;
	gt_store_done_fn *done;
	void *arg;
};

static void write_apply(struct world *w, const struct w_write *write)
{
	struct w_fn *fn = &w->fns[write->fn];

	fn->stored = !write->drop;
	fn->revision = write->revision;
	fn->created_ms = write->created_ms;
	gt_strcopy(fn->text, sizeof(fn->text), write->text);
}

static void write_end(struct world *w, struct w_event *e)
{
	const struct w_write *write = e->data;
	const struct gt_err full = { .code = ENOSPC, .slug = "storage_full", .text = "disk full" };
	bool same_control = w->c && e->a == w->epoch;

	/* After a crash it is open whether the last writes were committed; nobody is told. */
	if (w_chance(w, same_control ? w->store_fail_permille : 500)) {
		if (same_control)
			write->done(&full, write->arg);
		return;
	}
	if (!same_control && w->c)
		return; /* the next control has read the store already */
	write_apply(w, write);
	if (same_control)
		write->done(NULL, write->arg);
}

static struct w_write *write_begin(struct world *w, const char *function, gt_store_done_fn *done,
				   void *arg)
{
	struct w_write *write = gt_alloc(sizeof(*write));
	/* equal latency keeps the order of one function's writes */
	struct w_event *e = w_at(w, w->now_ns + 5 * W_MS, write_end);

	e->a = w->epoch;
	e->data = write;
	write->fn = (size_t)(w_fn_find(w, function) - w->fns);
	write->done = done;
	write->arg = arg;
	return write;
}

static void store_put(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		      void *arg)
{
	struct w_write *write = write_begin(ctx, row->name, done, arg);

	write->revision = row->revision;
	write->created_ms = row->created_ms;
	gt_strcopy(write->text, sizeof(write->text), row->spec_json);
}

static void store_drop(void *ctx, const char *function, gt_store_done_fn *done, void *arg)
{
	write_begin(ctx, function, done, arg)->drop = true;
}

static void store_revisions(void *ctx, const char *function, gt_store_revisions_fn *done, void *arg)
{
	(void)function;
	w_fail(ctx, "nobody asked for revisions");
	done(NULL, NULL, 0, arg);
}

/* ---- what control says ---- */
struct staying {
	const char *function;
	uint32_t revision;
	uint32_t current, old;
};

static bool staying_add(const struct gt_replica_view *v, void *arg)
{
	struct staying *s = arg;

	if (v->state <= GT_REPLICA_READY && strcmp(v->function, s->function) == 0)
		*(v->revision == s->revision ? &s->current : &s->old) += 1;
	return true;
}

/* A start must have a reason, and room below max; while an old revision serves, one above. */
static void start_check(struct world *w, const struct gt_order *order)
{
	struct gt_function_view v;
	struct staying s = { .function = order->function, .revision = order->revision };

	if (gt_control_function(w->c, order->function, &v, NULL) < 0)
		w_fail(w, "%s is started after its deletion", order->function);
	if (v.queued + v.in_flight == 0 && v.spec->scale.min == 0)
		w_fail(w, "%s is started without demand", order->function);
	if (order->revision != v.row->revision)
		w_fail(w, "%s: revision %u is started, %u is current", order->function,
		       order->revision, v.row->revision);
	if (!gt_control_settled(w->c))
		w_fail(w, "%s is started before the nodes have reported", order->function);
	gt_control_replicas(w->c, order->function, staying_add, &s);
	if (s.current > (s.old > 0 ? 1 : v.spec->scale.max))
		w_fail(w, "%s has %u replicas and %u old ones, max %u", order->function, s.current,
		       s.old, v.spec->scale.max);
	w->starts++;
}

static bool ordered_find(struct world *w, const char *id, size_t *ret)
{
	for (size_t i = w->n_ordered; i-- > 0;) {
		if (strcmp(w->ordered[i].id, id) != 0)
			continue;
		*ret = i;
		return true;
	}
	return false;
}

struct whether_new {
	const char *id;
	bool adopted;
};

static bool find_adopted(const struct gt_replica_view *v, void *arg)
{
	struct whether_new *n = arg;

	n->adopted = n->adopted || (strcmp(v->id, n->id) == 0 && strcmp(v->reason, "adopted") == 0);
	return true;
}

static void run_order_check(struct world *w, const char *node, const struct gt_order *order)
{
	struct whether_new n = { .id = order->replica };
	size_t at;

	if (ordered_find(w, order->replica, &at))
		w_fail(w, "replica %s is ordered to %s and to %s", order->replica,
		       w->ordered[at].node, node);
	if (w->n_ordered == w->cap_ordered) {
		w->cap_ordered = w->cap_ordered ? 2 * w->cap_ordered : 64;
		w->ordered = gt_grow(w->ordered, w->cap_ordered, sizeof(*w->ordered));
	}
	at = w->n_ordered++;
	gt_strcopy(w->ordered[at].id, sizeof(w->ordered[at].id), order->replica);
	gt_strcopy(w->ordered[at].node, sizeof(w->ordered[at].node), node);
	gt_control_replicas(w->c, order->function, find_adopted, &n);
	if (!n.adopted)
		start_check(w, order);
}

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	struct world *w = ctx;

	w_mix(w, order->want == GT_WANT_RUN ? "run" : "stop", order->replica, order->revision);
	if (order->want == GT_WANT_RUN)
		run_order_check(w, node, order);
	w_agent_order(w, node, order);
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	struct world *w = ctx;
	size_t at;

	w_mix(w, "forget", replica, 0);
	if (ordered_find(w, replica, &at)) /* a lost node may bring it back */
		w->ordered[at] = w->ordered[--w->n_ordered];
	w_agent_forget(w, node, replica);
}

static void on_route(void *ctx, const char *function)
{
	w_mix(ctx, "route", function, 0);
	w_gateway_route(ctx, function);
}

static void on_route_gone(void *ctx, const char *function)
{
	w_mix(ctx, "gone", function, 0);
	w_gateway_route(ctx, function);
}

static void on_event(void *ctx, const struct gt_event *event)
{
	struct world *w = ctx;

	w_mix(w, event->type, event->text, event->id);
	if (event->id <= w->last_event_id)
		w_fail(w, "event %llu follows %llu", (unsigned long long)event->id,
		       (unsigned long long)w->last_event_id);
	w->last_event_id = event->id;
	w->scale_events += gt_starts_with(event->type, "scale.");
}

static void on_due(void *ctx)
{
	(void)ctx;
}

/* ---- the process ---- */
static struct gt_spec *spec_of(const char *text)
{
	const struct w_kind kind = w_kind_read(text);
	struct gt_spec *spec = gt_spec_new();

	spec->scale.min = kind.min;
	spec->scale.max = kind.max;
	spec->scale.target = kind.target;
	spec->scale.concurrency = kind.concurrency;
	spec->scale.idle_ms = kind.idle_ms;
	spec->limits.drain_ms = kind.drain_ms;
	spec->resources.memory_bytes = kind.memory_mib * GT_MIB;
	spec->resources.gpu.count = kind.gpu_milli > 0;
	spec->resources.gpu.share_milli = kind.gpu_milli < GT_GPU_WHOLE ? kind.gpu_milli : 0;
	return spec;
}

static void load(struct world *w)
{
	for (size_t i = 0; i < w->n_fns; i++) {
		struct w_fn *fn = &w->fns[i];
		struct gt_function_row row = { .revision = fn->revision,
					       .created_ms = fn->created_ms,
					       .spec_json = fn->text };

		if (!fn->stored)
			continue;
		gt_strcopy(row.name, sizeof(row.name), fn->name);
		snprintf(row.etag, sizeof(row.etag), "%u", w_kind_read(fn->text).serial);
		gt_control_load(w->c, &row, spec_of(fn->text));
	}
}

void w_control_start(struct world *w)
{
	const struct gt_control_config config = { .epoch = ++w->epoch };
	const struct gt_control_ports ports = {
		.clock = { .mono_ns = w_mono_ns, .wall_ms = w_wall_ms, .arg = w },
		.rnd = gt_rand_seeded(&w->rng),
		.store = { .ctx = w,
			   .put = store_put,
			   .drop = store_drop,
			   .revisions = store_revisions },
		.ctx = w,
		.on_order = on_order,
		.on_forget = on_forget,
		.on_route = on_route,
		.on_route_gone = on_route_gone,
		.on_event = on_event,
		.on_due = on_due,
	};

	w->n_ordered = 0;
	w->c = gt_control_new(&ports, &config);
	load(w);
}

static void control_back(struct world *w, struct w_event *e)
{
	(void)e;
	w_control_start(w);
}

/* Everybody's connection breaks; they try again until control is back. */
void w_control_kill(struct world *w)
{
	if (!w->c)
		return;
	w_mix(w, "control dies", "", w->epoch);
	gt_control_free(w->c);
	w->c = NULL;
	for (size_t i = 0; i < w->n_agents; i++)
		w_agent_disconnect(w, i, 10 + w_below(w, 500));
	for (size_t i = 0; i < w->n_gateways; i++)
		w_gateway_disconnect(w, i, 10 + w_below(w, 500));
	w_at(w, w->now_ns + (10 + w_below(w, 1500)) * W_MS, control_back);
}

static void put_done(const struct gt_err *err, enum gt_put_result result,
		     const struct gt_function_view *view, void *arg)
{
	(void)result;
	(void)view;
	w_mix(arg, "put", err ? err->slug : "done", 0);
}

static void delete_done(const struct gt_err *err, void *arg)
{
	w_mix(arg, "delete", err ? err->slug : "done", 0);
}

void w_deploy(struct world *w, size_t fn, const struct w_kind *kind)
{
	char text[W_TEXT], etag[16];
	struct gt_put put = { .name = w->fns[fn].name, .spec_json = text, .etag = etag };

	if (!w->c)
		return;
	w_kind_write(kind, text);
	snprintf(etag, sizeof(etag), "%u", kind->serial);
	put.spec = spec_of(text);
	gt_control_put(w->c, &put, put_done, w);
}

void w_delete(struct world *w, size_t fn)
{
	if (w->c)
		gt_control_delete(w->c, w->fns[fn].name, NULL, w_chance(w, 300), delete_done, w);
}
