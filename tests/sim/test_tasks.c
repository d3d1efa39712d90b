/* test_tasks.c - durable calls under faults: whatever dies, is cut off or refuses to write, each
 * accepted call ends once, with one result.
 *   SEED=n     this seed only
 *   N_SEEDS=n  so many seeds */
#include "fleet.h"

#include <string.h>

#define SEEDS   300
#define STORM_S 60
#define CALM_S  180
#define FNS     3

static void fault(struct gt_world *w)
{
	size_t gateway = gt_w_below(w, w->config.gateways), node = gt_w_below(w, w->config.nodes);

	switch (gt_w_below(w, 7)) {
	case 0:
	case 1:
		gt_world_control_kill(w);
		break;
	case 2:
	case 3:
		gt_world_gateway_crash(w, gateway, 50 + gt_w_below(w, 4000));
		break;
	case 4:
		gt_world_gateway_cut(w, gateway, gt_w_below(w, 20000), gt_w_below(w, 20000));
		break;
	case 5:
		gt_world_agent_crash(w, node, 10 + gt_w_below(w, 3000));
		break;
	default:
		gt_world_store_fail(w, (unsigned)gt_w_below(w, 300), gt_w_below(w, 500));
		break;
	}
}

static void fault_next(struct gt_world *w, struct w_event *e)
{
	if (w->now_ns >= e->b)
		return;
	fault(w);
	gt_w_at(w, w->now_ns + gt_w_below(w, 6000) * W_MS, fault_next)->b = e->b;
}

static void call_next(struct gt_world *w, struct w_event *e)
{
	if (w->now_ns >= e->b)
		return;
	gt_world_task(w, gt_w_below(w, FNS), 3000 * W_MS);
	gt_w_at(w, w->now_ns + gt_w_below(w, 400) * W_MS, call_next)->b = e->b;
}

/* The world after a storm and a calm; every rule holds, or the first broken one is known. */
static struct gt_world *run(uint64_t seed, const char *sabotage)
{
	struct gt_world *w = fleet_tasks_new(seed, sabotage, 2, FNS, 3);
	uint64_t end_ns = w->now_ns + STORM_S * GT_NS_PER_S;

	gt_world_posts_fail(w, (unsigned)gt_w_below(w, 100));
	gt_w_at(w, w->now_ns + 1000 * W_MS, fault_next)->b = end_ns;
	gt_w_at(w, w->now_ns + 500 * W_MS, call_next)->b = end_ns;
	gt_world_run(w, end_ns, NULL);
	gt_world_store_fail(w, 0, 0);
	gt_world_posts_fail(w, 0);
	fleet_pass(w, CALM_S);
	return w;
}

static void each_accepted_call_ends_once(void **state)
{
	uint64_t only = fleet_env("SEED", 0), n = fleet_env("N_SEEDS", SEEDS), accepted = 0;

	(void)state;
	for (uint64_t seed = only ? only : 1; seed <= (only ? only : n); seed++) {
		gt_auto(world) struct gt_world *w = run(seed, NULL);
		const struct gt_world_broken *b = gt_world_broken(w);
		struct gt_world_stats stats;

		if (b)
			fail_msg("SEED=%llu at %llu ms: %s: %s", (unsigned long long)seed,
				 (unsigned long long)(b->at_ns / W_MS), b->rule, b->text);
		if (gt_world_tasks_open(w))
			fail_msg("SEED=%llu: %llu of %zu calls have not ended",
				 (unsigned long long)seed,
				 (unsigned long long)gt_world_tasks_open(w), w->tasks.n);
		gt_world_stats(w, &stats);
		accepted += stats.tasks_accepted;
		for (size_t i = 0; i < w->tasks.n; i++)
			assert_int_equal(w->tasks.at[i].results, 1);
	}
	assert_true(accepted > 0);
}

/* A world without the fence must be seen to be one. */
static void a_second_result_is_seen(void **state)
{
	bool seen = false;

	(void)state;
	for (uint64_t seed = 1; seed <= 40 && !seen; seed++) {
		gt_auto(world) struct gt_world *w = run(seed, "late results are recorded");
		const struct gt_world_broken *b = gt_world_broken(w);

		seen = b && strcmp(b->rule, "results") == 0;
		assert_true(!b || seen);
	}
	assert_true(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_accepted_call_ends_once),
		cmocka_unit_test(a_second_result_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
