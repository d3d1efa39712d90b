/* test_index.c - the index gives what a plain scan gives, and the books add up, over random fleets
 * and operations. SEED=n repeats one run. */
#include "fleet.h"

#include <gantry/base/clock.h>

#include <stdio.h>

#define NODES  150
#define SPOTS  400
#define STEPS  3000
#define RUNS   12
#define FLEETS 4 /* with an index, without, with a small one, without vector instructions */

static const struct gt_sched_config configs[FLEETS] = {
	{ .memory_overcommit = 2 },
	{ .memory_overcommit = 2, .plain = true },
	{ .memory_overcommit = 2, .shapes_max = 5 },
	{ .memory_overcommit = 2, .portable = true },
};
static const char *const kinds[] = { "T4", "A100", "H100" };
static const uint64_t vram[] = { 16 * GT_GIB, 40 * GT_GIB, 0 };

struct world {
	struct gt_rand rnd;
	uint64_t seed;
	struct gt_sched *s[FLEETS];
	struct gt_sched_spot spots[SPOTS][FLEETS];
	struct gt_sched_want wants[SPOTS];
	bool used[SPOTS];
	size_t placed, refused;
};

static uint64_t draw(struct world *w, uint64_t below)
{
	uint64_t n;

	w->rnd.fill(w->rnd.arg, &n, sizeof(n));
	return n % below;
}

static void random_node(struct world *w, uint32_t index)
{
	struct gt_sched_node n = { .name = "n" };

	n.state = draw(w, 8) ? GT_SCHED_UP : (enum gt_sched_state)draw(w, 2);
	n.cpu_milli = draw(w, 10) ? 8000 * (1 + draw(w, 4)) : 0;
	n.memory_bytes = draw(w, 10) ? GT_GIB * (1 + draw(w, 64)) : 0;
	n.n_gpus = draw(w, 4) ? 1u << draw(w, 5) : 0;
	for (size_t i = 0, kind = draw(w, 3); i < n.n_gpus; i++) {
		if (draw(w, 40) == 0)
			kind = draw(w, 3);
		n.gpus[i].broken = draw(w, 30) == 0;
		n.gpus[i].vram_bytes = vram[kind];
		n.gpus[i].model = model(w->s[0], kinds[kind]);
	}
	n.n_labels = draw(w, 3);
	for (size_t i = 0; i < n.n_labels; i++)
		n.labels[i] = (uint32_t)i;
	for (int f = 0; f < FLEETS; f++)
		add(w->s[f], index, &n);
}

static void random_want(struct world *w, struct gt_sched_want *want)
{
	*want = (struct gt_sched_want){ .cpu_milli = 500 * draw(w, 9),
					.memory_bytes = GT_GIB * draw(w, 6) };
	if (draw(w, 4)) {
		want->gpus = draw(w, 3) ? 1 : 1u << draw(w, 4);
		want->gpu_milli = draw(w, 2) ? 100 * (uint32_t)draw(w, 11) : 0;
		want->gpu_bytes = draw(w, 4) == 0 ? GT_GIB * draw(w, 20) : 0;
	}
	for (; want->n_models < 3 && draw(w, 3) == 0; want->n_models++)
		want->models[want->n_models] = (uint8_t)draw(w, 3);
	want->models_equal = draw(w, 2);
	if (draw(w, 6) == 0)
		want->labels[want->n_labels++] = (uint32_t)draw(w, 3);
	want->exclusive = draw(w, 12) == 0;
	want->owner = (uint32_t)draw(w, 3);
	want->function = (uint32_t)draw(w, 6);
}

static size_t random_hints(struct world *w, struct gt_sched_hint *hints)
{
	size_t n = draw(w, 4) ? 0 : draw(w, 10);

	for (size_t i = 0; i < n; i++)
		hints[i] = (struct gt_sched_hint){ .node = (uint32_t)(i * 15 + draw(w, 15)),
						   .ms = (uint32_t)draw(w, 20000) };
	return n;
}

static void place_one(struct world *w, size_t at)
{
	struct gt_sched_hint hints[10];
	struct gt_sched_want *want = &w->wants[at];
	bool looked = draw(w, 3) == 0; /* a look works out scores that placing leaves */
	int r[FLEETS];

	random_want(w, want);
	want->n_hints = random_hints(w, hints);
	want->hints = hints;
	want->usual_ms = 10000;
	for (int f = 0; f < FLEETS; f++) {
		struct gt_sched_look look;

		if (looked)
			gt_sched_look(w->s[f], want, &look);
		r[f] = gt_sched_place(w->s[f], want, &w->spots[at][f], NULL);
		if (!looked)
			continue;
		assert_int_equal(look.n_best > 0, r[f] == 0);
		if (r[f] == 0)
			assert_int_equal(look.best[0].node, w->spots[at][f].node);
	}
	for (int f = 1; f < FLEETS; f++)
		if (r[f] != r[0] || (r[0] == 0 && memcmp(&w->spots[at][f], &w->spots[at][0],
							 sizeof(w->spots[at][0])) != 0))
			fail_msg("seed %llu: fleet %d: %d on node %u, not %d on node %u",
				 (unsigned long long)w->seed, f, r[f], w->spots[at][f].node, r[0],
				 w->spots[at][0].node);
	want->hints = NULL;
	w->used[at] = r[0] == 0;
	*(r[0] == 0 ? &w->placed : &w->refused) += 1;
}

static void release_one(struct world *w, size_t at)
{
	for (int f = 0; f < FLEETS; f++)
		gt_sched_release(w->s[f], &w->spots[at][f]);
	w->used[at] = false;
}

/* Everything that is out there, added up by hand, is what the fleet says. */
static void check_books(struct world *w, int f)
{
	uint64_t all = 0;

	for (uint32_t i = 0; i < NODES; i++) {
		struct gt_sched_usage u, sum = { 0 };

		assert_int_equal(gt_sched_usage(w->s[f], i, &u), 0);
		for (size_t k = 0; k < SPOTS; k++) {
			const struct gt_sched_spot *spot = &w->spots[k][f];

			if (!w->used[k] || spot->node != i)
				continue;
			assert_int_equal(__builtin_popcount(spot->gpu_mask), w->wants[k].gpus);
			sum.cpu_milli += spot->cpu_milli;
			sum.memory_bytes += spot->memory_bytes;
			sum.replicas++;
			for (size_t g = 0; g < GT_SCHED_GPUS_MAX; g++) {
				if (!(spot->gpu_mask >> g & 1))
					continue;
				sum.gpu_milli[g] = (uint16_t)(sum.gpu_milli[g] + spot->gpu_milli);
				sum.gpu_bytes[g] += spot->gpu_mib * GT_MIB;
				all += spot->gpu_milli;
			}
		}
		assert_memory_equal(&u, &sum, sizeof(u));
		for (size_t g = 0; g < GT_SCHED_GPUS_MAX; g++)
			assert_true(u.gpu_milli[g] <= 1000 && u.gpu_bytes[g] <= 40 * GT_GIB);
	}
	assert_int_equal(gt_sched_gpu_milli_taken(w->s[f]), all);
}

static void random_mix(struct world *w)
{
	struct gt_sched_task tasks[20];

	for (size_t i = 0; i < GT_LEN(tasks); i++) {
		random_want(w, &tasks[i].want);
		tasks[i].weight = draw(w, 100);
	}
	for (int f = 0; f < FLEETS; f++)
		assert_int_equal(gt_sched_mix(w->s[f], tasks, GT_LEN(tasks), NULL), 0);
}

/* A node only changes when it is empty: what is on it would count for other GPUs. */
static void change_node(struct world *w)
{
	uint32_t index = (uint32_t)draw(w, NODES);

	for (size_t k = 0; k < SPOTS; k++)
		if (w->used[k] && w->spots[k][0].node == index)
			release_one(w, k);
	random_node(w, index);
}

static void one_run(uint64_t seed)
{
	struct world *w = gt_alloc(sizeof(*w));
	uint64_t state = seed;

	w->seed = seed;
	w->rnd = gt_rand_seeded(&state);
	for (int f = 0; f < FLEETS; f++) {
		struct gt_sched_config config = configs[f];

		config.learn = seed % 2;
		w->s[f] = gt_sched_new(&config);
		for (size_t i = 0; i < GT_LEN(kinds); i++)
			model(w->s[f], kinds[i]);
		label(w->s[f], "a=1");
		label(w->s[f], "b=2");
		label(w->s[f], "c=3");
	}
	for (uint32_t i = 0; i < NODES; i++)
		random_node(w, i);
	for (size_t i = 0; i < STEPS; i++) {
		size_t at = draw(w, SPOTS);

		if (draw(w, 700) == 0)
			random_mix(w);
		else if (draw(w, 60) == 0)
			change_node(w);
		else if (w->used[at])
			release_one(w, at);
		else
			place_one(w, at);
	}
	for (int f = 0; f < FLEETS; f++)
		check_books(w, f);
	assert_true(w->placed > STEPS / 8 && w->refused > 10);
	for (size_t k = 0; k < SPOTS; k++)
		release_one(w, k);
	for (int f = 0; f < FLEETS; f++) {
		check_books(w, f);
		gt_sched_free(w->s[f]);
	}
	free(w);
}

static void the_index_gives_what_a_scan_gives(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	if (seed) {
		one_run(strtoull(seed, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= RUNS; i++) {
		print_message("seed %llu\n", (unsigned long long)i);
		one_run(i);
	}
}

/* So many shapes and changes that rows are taken away, and changes fall off the log. */
static void bounds_of_the_index_change_no_answer(void **state)
{
	const size_t n = 70;
	struct gt_sched *s[2] = { gt_sched_new(&configs[0]), gt_sched_new(&configs[1]) };
	struct gt_sched_want want = { .gpus = 1 };
	struct gt_sched_spot spots[2], *held = gt_alloc_array(2 * n, sizeof(*held));

	(void)state;
	for (uint32_t i = 0; i < n; i++)
		for (int f = 0; f < 2; f++) {
			struct gt_sched_node b = box(s[f], "b", 8, "T4", 16 * GT_GIB);

			b.cpu_milli = 1000000 + i;
			add(s[f], i, &b);
		}
	for (uint32_t i = 0; i < 40000; i++) {
		size_t at = i % n;

		want.cpu_milli = i * 7919 % 997;
		want.gpu_milli = 1 + i * 31 % 300;
		for (int f = 0; f < 2; f++) {
			gt_sched_release(s[f], &held[2 * at + (size_t)f]);
			assert_int_equal(gt_sched_place(s[f], &want, &spots[f], NULL), 0);
			held[2 * at + (size_t)f] = spots[f];
		}
		assert_memory_equal(&spots[0], &spots[1], sizeof(spots[0]));
	}
	gt_sched_free(s[0]);
	gt_sched_free(s[1]);
	free(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_index_gives_what_a_scan_gives),
		cmocka_unit_test(bounds_of_the_index_change_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
