/* test_gangs.c - gangs under faults, schedule after schedule, on all processors: none is ever
 * admitted in part, and with nothing cut off a dead member takes all of its epoch along within 5 s
 * (the rules "gang" of src/sim/rules_gang.c and src/control/check.c).
 *   SEED=n         this schedule only
 *   N_SCHEDULES=n  so many; make bench-gangs runs the 10000 of the project's bar */
#include "fleet.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define SCHEDULES 100
#else
#define SCHEDULES 1000
#endif
#define STORM_S 30
#define HEAL_S  45
#define CALM_S  60

static struct gt_world_kind gang_kind(struct gt_world *w, bool dies)
{
	struct gt_world_kind k = fleet_kind(w, true);

	k.start_most_ms = 5 + (uint32_t)gt_w_below(w, 300);
	k.gang = 2 + (uint32_t)gt_w_below(w, 3);
	k.park_after_ms = 0; /* what is a gang is not parked */
	k.gang_spread = GT_GANG_NODE + (uint32_t)gt_w_below(w, 3);
	if (k.gang > w->config.nodes && k.gang_spread == GT_GANG_NODES)
		k.gang_spread = GT_GANG_ANY;
	k.gpus = (uint32_t)gt_w_below(w, 3);
	k.gpu_milli = GT_GPU_WHOLE;
	k.memory_mib = 64;
	k.max = 1 + (uint32_t)gt_w_below(w, 2);
	k.min = (uint32_t)gt_w_below(w, 2);
	k.crash_mean_s = dies ? 5 + (uint32_t)gt_w_below(w, 30) : 0;
	return k;
}

static void fault(struct gt_world *w)
{
	size_t node = gt_w_below(w, w->config.nodes), fn = gt_w_below(w, w->n_fns);
	uint64_t ms = gt_w_below(w, 15000);
	struct gt_world_kind kind;

	switch (gt_w_below(w, 6)) {
	case 0:
		gt_world_control_kill(w);
		break;
	case 1:
		gt_world_agent_crash(w, node, 10 + ms / 10);
		break;
	case 2:
		gt_world_node_reboot(w, node, 100 + ms);
		break;
	case 3:
		gt_world_node_cut(w, node, ms, gt_w_below(w, 2) ? ms : 0);
		break;
	case 4:
		gt_world_delete(w, fn, gt_w_chance(w, 300));
		break;
	default:
		kind = gang_kind(w, true);
		gt_world_deploy(w, fn, &kind);
		break;
	}
}

static void fault_next(struct gt_world *w, struct w_event *e)
{
	if (w->now_ns >= e->b)
		return;
	fault(w);
	gt_w_at(w, w->now_ns + gt_w_below(w, 4000) * W_MS, fault_next)->b = e->b;
}

static void deploy_all(struct gt_world *w)
{
	for (size_t i = 0; i < w->n_fns; i++) {
		const struct gt_world_kind kind = gang_kind(w, true);

		gt_world_deploy(w, i, &kind);
	}
}

static void schedule_run(struct gt_world *w)
{
	gt_world_function(w, "a");
	gt_world_function(w, "b");
	fleet_pass(w, 1);
	deploy_all(w);
	for (size_t i = 0; i < w->n_fns; i++)
		gt_world_callers(w, i, 150, 50 + (uint32_t)gt_w_below(w, 200), false);
	gt_world_posts_fail(w, (unsigned)gt_w_below(w, 100));
	gt_w_at(w, w->now_ns + 500 * W_MS, fault_next)->b = w->now_ns + STORM_S * GT_NS_PER_S;
	fleet_pass(w, STORM_S);
	gt_world_posts_fail(w, 0);
	fleet_pass(w, HEAL_S);
	deploy_all(w); /* members go on dying: that is what is looked at */
	gt_world_calm(w, 120000);
	fleet_pass(w, CALM_S);
}

static uint64_t schedules_hold(uint64_t first, uint64_t step, uint64_t n, uint64_t admitted[2])
{
	uint64_t broken = 0;

	for (uint64_t seed = first; seed <= n; seed += step) {
		const struct gt_world_config config = { .seed = seed,
							.nodes = 1 + (uint32_t)(seed % 4),
							.gateways = 1,
							.node_cpu_milli = 64000,
							.node_memory_bytes = 64 * GT_GIB,
							.node_gpus = 8,
							.node_lost_ms = 3000,
							.strict = true };
		gt_auto(world) struct gt_world *w = gt_world_new(&config);
		const struct gt_world_broken *b;

		schedule_run(w);
		admitted[0] += w->stats.admissions;
		admitted[1] += w->stats.crashes;
		b = gt_world_broken(w);
		if (!b)
			continue;
		broken++;
		fprintf(stderr, "SEED=%llu at %llu ms: %s: %s\n", (unsigned long long)seed,
			(unsigned long long)(b->at_ns / W_MS), b->rule, b->text);
	}
	return broken;
}

static void no_gang_is_admitted_in_part(void **state)
{
	uint64_t only = fleet_env("SEED", 0), n = fleet_env("N_SCHEDULES", SCHEDULES);
	uint64_t seen[2] = { 0 }, all[3] = { 0 }, told[3];
	long n_procs = GT_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L);
	int ends[2];

	(void)state;
	if (only) {
		assert_int_equal(schedules_hold(only, 1, only, seen), 0);
		return;
	}
	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	for (long i = 0; i < n_procs; i++)
		if (fork() == 0) {
			told[0] = schedules_hold((uint64_t)i + 1, (uint64_t)n_procs, n, seen);
			told[1] = seen[0];
			told[2] = seen[1];
			_exit(write(ends[1], told, sizeof(told)) == sizeof(told) ? 0 : 1);
		}
	for (long i = 0; i < n_procs; i++) {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
		assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
		for (size_t k = 0; k < GT_LEN(all); k++)
			all[k] += told[k];
	}
	close(ends[0]);
	close(ends[1]);
	printf("%llu schedules: %llu routes of gangs looked at, %llu members died\n",
	       (unsigned long long)n, (unsigned long long)all[1], (unsigned long long)all[2]);
	assert_int_equal(all[0], 0);
	assert_true(all[1] > n);
	assert_true(all[2] > n);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_gang_is_admitted_in_part) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
