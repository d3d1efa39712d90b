/* test_disconnect.c - nodes that are cut off, one way or both, while control is killed and posts
 * are lost: nothing of a function with stop_after runs twice, and all serve again when it is over.
 * SEEDS=n and SEED=n choose. */
#include "fleet.h"

#include <string.h>

#define STORM_S 200
#define SEEDS   60

static uint64_t below(struct gt_world *w, uint64_t n)
{
	return gt_w_below(w, n);
}

static struct gt_world_kind kind_of(struct gt_world *w, bool strict)
{
	return (struct gt_world_kind){ .start_least_ms = 1,
				       .start_most_ms = 5 + (uint32_t)below(w, 500),
				       .crash_permille = (uint32_t)below(w, 200),
				       .min = (uint32_t)below(w, 3),
				       .max = 2 + (uint32_t)below(w, 3),
				       .target = 1,
				       .concurrency = 2,
				       .idle_ms = 5000,
				       .drain_ms = 500 + (uint32_t)below(w, 2000),
				       .memory_mib = 64,
				       .queue = 100,
				       .wait_ms = 60000,
				       .stop_after_ms = strict ? 5000 + (uint32_t)below(w, 15000)
							       : 0,
				       .lost_after_ms = strict ? 0 : (uint32_t)below(w, 40000),
				       .reconcile = (uint32_t)below(w, GT_RECONCILE_N),
				       .serial = (uint32_t)++w->serial };
}

static struct gt_world *world_new(uint64_t seed, const char *sabotage)
{
	struct gt_world_config config = { .seed = seed,
					  .nodes = 3,
					  .gateways = 1,
					  .node_cpu_milli = 4000,
					  .node_memory_bytes = 64 * GT_GIB,
					  .members = true,
					  .strict = true };
	struct gt_world *w = gt_world_new(&config);

	w->sabotage = sabotage;
	for (size_t i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%zu", i);
		gt_world_function(w, name);
	}
	gt_world_run(w, w->now_ns, NULL);
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct gt_world_kind kind = kind_of(w, i < 2);

		gt_world_deploy(w, i, &kind);
		w->fns[i]->service_ms = 5 + (uint32_t)below(w, 500);
	}
	return w;
}

static void fault(struct gt_world *w)
{
	size_t node = below(w, w->config.nodes);
	uint64_t ms = below(w, 60000);

	switch (below(w, 8)) {
	case 0:
		gt_world_control_kill(w);
		break;
	case 1: /* its supervisor starts it again at once */
		gt_world_agent_crash(w, node, 10 + below(w, 200));
		break;
	case 2:
		gt_world_node_reboot(w, node, 100 + below(w, 20000));
		break;
	case 3:
		gt_world_node_cut(w, node, ms, 0);
		break;
	case 4:
		gt_world_node_cut(w, node, 0, ms);
		break;
	case 5:
		gt_world_posts_fail(w, (unsigned)below(w, 300));
		break;
	default:
		gt_world_node_cut(w, node, ms, ms);
		break;
	}
}

static void storm(struct gt_world *w)
{
	uint64_t end_ns = w->now_ns + STORM_S * GT_NS_PER_S;

	for (size_t i = 0; i < w->n_fns; i++)
		gt_world_callers(w, i, 200 + (uint32_t)below(w, 2000), w->fns[i]->service_ms,
				 false);
	fleet_pass(w, 5);
	while (w->now_ns < end_ns && !gt_world_broken(w)) {
		fault(w);
		gt_world_run(w, w->now_ns + below(w, 8000) * W_MS, NULL);
	}
}

/* Everybody is back, and every function has what it wants. */
static void heal(struct gt_world *w)
{
	gt_world_posts_fail(w, 0);
	fleet_pass(w, 100);
	gt_world_calm(w, 20000);
	fleet_pass(w, 60);
	for (size_t i = 0; i < w->n_fns && !gt_world_broken(w); i++) {
		struct gt_world_counts before = gt_world_counts(w, i), now;

		fleet_pass(w, 30);
		now = gt_world_counts(w, i);
		if (now.served == before.served)
			gt_w_break(w, "wanted", "%s serves nobody", w->fns[i]->name);
	}
}

static const struct gt_world_broken *run(struct gt_world *w)
{
	storm(w);
	if (!gt_world_broken(w))
		heal(w);
	return gt_world_broken(w);
}

static void nothing_runs_twice_and_all_come_back(void **state)
{
	uint64_t first = fleet_env("SEED", 0), n = first ? 1 : fleet_env("SEEDS", SEEDS);
	uint64_t starts = 0, controls = 0;

	(void)state;
	for (uint64_t seed = first ? first : 1; n > 0; n--, seed++) {
		struct gt_world *w = world_new(seed, NULL);
		const struct gt_world_broken *b = run(w);
		struct gt_world_stats stats;

		if (b)
			fail_msg("SEED=%llu: rule %s at %.3f s: %s", (unsigned long long)seed,
				 b->rule, (double)(b->at_ns - GT_WORLD_START_NS) / GT_NS_PER_S,
				 b->text);
		gt_world_stats(w, &stats);
		starts += stats.starts;
		controls += stats.control_starts;
		gt_world_free(w);
	}
	print_message("%llu starts, %llu starts of control\n", (unsigned long long)starts,
		      (unsigned long long)controls);
}

/* The rule can fail: nodes that do not stop what they should are seen. */
static void nodes_that_go_on_are_seen(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct gt_world *w = world_new(seed, "nodes go on without control");
		const struct gt_world_broken *b = run(w);
		bool seen = b && strcmp(b->rule, "fence") == 0;

		if (b && !seen)
			fail_msg("SEED=%llu: rule %s: %s", (unsigned long long)seed, b->rule,
				 b->text);
		gt_world_free(w);
		if (seen)
			return;
	}
	fail_msg("no seed of 20 saw it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_runs_twice_and_all_come_back),
		cmocka_unit_test(nodes_that_go_on_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
