/* test_schedules.c - schedules under faults: control dies at any moment, the store is slow and
 * refuses, and each due time has one call. SEED=n     this seed only N_SEEDS=n  so many seeds */
#include "fleet.h"

#include <string.h>

#define SEEDS   150
#define STORM_S 60
#define FNS     3

static void fault_next(struct gt_world *w, struct w_event *e)
{
	if (w->now_ns >= e->b)
		return;
	if (gt_w_chance(w, 600))
		gt_world_control_kill(w);
	else
		gt_world_store_fail(w, (unsigned)gt_w_below(w, 300), gt_w_below(w, 500));
	gt_w_at(w, w->now_ns + gt_w_below(w, 3000) * W_MS, fault_next)->b = e->b;
}

static struct gt_world *run(uint64_t seed, const char *sabotage)
{
	struct gt_world *w = fleet_tasks_new(seed, sabotage, 1, FNS, 2);
	uint64_t end_ns = w->now_ns + STORM_S * GT_NS_PER_S;

	fleet_pass(w, 2);
	for (unsigned i = 0; i < FNS; i++)
		gt_world_schedule(w, i, 1 + i * 2);
	fleet_pass(w, 2);
	gt_w_at(w, w->now_ns + 1000 * W_MS, fault_next)->b = end_ns;
	gt_world_run(w, end_ns, NULL);
	gt_world_store_fail(w, 0, 0);
	fleet_pass(w, 20);
	return w;
}

static void each_due_time_has_one_call(void **state)
{
	uint64_t only = fleet_env("SEED", 0), n = fleet_env("N_SEEDS", SEEDS), made, all = 0;

	(void)state;
	for (uint64_t seed = only ? only : 1; seed <= (only ? only : n); seed++) {
		gt_auto(world) struct gt_world *w = run(seed, NULL);
		const struct gt_world_broken *b = gt_world_broken(w);
		uint64_t missed = gt_world_schedules_missed(w, 5, &made);

		if (b)
			fail_msg("SEED=%llu at %llu ms: %s: %s", (unsigned long long)seed,
				 (unsigned long long)(b->at_ns / W_MS), b->rule, b->text);
		if (missed)
			fail_msg("SEED=%llu: %llu due times have no call, %llu have one",
				 (unsigned long long)seed, (unsigned long long)missed,
				 (unsigned long long)made);
		all += made;
	}
	print_message("%llu calls were made\n", (unsigned long long)all);
	assert_true(all > 0);
}

/* A world whose store keeps half of a step must be seen to be one. */
static void a_lost_call_is_seen(void **state)
{
	bool seen = false;
	uint64_t made;

	(void)state;
	for (uint64_t seed = 1; seed <= 40 && !seen; seed++) {
		gt_auto(world) struct gt_world *w = run(seed, "a step is kept without its calls");

		seen = gt_world_schedules_missed(w, 5, &made) > 0;
	}
	assert_true(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_due_time_has_one_call),
		cmocka_unit_test(a_lost_call_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
