/* test_fleet.c - a fleet under faults, seed after seed. While it storms no rule may be broken; when
 *the storm is over everybody is served; when the callers leave everything is returned. SEED=n this
 *seed only	N_SEEDS=n	so many seeds (300)	TRACE=1	print what happens */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define STORM_S  150
#define CALM_S   60
#define SETTLE_S 25 /* after the storm: connections, restarts, refusals that still last */

static struct w_kind kind_random(struct world *w, bool healthy)
{
	struct w_kind k = {
		.start_ms = 5 + (unsigned)w_below(w, 3000),
		.max = 1 + (unsigned)w_below(w, 6),
		.concurrency = 1 + (unsigned)w_below(w, 8),
		.idle_ms = 1000 + (unsigned)w_below(w, 15000),
		.drain_ms = 500 + (unsigned)w_below(w, 5000),
		.memory_mib = 64 + (unsigned)w_below(w, 1024),
		.serial = (unsigned)++w->serial,
	};

	if (w_chance(w, 500))
		k.gpu_milli = w_chance(w, 300) ? GT_GPU_WHOLE : 10 + (unsigned)w_below(w, 491);
	k.target = 1 + (unsigned)w_below(w, k.concurrency);
	k.min = w_chance(w, 250) ? (unsigned)w_below(w, k.max) : 0;
	if (!healthy) {
		k.fail_permille = w_chance(w, 300) ? 1000 : (unsigned)w_below(w, 300);
		k.crash_permille = (unsigned)w_below(w, 400);
	}
	return k;
}

/* ---- the storm ---- */
static void fault(struct world *w)
{
	size_t agent = w_below(w, w->n_agents), gateway = w_below(w, w->n_gateways);
	size_t fn = w_below(w, w->n_fns);
	struct w_kind kind;

	switch (w_below(w, 10)) {
	case 0:
		w_control_kill(w);
		break;
	case 1:
		w_agent_disconnect(w, agent, w_below(w, 3000));
		break;
	case 2:
		w_agent_disconnect(w, agent, 5000 + w_below(w, 20000)); /* may be lost */
		break;
	case 3:
		w_agent_reboot(w, agent);
		break;
	case 4:
		w_gateway_restart(w, gateway);
		break;
	case 5:
		w_gateway_disconnect(w, gateway, w_below(w, 8000));
		break;
	case 6:
		w_delete(w, fn);
		break;
	default:
		kind = kind_random(w, w_chance(w, 600));
		w_deploy(w, fn, &kind);
		break;
	}
}

static void fault_next(struct world *w, struct w_event *e)
{
	(void)e;
	if (!w->faults)
		return;
	fault(w);
	w_at(w, w->now_ns + w_below(w, 8000) * W_MS, fault_next);
}

static void load_next(struct world *w, struct w_event *e)
{
	static const unsigned every_ms[] = { 0, 0, 2000, 300, 60, 20 };

	if (!w->faults)
		return;
	w_gateway_load(w, e->a, every_ms[w_below(w, GT_LEN(every_ms))]);
	w_at(w, w->now_ns + (2000 + w_below(w, 40000)) * W_MS, load_next)->a = e->a;
}

static void storm(struct world *w)
{
	w->faults = true;
	w->store_fail_permille = 100;
	for (size_t i = 0; i < w->n_agents; i++)
		w->agents[i].memory_bytes = w_chance(w, 300) ? 256 * GT_MIB : 64 * GT_GIB;
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct w_kind kind = kind_random(w, w_chance(w, 700));

		w->fns[i].service_ms = 5 + (unsigned)w_below(w, 800);
		w_deploy(w, i, &kind);
		w_at(w, w->now_ns + w_below(w, 3000) * W_MS, load_next)->a = i;
	}
	w_at(w, w->now_ns + 3000 * W_MS, fault_next);
	w_run_until(w, w->now_ns + STORM_S * GT_NS_PER_S);
}

/* ---- the calm ---- */
static bool is_healthy(const struct w_fn *f)
{
	const struct w_kind kind = f->stored ? w_kind_read(f->text) : (struct w_kind){ 0 };

	return f->stored && kind.fail_permille == 0 && kind.crash_permille == 0;
}

static void heal(struct world *w)
{
	w->faults = false;
	w->store_fail_permille = 0;
	w_run_until(w, w->now_ns + 30 * GT_NS_PER_S); /* whoever was away is back by now */
	for (size_t i = 0; i < w->n_agents; i++) {
		w->agents[i].memory_bytes = 64 * GT_GIB;
		w_agent_report_full(w, i);
	}
	/* What does not fit on the nodes that control knows is not deployed. */
	w_run_until(w, w->now_ns + GT_NS_PER_S);
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct w_fn *f = &w->fns[i];
		const struct w_kind kind = kind_random(w, true);

		w->fns[i].service_ms = 20 + (unsigned)w_below(w, 50);
		/* What works is left as the storm left it. */
		if (!is_healthy(f) || w_chance(w, 300))
			w_deploy(w, i, &kind);
		w_gateway_load(w, i, 400);
	}
	w->heal_ns = w->now_ns;
	w->wait_limit_ns = 20 * GT_NS_PER_S;
	w_run_until(w, w->now_ns + SETTLE_S * GT_NS_PER_S);
}

static void calm_check(struct world *w)
{
	uint64_t lost[W_FNS], refused[W_FNS], served[W_FNS];

	for (size_t i = 0; i < w->n_fns; i++) {
		lost[i] = w->fns[i].lost;
		refused[i] = w->fns[i].refused;
		served[i] = w->fns[i].served;
	}
	w_run_until(w, w->now_ns + CALM_S * GT_NS_PER_S);
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct w_fn *f = &w->fns[i];

		if (f->lost != lost[i] || f->refused != refused[i])
			w_fail(w, "%s: %llu calls lost and %llu refused without a fault", f->name,
			       (unsigned long long)(f->lost - lost[i]),
			       (unsigned long long)(f->refused - refused[i]));
		if (f->served - served[i] < CALM_S)
			w_fail(w, "%s served only %llu calls in the calm", f->name,
			       (unsigned long long)(f->served - served[i]));
	}
}

static void count_order(const struct gt_order *o, void *arg)
{
	(void)o;
	++*(size_t *)arg;
}

/* Nobody calls: what is left is min, everywhere the same number. */
static void quiet_check(struct world *w)
{
	size_t min = 0, orders = 0, procs = 0;

	for (size_t i = 0; i < w->n_fns; i++)
		w_gateway_load(w, i, 0);
	w_run_until(w, w->now_ns + 60 * GT_NS_PER_S);
	for (size_t i = 0; i < w->n_fns; i++) {
		struct gt_function_view v;
		const struct w_fn *f = &w->fns[i];
		unsigned min_of = w_kind_read(f->text).min;

		assert_int_equal(gt_control_function(w->c, f->name, &v, NULL), 0);
		if (v.wanted != min_of || v.replicas[GT_REPLICA_READY] != min_of)
			w_fail(w, "%s: min %u, wanted %u, ready %u when idle: %s", f->name, min_of,
			       v.wanted, v.replicas[GT_REPLICA_READY], v.why);
		min += min_of;
	}
	for (size_t i = 0; i < w->n_agents; i++) {
		gt_control_orders(w->c, w->agents[i].name, count_order, &orders);
		procs += w->agents[i].n_procs;
	}
	if (orders != min || procs != min)
		w_fail(w, "idle with %zu orders and %zu processes, min %zu", orders, procs, min);
	uint64_t starts = w->starts;

	w_run_until(w, w->now_ns + 3600 * GT_NS_PER_S);
	if (w->starts != starts)
		w_fail(w, "%llu starts in an idle hour", (unsigned long long)(w->starts - starts));
}

static uint64_t run_seed(uint64_t seed)
{
	struct world *w = w_new(seed, 1 + seed % W_FNS);
	uint64_t hash;

	storm(w);
	heal(w);
	calm_check(w);
	quiet_check(w);
	hash = w->hash;
	w_free(w);
	return hash;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 10) : otherwise;
}

static void a_fleet_survives_its_faults(void **state)
{
	uint64_t only = env_number("SEED", 0), n = env_number("N_SEEDS", 300);

	(void)state;
	if (only) {
		run_seed(only);
		return;
	}
	for (uint64_t seed = 1; seed <= n; seed++)
		run_seed(seed);
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++)
		assert_true(run_seed(seed) == run_seed(seed));
	assert_true(run_seed(1) != run_seed(1 + W_FNS));
}

/* ---- no faults ---- */
/* The same load for an hour: after a few windows nothing is started or stopped any more. */
static void constant_load_never_oscillates(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct world *w = w_new(seed, 1);
		struct w_kind kind = kind_random(w, true);
		uint64_t events;

		w->agents[0].memory_bytes = w->agents[1].memory_bytes = w->agents[2].memory_bytes =
			0;
		w->n_gateways = 1; /* two would add up counts of different moments */
		w->fns[0].steady = true;
		w_deploy(w, 0, &kind);
		w_run_until(w, w->now_ns + GT_NS_PER_S);
		/* Within what max can serve, and each count lasts long enough to be posted. */
		unsigned every_ms = 200 + (unsigned)w_below(w, 500);
		unsigned at_once = (unsigned)w_below(w, kind.max * kind.concurrency);

		w->fns[0].service_ms = every_ms * at_once + 60 +
				       (unsigned)w_below(w, every_ms - 120);
		w_gateway_load(w, 0, every_ms);
		w_run_until(w, w->now_ns + 120 * GT_NS_PER_S);
		events = w->scale_events;
		w_run_until(w, w->now_ns + 600 * GT_NS_PER_S);
		if (w->scale_events - events > 1)
			w_fail(w, "%llu scale events under a constant load",
			       (unsigned long long)(w->scale_events - events));
		w_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fleet_survives_its_faults),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		cmocka_unit_test(constant_load_never_oscillates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
