/* mix.c - what is asked for as a rule: how much of the free GPUs it can not use, and which models
 * it is short of.
 *
 * F(node) = sum over the mix's tasks m of p_m x (free thousandths of GPUs that m can not use), of
 * Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 4; with the tasks of one size
 * summed up ahead by the cpu they need. All in whole numbers: the same on every machine. */
#include "sched_priv.h"

#include <string.h>

#define LEARNED_MAX 256
#define LESSON      256
#define PRICE_MAX   (WEIGHT_ALL + WEIGHT_ALL / 2)

struct item {
	uint16_t milli, num;
	uint32_t cpu;
	uint64_t weight;
};

void gt_sched_kind_clear(struct kind *k)
{
	free(k->cpu);
	free(k->cpu_from);
	free(k->ones);
	free(k->upto);
	free(k->one_weight);
	free(k->milli);
	free(k->num);
	free(k->weight);
	k->milli = k->num = k->ones = k->upto = k->cpu_from = NULL;
	k->cpu = k->weight = k->one_weight = NULL;
	k->n_cpu = k->n_ones = k->n_groups = 0;
}

/* Largest first; equal ones by the number of GPUs. */
static int by_size(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->milli != y->milli)
		return x->milli < y->milli ? 1 : -1;
	return x->num < y->num ? 1 : x->num > y->num ? -1 : 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void cpu_fill(struct kind *k, const struct item *items, size_t n)
{
	k->cpu = gt_alloc_array(n, sizeof(*k->cpu));
	for (size_t i = 0; i < n; i++)
		k->cpu[i] = items[i].cpu;
	qsort(k->cpu, n, sizeof(*k->cpu), by_number);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || k->cpu[i] != k->cpu[i - 1])
			k->cpu[k->n_cpu++] = k->cpu[i];
	k->cpu_from = gt_alloc_array(CPU_PARTS, sizeof(*k->cpu_from));
	for (size_t part = 0, at = 0; part < CPU_PARTS; part++) {
		while (at < k->n_cpu && k->cpu[at] <= part * CPU_PART)
			at++;
		k->cpu_from[part] = (uint16_t)at;
	}
}

/* Tasks with one GPU: what a free GPU is worth to them is a matter of that GPU alone. */
static void ones_fill(struct kind *k, const struct item *items, size_t n)
{
	size_t wide;

	k->ones = gt_alloc_array(n, sizeof(*k->ones));
	k->upto = gt_alloc_array(GT_SCHED_GPU_MILLI + 1, sizeof(*k->upto));
	for (size_t i = n; i-- > 0;) /* items are largest first */
		if (items[i].num == 1 &&
		    (k->n_ones == 0 || k->ones[k->n_ones - 1] != items[i].milli))
			k->ones[k->n_ones++] = items[i].milli;
	for (size_t v = 0, at = 0; v <= GT_SCHED_GPU_MILLI; v++) {
		while (at < k->n_ones && k->ones[at] <= v)
			at++;
		k->upto[v] = (uint16_t)at;
	}
	wide = k->n_ones + 1;
	k->one_weight = gt_alloc_array((k->n_cpu + 1) * wide, sizeof(*k->one_weight));
	for (size_t i = 0; i < n; i++)
		for (size_t row = 1; row <= k->n_cpu && items[i].num == 1; row++)
			if (k->cpu[row - 1] >= items[i].cpu)
				k->one_weight[row * wide + k->upto[items[i].milli]] +=
					(uint32_t)items[i].weight;
	for (size_t row = 0; row <= k->n_cpu; row++)
		for (size_t at = 1; at < wide; at++)
			k->one_weight[row * wide + at] += k->one_weight[row * wide + at - 1];
}

static void groups_fill(struct kind *k, const struct item *items, size_t n)
{
	k->milli = gt_alloc_array(n, sizeof(*k->milli));
	k->num = gt_alloc_array(n, sizeof(*k->num));
	for (size_t i = 0; i < n; i++) {
		if (items[i].num == 1 || (i > 0 && by_size(&items[i - 1], &items[i]) == 0))
			continue;
		k->milli[k->n_groups] = items[i].milli;
		k->num[k->n_groups++] = items[i].num;
	}
	k->weight = gt_alloc_array((k->n_cpu + 1) * k->n_groups, sizeof(*k->weight));
	for (size_t i = 0; i < n; i++) {
		size_t g = 0;

		while (g < k->n_groups &&
		       (k->milli[g] != items[i].milli || k->num[g] != items[i].num))
			g++;
		for (size_t row = 1; row <= k->n_cpu && g < k->n_groups; row++)
			if (k->cpu[row - 1] >= items[i].cpu)
				k->weight[row * k->n_groups + g] += (uint32_t)items[i].weight;
	}
}

static void kind_fill(struct kind *k, struct item *items, size_t n)
{
	gt_sched_kind_clear(k);
	qsort(items, n, sizeof(*items), by_size);
	cpu_fill(k, items, n);
	ones_fill(k, items, n);
	groups_fill(k, items, n);
}

static uint64_t weight_sum(const struct gt_sched *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n_tasks; i++)
		sum += s->tasks[i].weight;
	return sum;
}

static void kind_build(struct gt_sched *s, struct kind *k, struct item *items)
{
	uint64_t all = weight_sum(s);
	size_t n = 0;

	for (size_t i = 0; i < s->n_tasks; i++) {
		const struct shape *sh = &s->tasks[i].shape;
		unsigned milli;
		uint32_t mib;

		if (!gt_sched_need(sh, k, &milli, &mib))
			continue;
		items[n++] = (struct item){
			.milli = (uint16_t)milli,
			.num = sh->gpus,
			.cpu = sh->cpu,
			.weight = (uint64_t)((unsigned __int128)s->tasks[i].weight * WEIGHT_ALL /
					     all),
		};
	}
	kind_fill(k, items, n);
}

/* The demand that is bound to a model, over what there is of it; a task that allows several counts
 * on each in proportion to what there is. */
static void prices_set(struct gt_sched *s)
{
	unsigned __int128 bound[GT_SCHED_MODELS_MAX] = { 0 }, demand = 0;
	uint64_t all = 0;

	for (size_t m = 0; m < s->n_models; m++)
		all += s->capacity[m];
	for (size_t i = 0; i < s->n_tasks; i++) {
		const struct shape *sh = &s->tasks[i].shape;
		unsigned __int128 size = (unsigned __int128)s->tasks[i].weight * sh->gpus *
					 (sh->milli ? sh->milli : GT_SCHED_GPU_MILLI);
		uint64_t allowed = 0;

		demand += size;
		for (size_t m = 0; m < s->n_models; m++)
			if (sh->models >> m & 1)
				allowed += s->capacity[m];
		for (size_t m = 0; m < s->n_models && allowed; m++)
			if (sh->models >> m & 1)
				bound[m] += size * s->capacity[m] / allowed;
	}
	for (size_t i = 0; i < s->n_kinds; i++) {
		uint8_t m = s->kinds[i].model;
		unsigned __int128 price = 0;

		if (demand && s->capacity[m])
			price = bound[m] * WEIGHT_ALL / demand * all / s->capacity[m];
		s->kinds[i].price = (int64_t)GT_MIN(price, (unsigned __int128)PRICE_MAX);
	}
}

void gt_sched_mix_refresh(struct gt_sched *s)
{
	struct item *items;

	if (!s->mix_stale)
		return;
	s->mix_stale = false;
	items = gt_alloc_array(s->n_tasks, sizeof(*items));
	for (size_t i = 0; i < s->n_kinds; i++)
		kind_build(s, &s->kinds[i], items);
	free(items);
	prices_set(s);
	gt_sched_index_reset(s);
}

int gt_sched_mix(struct gt_sched *s, const struct gt_sched_task *tasks, size_t n,
		 struct gt_err *err)
{
	struct shape sh;
	size_t kept = 0;

	if (n > TASKS_MAX)
		return gt_err_set(err, E2BIG, "invalid_want", "a mix of %zu tasks; %d are allowed",
				  n, TASKS_MAX);
	for (size_t i = 0; i < n; i++) {
		int r = gt_sched_shape(&tasks[i].want, &sh, err);

		if (r < 0)
			return r;
		if (tasks[i].weight > UINT32_MAX)
			return gt_err_set(err, EINVAL, "invalid_want",
					  "weight %llu of a task is above %u",
					  (unsigned long long)tasks[i].weight, UINT32_MAX);
	}
	s->tasks = gt_grow(s->tasks, n, sizeof(*s->tasks));
	for (size_t i = 0; i < n; i++) {
		if (tasks[i].want.gpus == 0 || tasks[i].weight == 0 ||
		    gt_sched_shape(&tasks[i].want, &sh, err) < 0)
			continue;
		s->tasks[kept].shape = sh;
		s->tasks[kept++].weight = tasks[i].weight;
	}
	s->n_tasks = kept;
	s->mix_stale = true;
	return 0;
}

/* ---- learning ---- */
/* At every LESSON-th the past begins to count half, and what has not come for long is forgotten. */
static void learned_take(struct gt_sched *s)
{
	size_t kept = 0;

	s->tasks = gt_grow(s->tasks, LEARNED_MAX, sizeof(*s->tasks));
	memcpy(s->tasks, s->learned, s->n_learned * sizeof(*s->tasks));
	s->n_tasks = s->n_learned;
	s->mix_stale = true;
	if (s->lessons % LESSON != 0)
		return;
	for (size_t i = 0; i < s->n_learned; i++) {
		s->learned[kept] = s->learned[i];
		s->learned[kept].weight /= 2;
		kept += s->learned[kept].weight > 0;
	}
	s->n_learned = kept;
}

/* The mix is taken anew at the first, second, fourth ... placement, later at every LESSON-th: each
 * time costs all scores. */
void gt_sched_mix_learn(struct gt_sched *s, const struct shape *sh)
{
	const struct shape is = { .models = sh->models,
				  .cpu = sh->cpu,
				  .mib = sh->mib,
				  .milli = sh->milli,
				  .gpus = sh->gpus };
	size_t i = 0;

	if (!s->config.learn || sh->gpus == 0)
		return;
	if (!s->learned)
		s->learned = gt_alloc_array(LEARNED_MAX, sizeof(*s->learned));
	while (i < s->n_learned && memcmp(&s->learned[i].shape, &is, sizeof(is)) != 0)
		i++;
	if (i == s->n_learned && i < LEARNED_MAX)
		s->learned[s->n_learned++] = (struct task){ .shape = is };
	if (i < LEARNED_MAX)
		s->learned[i].weight += LESSON; /* so that halving leaves a trace for a while */
	s->lessons++;
	if (s->lessons % LESSON == 0 ||
	    (s->lessons < LESSON && (s->lessons & (s->lessons - 1)) == 0))
		learned_take(s);
}
