/* test_fleet.c - a fleet under faults, seed after seed, on all processors.
 *   SEED=n     this seed only, and what happens with TRACE=1
 *   N_SEEDS=n  so many seeds */
#include "fleet.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 200 /* each takes ten times as long */
#else
#define SEEDS 2000
#endif

static bool seed_holds(uint64_t seed)
{
	gt_auto(world) struct gt_world *w = fleet_new(seed, NULL);
	const struct gt_world_broken *b;

	fleet_run(w);
	b = gt_world_broken(w);
	if (b)
		fprintf(stderr, "SEED=%llu at %llu ms, step %llu: %s: %s\n",
			(unsigned long long)seed, (unsigned long long)(b->at_ns / W_MS),
			(unsigned long long)b->step, b->rule, b->text);
	return !b;
}

static bool seeds_hold(uint64_t first, uint64_t step, uint64_t n)
{
	bool all = true;

	for (uint64_t seed = first; seed <= n; seed += step)
		all = seed_holds(seed) && all;
	return all;
}

static void a_fleet_survives_its_faults(void **state)
{
	uint64_t only = fleet_env("SEED", 0), n = fleet_env("N_SEEDS", SEEDS);
	long n_procs = GT_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L);
	bool all = true;

	(void)state;
	if (only) {
		assert_true(seed_holds(only));
		return;
	}
	fflush(stdout);
	for (long i = 0; i < n_procs; i++)
		if (fork() == 0)
			_exit(seeds_hold((uint64_t)i + 1, (uint64_t)n_procs, n) ? 0 : 1);
	for (long i = 0; i < n_procs; i++) {
		int status;

		assert_true(wait(&status) > 0);
		all = all && status == 0;
	}
	assert_true(all);
}

static uint64_t hash_of(uint64_t seed)
{
	gt_auto(world) struct gt_world *w = fleet_new(seed, NULL);

	return fleet_run(w);
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	if (fleet_env("SEED", 0))
		skip();
	for (uint64_t seed = 1; seed <= 10; seed++)
		assert_true(hash_of(seed) == hash_of(seed));
	assert_true(hash_of(1) != hash_of(1 + FLEET_FNS));
}

/* The same load for an hour: after a few windows nothing is started or stopped any more. */
static void constant_load_never_oscillates(void **state)
{
	(void)state;
	if (fleet_env("SEED", 0))
		skip();
	for (uint64_t seed = 1; seed <= 60; seed++) {
		/* two gateways would add up counts of different moments */
		struct gt_world_config config = { .seed = seed,
						  .nodes = 1 + (uint32_t)(seed % 3),
						  .gateways = 1,
						  .node_gpus = 16,
						  .strict = true };
		gt_auto(world) struct gt_world *w = gt_world_new(&config);
		size_t fn = gt_world_function(w, "f");
		struct gt_world_kind kind = fleet_kind(w, true);
		uint64_t events;

		gt_world_deploy(w, fn, &kind);
		fleet_pass(w, 1);
		/* Within what max can serve, and each count lasts long enough to be posted. */
		uint32_t every_ms = 400 + (uint32_t)gt_w_below(w, 500);
		uint32_t at_once = (uint32_t)gt_w_below(w, kind.max * kind.concurrency);

		gt_world_callers(w, fn, every_ms,
				 every_ms * at_once + 140 + (uint32_t)gt_w_below(w, every_ms - 280),
				 true);
		fleet_pass(w, 120);
		events = w->stats.scale_events;
		fleet_pass(w, 600);
		assert_null(gt_world_broken(w));
		if (w->stats.scale_events - events > 1)
			fail_msg("SEED=%llu: %llu scale events under a constant load",
				 (unsigned long long)seed,
				 (unsigned long long)(w->stats.scale_events - events));
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
