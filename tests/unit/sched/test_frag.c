/* test_frag.c - the score of a node is what its definition says, worked out the long way: F(node) =
 * sum over the tasks of the mix of p x (free thousandths that the task can not use). SEED=n repeats
 * one run. */
#include "fleet.h"

#include <gantry/base/clock.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS   4000
#define GPUS     8
#define TASKS    12
#define MIDDLE   127 /* as in src/sched/sched_priv.h */
#define BYTE_MAX 253
#define WEIGHT   (1 << 20)

struct round {
	struct gt_rand rnd;
	uint64_t seed;
	size_t n_gpus, n_tasks;
	struct gt_sched_task tasks[TASKS];
	uint64_t cpu;
	unsigned model[GPUS], left[GPUS]; /* of each GPU of the node */
};

static uint64_t draw(struct round *r, uint64_t below)
{
	uint64_t n;

	r->rnd.fill(r->rnd.arg, &n, sizeof(n));
	return n % below;
}

static struct gt_sched_want random_want(struct round *r)
{
	struct gt_sched_want w = { .cpu_milli = 700 * draw(r, 30), .models_equal = true };

	w.gpus = draw(r, 3) ? 1 : 1u << draw(r, 4);
	w.gpu_milli = w.gpus > 1 && draw(r, 4) ? 1000 : 1 + (uint32_t)draw(r, 1000);
	w.models[w.n_models++] = (uint8_t)draw(r, 2);
	if (draw(r, 2))
		w.models[w.n_models++] = !w.models[0]; /* both: any, but without a price */
	return w;
}

static bool allows(const struct gt_sched_want *w, unsigned model)
{
	return w->models[0] == model || w->n_models == 2;
}

/* What one task can use of the node's free GPUs of one model. */
static int64_t usable(const struct round *r, const struct gt_sched_want *w, unsigned model,
		      const unsigned *left, uint64_t cpu)
{
	int64_t sum = 0;
	uint32_t n = 0;

	for (size_t i = 0; i < r->n_gpus; i++) {
		if (r->model[i] != model || left[i] < w->gpu_milli || !allows(w, model))
			continue;
		sum += left[i];
		n++;
	}
	return cpu >= w->cpu_milli && n >= w->gpus ? sum : 0;
}

static int64_t frag(const struct round *r, const unsigned *left, uint64_t cpu)
{
	uint64_t all = 0;
	int64_t sum = 0;

	for (size_t t = 0; t < r->n_tasks; t++)
		all += r->tasks[t].weight;
	for (size_t i = 0; i < r->n_gpus; i++)
		sum += (int64_t)left[i] * WEIGHT;
	for (size_t t = 0; t < r->n_tasks; t++) {
		int64_t part = (int64_t)(r->tasks[t].weight * WEIGHT / all);

		for (unsigned model = 0; model < 2; model++)
			sum -= part * usable(r, &r->tasks[t].want, model, left, cpu);
	}
	return sum;
}

/* The next GPU to try by what is free on it, lowest first; -1: none is left. */
static int next_gpu(const struct round *r, const struct gt_sched_want *w, unsigned model,
		    unsigned tried)
{
	int best = -1;

	for (size_t i = 0; i < r->n_gpus; i++)
		if (!(tried >> i & 1) && r->model[i] == model && r->left[i] >= w->gpu_milli &&
		    (best < 0 || r->left[i] < r->left[best]))
			best = (int)i;
	return best;
}

/* The best of all places: one GPU, any that fits; several, those with the least that is enough. */
static unsigned rate(const struct round *r, const struct gt_sched_want *w)
{
	const int64_t step = (int64_t)GT_SCHED_STEP_MILLI * WEIGHT;
	int64_t best = 0;

	for (unsigned model = 0; model < 2; model++) {
		unsigned tried = 0;
		int at;

		while (allows(w, model) && w->cpu_milli <= r->cpu &&
		       (at = next_gpu(r, w, model, tried)) >= 0) {
			unsigned left[GPUS], taken = 0;
			int64_t score;

			memcpy(left, r->left, sizeof(left));
			for (uint32_t n = 0; n < w->gpus && at >= 0; n++) {
				left[at] -= w->gpu_milli;
				taken |= 1u << at;
				at = next_gpu(r, w, model, tried | taken);
			}
			if ((uint32_t)__builtin_popcount(taken) < w->gpus)
				break;
			score = MIDDLE +
				(int64_t)floor((double)(frag(r, r->left, r->cpu) -
							frag(r, left, r->cpu - w->cpu_milli)) /
					       (double)step);
			best = GT_MAX(best, GT_MIN(GT_MAX(score, 1), BYTE_MAX));
			tried |= w->gpus == 1 ? taken : UINT32_MAX;
		}
	}
	return (unsigned)best;
}

static void random_node(struct round *r, struct gt_sched *s)
{
	struct gt_sched_node n = { .name = "n", .state = GT_SCHED_UP, .cpu_milli = 32000 };
	struct gt_sched_usage usage;

	n.n_gpus = r->n_gpus = 1 + draw(r, GPUS);
	for (size_t i = 0; i < n.n_gpus; i++)
		n.gpus[i].model = (uint8_t)(r->model[i] = (unsigned)draw(r, 2));
	add(s, 0, &n);
	for (size_t i = 0; i < n.n_gpus; i++) {
		struct gt_sched_want w = { .cpu_milli = draw(r, 6000), .gpus = 1 };
		struct gt_sched_spot spot;

		w.gpu_milli = draw(r, 3) ? 1000 : 1 + (uint32_t)draw(r, 999);
		if (draw(r, 2))
			assert_int_equal(gt_sched_book(s, &w, 0, 1u << i, &spot, NULL), 0);
	}
	assert_int_equal(gt_sched_usage(s, 0, &usage), 0);
	r->cpu = n.cpu_milli > usage.cpu_milli ? n.cpu_milli - usage.cpu_milli : 0;
	for (size_t i = 0; i < n.n_gpus; i++)
		r->left[i] = GT_SCHED_GPU_MILLI - usage.gpu_milli[i];
}

static void score_is_as_defined(void **state)
{
	const char *seed = getenv("SEED");
	struct round r = { .seed = seed ? strtoull(seed, NULL, 10) : 1 };
	size_t fits = 0;

	(void)state;
	printf("SEED=%llu\n", (unsigned long long)r.seed);
	r.rnd = gt_rand_seeded(&r.seed);
	for (int i = 0; i < ROUNDS; i++) {
		gt_auto(sched) struct gt_sched *s = gt_sched_new(&(struct gt_sched_config){ 0 });

		assert_int_equal(model(s, "A"), 0);
		assert_int_equal(model(s, "B"), 1);
		r.n_tasks = draw(&r, TASKS + 1);
		for (size_t t = 0; t < r.n_tasks; t++)
			r.tasks[t] = (struct gt_sched_task){ .want = random_want(&r),
							     .weight = 1 + draw(&r, 100) };
		assert_int_equal(gt_sched_mix(s, r.tasks, r.n_tasks, NULL), 0);
		random_node(&r, s);
		for (int k = 0; k < 10; k++) {
			struct gt_sched_want w = random_want(&r);
			unsigned is = gt_sched_rate(s, &w, 0), wanted = rate(&r, &w);

			if (r.n_tasks == 0 && wanted > 0)
				wanted = MIDDLE; /* without a mix nothing is a fragment */
			assert_int_equal(is, wanted);
			fits += is > 0;
		}
	}
	assert_true(fits > ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(score_is_as_defined) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
