/* fleet.c - while it storms no rule may be broken; when the storm is over everybody is served; when
 * the callers leave everything is returned. */
#include "fleet.h"

#include <stdlib.h>
#include <string.h>

#define STORM_S  150
#define CALM_S   60
#define SETTLE_S 25 /* after the storm: connections, restarts, refusals that still last */
#define LIMIT_MS 20000

static uint64_t below(struct gt_world *w, uint64_t n)
{
	return gt_w_below(w, n);
}

struct gt_world *fleet_tasks_new(uint64_t seed, const char *sabotage, unsigned gateways,
				 unsigned fns, unsigned max)
{
	const struct gt_world_config config = { .seed = seed,
						.nodes = 2,
						.gateways = gateways,
						.node_cpu_milli = 4000,
						.node_memory_bytes = 64 * GT_GIB,
						.strict = true,
						.tasks = true };
	struct gt_world *w = gt_world_new(&config);

	w->sabotage = sabotage;
	for (unsigned i = 0; i < fns; i++) {
		const struct gt_world_kind kind = { .start_most_ms = 500,
						    .max = max,
						    .target = 2,
						    .concurrency = 4,
						    .idle_ms = 2000,
						    .drain_ms = 500,
						    .memory_mib = 64,
						    .queue = 100,
						    .wait_ms = 60000,
						    .serial = i + 1 };
		char name[12];

		snprintf(name, sizeof(name), "f%u", i);
		gt_world_load(w, gt_world_function(w, name), &kind);
	}
	return w;
}

void fleet_pass(struct gt_world *w, uint64_t seconds)
{
	gt_world_run(w, w->now_ns + seconds * GT_NS_PER_S, NULL);
}

uint64_t fleet_env(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 10) : otherwise;
}

struct gt_world_kind fleet_kind(struct gt_world *w, bool healthy)
{
	struct gt_world_kind k = {
		.start_least_ms = 1,
		.start_most_ms = 5 + (uint32_t)below(w, 3000),
		.max = 1 + (uint32_t)below(w, 6),
		.concurrency = 1 + (uint32_t)below(w, 8),
		.idle_ms = 1000 + (uint32_t)below(w, 15000),
		.drain_ms = 500 + (uint32_t)below(w, 5000),
		.memory_mib = 64 + (uint32_t)below(w, 1024),
		.queue = 100, /* a backlog that max replicas can work off */
		.wait_ms = 60000,
		.serial = (uint32_t)++w->serial,
	};

	if (gt_w_chance(w, 500)) {
		k.gpus = gt_w_chance(w, 100) ? 2 : 1;
		k.gpu_milli = k.gpus == 1 && gt_w_chance(w, 700) ? 10 + (uint32_t)below(w, 491)
								 : GT_GPU_WHOLE;
	}
	if (gt_w_chance(w, 250)) {
		uint32_t nodes = w->config.nodes;

		k.gang = 2 + (uint32_t)below(w, 2);
		k.gang_spread = k.gang <= nodes       ? (uint32_t)below(w, GT_GANG_SPREADS)
				: gt_w_chance(w, 500) ? GT_GANG_NODE
						      : GT_GANG_ANY;
		k.max = GT_MIN(k.max, 2U);
	} else if (gt_w_chance(w, 500)) {
		k.park_after_ms = 500 + (uint32_t)below(w, 5000);
		k.park_ms = (uint32_t)below(w, 400);
		k.unpark_ms = (uint32_t)below(w, 400);
		k.park_refuse_permille = gt_w_chance(w, 300) ? (uint32_t)below(w, 500) : 0;
		k.unpark_fail_permille = gt_w_chance(w, 300) && !healthy ? (uint32_t)below(w, 500)
									 : 0;
	}
	k.target = 1 + (uint32_t)below(w, k.concurrency);
	k.min = gt_w_chance(w, 250) ? (uint32_t)below(w, k.max) : 0;
	if (!healthy) {
		k.fail_permille = gt_w_chance(w, 300) ? 1000 : (uint32_t)below(w, 300);
		k.crash_permille = (uint32_t)below(w, 400);
	}
	return k;
}

/* ---- the storm ---- */
static void fault_node(struct gt_world *w, size_t node)
{
	uint64_t up_ms = below(w, 3) ? below(w, 40000) : 0;

	switch (below(w, 6)) {
	case 0:
		gt_world_agent_crash(w, node, 10 + below(w, 3000));
		break;
	case 1:
		gt_world_agent_crash(w, node, 5000 + below(w, 20000)); /* may be lost */
		break;
	case 2:
		gt_world_node_reboot(w, node, 100 + below(w, 20000));
		break;
	case 3:
		gt_world_node_set(w, node, (enum gt_node_duty)below(w, 3), below(w, 20000));
		break;
	default: /* one way or both */
		gt_world_node_cut(w, node, up_ms, up_ms && below(w, 2) ? 0 : below(w, 40000));
		break;
	}
}

static void fault_gateway(struct gt_world *w, size_t gateway)
{
	if (below(w, 2))
		gt_world_gateway_crash(w, gateway, 50 + below(w, 2000));
	else
		gt_world_gateway_cut(w, gateway, below(w, 8000), below(w, 8000));
}

static void fault(struct gt_world *w)
{
	size_t fn = below(w, w->n_fns);
	struct gt_world_kind kind;

	switch (below(w, 12)) {
	case 0:
		gt_world_control_kill(w);
		break;
	case 1:
	case 2:
	case 3:
		fault_node(w, below(w, w->config.nodes));
		break;
	case 4:
	case 5:
		fault_gateway(w, below(w, w->config.gateways));
		break;
	case 6:
		gt_world_delete(w, fn, gt_w_chance(w, 300));
		break;
	case 7:
		gt_world_store_fail(w, (unsigned)below(w, 300), below(w, 3000));
		break;
	case 8:
		gt_world_wall_jump(w, (int64_t)below(w, 7200000) - 3600000);
		break;
	default:
		kind = fleet_kind(w, gt_w_chance(w, 600));
		gt_world_deploy(w, fn, &kind);
		break;
	}
}

static void fault_next(struct gt_world *w, struct w_event *e)
{
	if (w->now_ns >= e->b)
		return; /* the storm is over */
	fault(w);
	gt_w_at(w, w->now_ns + below(w, 8000) * W_MS, fault_next)->b = e->b;
}

static void load_next(struct gt_world *w, struct w_event *e)
{
	static const uint32_t every_ms[] = { 0, 0, 2000, 300, 60, 20 };

	if (w->now_ns >= e->b)
		return;
	gt_world_callers(w, e->a, every_ms[below(w, GT_LEN(every_ms))], w->fns[e->a]->service_ms,
			 false);
	struct w_event *next = gt_w_at(w, w->now_ns + (2000 + below(w, 40000)) * W_MS, load_next);

	next->a = e->a;
	next->b = e->b;
}

static void storm(struct gt_world *w)
{
	uint64_t end_ns = w->now_ns + STORM_S * GT_NS_PER_S;

	gt_world_store_fail(w, 100, 0);
	gt_world_posts_fail(w, (unsigned)below(w, 100));
	for (size_t i = 0; i < w->config.nodes; i++)
		w->agents[i].memory_bytes = gt_w_chance(w, 300) ? 512 * GT_MIB : 64 * GT_GIB;
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct gt_world_kind kind = fleet_kind(w, gt_w_chance(w, 700));

		w->fns[i]->service_ms = 5 + (uint32_t)below(w, 800);
		gt_world_deploy(w, i, &kind);
		struct w_event *e = gt_w_at(w, w->now_ns + below(w, 3000) * W_MS, load_next);

		e->a = i;
		e->b = end_ns;
	}
	gt_w_at(w, w->now_ns + 3000 * W_MS, fault_next)->b = end_ns;
	gt_world_run(w, end_ns, NULL);
}

/* ---- the calm ---- */
static bool is_healthy(const struct w_fn *f)
{
	const struct gt_world_kind kind = gt_w_kind_read(f->text);

	return f->stored && kind.fail_permille == 0 && kind.crash_permille == 0;
}

static void heal(struct gt_world *w)
{
	gt_world_store_fail(w, 0, 0);
	gt_world_posts_fail(w, 0);
	for (size_t i = 0; i < w->n_fns; i++)
		gt_world_callers(w, i, 400, 20 + (uint32_t)below(w, 50), false);
	fleet_pass(w, 75); /* whoever was away or cut off is back, long calls are done */
	for (size_t i = 0; i < w->config.nodes; i++) {
		gt_world_node_set(w, i, GT_DUTY_ALL, 0); /* now, as control may have been away */
		w->agents[i].memory_bytes = 64 * GT_GIB;
		w->agents[i].peer.full = true;
		gt_w_agent_report(w, &w->agents[i]);
	}
	fleet_pass(w, 1); /* what does not fit on the nodes that control knows is not deployed */
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct gt_world_kind kind = fleet_kind(w, true);

		/* What works is left as the storm left it. */
		if (!is_healthy(w->fns[i]) || gt_w_chance(w, 300))
			gt_world_deploy(w, i, &kind);
	}
	gt_world_calm(w, LIMIT_MS);
	fleet_pass(w, SETTLE_S);
}

static void calm(struct gt_world *w)
{
	struct gt_world_counts before[FLEET_FNS];

	for (size_t i = 0; i < w->n_fns; i++)
		before[i] = gt_world_counts(w, i);
	fleet_pass(w, CALM_S);
	for (size_t i = 0; i < w->n_fns && !gt_world_broken(w); i++) {
		const struct gt_world_counts now = gt_world_counts(w, i);

		if (now.lost != before[i].lost || now.refused != before[i].refused)
			gt_w_break(w, "wanted", "%s: %llu calls lost and %llu refused in the calm",
				   w->fns[i]->name, (unsigned long long)(now.lost - before[i].lost),
				   (unsigned long long)(now.refused - before[i].refused));
		if (now.served - before[i].served < CALM_S)
			gt_w_break(w, "wanted", "%s served only %llu calls in the calm",
				   w->fns[i]->name,
				   (unsigned long long)(now.served - before[i].served));
	}
}

static void count_order(const struct gt_order *o, void *arg)
{
	(void)o;
	++*(size_t *)arg;
}

/* Nobody calls: what is left is min, everywhere the same number. */
static void quiet(struct gt_world *w)
{
	size_t min = 0, orders = 0, procs = 0;

	for (size_t i = 0; i < w->n_fns; i++)
		gt_world_callers(w, i, 0, 0, false);
	fleet_pass(w, 60);
	for (size_t i = 0; i < w->n_fns && !gt_world_broken(w); i++) {
		struct gt_function_view v;
		const struct w_fn *f = w->fns[i];
		uint32_t min_of = gt_w_kind_read(f->text).min;

		assert_int_equal(gt_control_function(w->c, f->name, &v, NULL), 0);
		uint32_t each = GT_MAX(gt_w_kind_read(f->text).gang, 1U);

		if (v.wanted != min_of || v.replicas[GT_REPLICA_READY] != min_of)
			gt_w_break(w, "wanted", "%s: min %u, wanted %u, ready %u when idle: %s",
				   f->name, min_of, v.wanted, v.replicas[GT_REPLICA_READY], v.why);
		min += min_of * each;
	}
	for (size_t i = 0; i < w->config.nodes && w->c; i++) {
		gt_control_orders(w->c, w->agents[i].peer.name, count_order, &orders);
		procs += w->agents[i].n_procs;
	}
	if (orders != min || procs != min)
		gt_w_break(w, "wanted", "idle with %zu orders and %zu processes, of min %zu",
			   orders, procs, min);
	uint64_t starts = w->stats.starts;

	fleet_pass(w, 3600);
	if (w->stats.starts != starts)
		gt_w_break(w, "wanted", "%llu starts in an idle hour",
			   (unsigned long long)(w->stats.starts - starts));
}

struct gt_world *fleet_new(uint64_t seed, const char *sabotage)
{
	struct gt_world_config config = { .seed = seed,
					  .nodes = 1 + (uint32_t)(seed * 7 % 3),
					  .gateways = 1 + (uint32_t)(seed / 5 % 2),
					  .node_cpu_milli = 4000,
					  .node_memory_bytes = 64 * GT_GIB,
					  .node_gpus = 16,
					  .parking_bytes = (256 + seed * 13 % 4096) * GT_MIB,
					  .strict = true };
	struct gt_world *w = gt_world_new(&config);

	w->sabotage = sabotage;
	for (uint64_t i = 0; i < 1 + seed % FLEET_FNS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%llu", (unsigned long long)i);
		gt_world_function(w, name);
	}
	gt_world_run(w, w->now_ns, NULL);
	return w;
}

uint64_t fleet_run(struct gt_world *w)
{
	void (*const parts[])(struct gt_world *) = { storm, heal, calm, quiet };

	for (size_t i = 0; i < GT_LEN(parts) && !gt_world_broken(w); i++)
		parts[i](w);
	return gt_world_hash(w);
}
