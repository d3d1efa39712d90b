/* baseline.c - the scores of the policies that ours is compared with, as the paper and its
 * simulator have them: whole numbers from 0 to 100. */
#include "cluster.h"

#include <math.h>
#include <string.h>

#define MAX_CPU_MILLI 128000.0 /* of the largest node, as their simulator has it */
#define MAX_GPU_MILLI 8000.0
#define TYPICAL_PART  0.95 /* of all tasks */

static int64_t left_total(const struct rescan_node *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n->n_gpus; i++)
		sum += n->left[i];
	return sum;
}

int gt_rescan_best_gpu(const struct rescan_node *n, uint32_t milli)
{
	int best = -1;

	for (size_t i = 0; i < n->n_gpus; i++)
		if (n->left[i] >= milli && (best < 0 || n->left[i] < n->left[best]))
			best = (int)i;
	return best;
}

/* ---- FGD ---- */
static double unusable(const struct rescan_node *n, const struct sim_shape *m)
{
	int64_t total = 0, small = 0;
	uint32_t fit = 0;

	for (size_t i = 0; i < n->n_gpus; i++) {
		total += n->left[i];
		if (n->left[i] < m->gpu_milli)
			small += n->left[i];
		else
			fit++;
	}
	if (m->gpus == 0 || (m->models && !(m->models >> n->model & 1)) ||
	    n->cpu_milli < m->cpu_milli || fit < m->gpus)
		return (double)total;
	return (double)small;
}

static double frag(const struct rescan_typical *typical, size_t n, const struct rescan_node *node)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += typical[i].part * unusable(node, typical[i].shape);
	return sum;
}

static float sigmoid100(double before, double after)
{
	return (float)(int)(100.0 / (1.0 + exp((after - before) / 1000)));
}

static float fgd(const struct rescan_typical *typical, size_t n, const struct rescan_node *node,
		 const struct sim_shape *sh, int *gpu)
{
	double before = frag(typical, n, node);
	struct rescan_node after = *node;
	float best = -1;

	after.cpu_milli -= sh->cpu_milli;
	if (sh->gpus != 1 || sh->gpu_milli == GT_SCHED_GPU_MILLI) {
		for (size_t i = 0, left = sh->gpus; i < node->n_gpus && left > 0; i++) {
			if (after.left[i] < sh->gpu_milli)
				continue;
			after.left[i] -= sh->gpu_milli;
			left--;
		}
		return sigmoid100(before, frag(typical, n, &after));
	}
	for (size_t i = 0; i < node->n_gpus; i++) {
		float score;

		if (node->left[i] < sh->gpu_milli)
			continue;
		after.left[i] -= sh->gpu_milli;
		score = sigmoid100(before, frag(typical, n, &after));
		after.left[i] += sh->gpu_milli;
		if (score <= best)
			continue;
		best = score;
		*gpu = (int)i;
	}
	return best;
}

static int by_count(const void *a, const void *b)
{
	const struct rescan_typical *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? 1 : -1;
	return x->shape < y->shape ? -1 : 1;
}

struct rescan_typical *gt_rescan_typical(const struct gt_sim_cluster *c, size_t *ret_n)
{
	struct rescan_typical *all = gt_alloc_array(c->n_shapes, sizeof(*all));
	double sum = 0;
	size_t n = 0;

	for (size_t i = 0; i < c->n_shapes; i++)
		all[i] = (struct rescan_typical){ .shape = &c->shapes[i],
						  .part = (double)c->shapes[i].count /
							  (double)c->n_tasks };
	qsort(all, c->n_shapes, sizeof(*all), by_count);
	while (n < c->n_shapes && sum < TYPICAL_PART)
		sum += all[n++].part;
	for (size_t i = 0; i < n; i++)
		all[i].part /= sum;
	*ret_n = n;
	return all;
}

/* ---- the others ---- */
static float bestfit(const struct rescan_typical *typical GT_UNUSED, size_t n GT_UNUSED,
		     const struct rescan_node *node, const struct sim_shape *sh, int *gpu GT_UNUSED)
{
	double cpu = (double)(node->cpu_milli - sh->cpu_milli) / MAX_CPU_MILLI;
	double left = (double)(left_total(node) - (int64_t)sh->gpus * sh->gpu_milli);

	return (float)(int)((1.0 - (cpu + left / MAX_GPU_MILLI) / 2) * 100);
}

static float dotprod(const struct rescan_typical *typical GT_UNUSED, size_t n GT_UNUSED,
		     const struct rescan_node *node, const struct sim_shape *sh, int *gpu GT_UNUSED)
{
	double cpu = (double)node->cpu_milli / MAX_CPU_MILLI * sh->cpu_milli / MAX_CPU_MILLI;
	double gpus = (double)left_total(node) / MAX_GPU_MILLI * sh->gpus * sh->gpu_milli /
		      MAX_GPU_MILLI;

	return (float)(int)((1.0 - (cpu + gpus) / 2) * 100);
}

/* Used GPUs first, then free ones of a used node, then an empty node. */
static float packing(const struct rescan_typical *typical GT_UNUSED, size_t n GT_UNUSED,
		     const struct rescan_node *node, const struct sim_shape *sh, int *gpu GT_UNUSED)
{
	uint32_t whole = 0, used = 0, percent = 0;
	bool taken[RESCAN_GPUS] = { false };

	if (sh->gpus == 0)
		return 0;
	for (size_t i = 0; i < node->n_gpus; i++)
		whole += node->left[i] == GT_SCHED_GPU_MILLI;
	if (whole == node->n_gpus)
		return (float)(33 - (int)whole);
	for (uint32_t k = 0; k < sh->gpus; k++) {
		int least = -1;

		for (size_t i = 0; i < node->n_gpus; i++)
			if (!taken[i] && node->left[i] >= sh->gpu_milli &&
			    (least < 0 || node->left[i] < node->left[least]))
				least = (int)i;
		if (least < 0)
			return 0;
		taken[least] = true;
		used += node->left[least] == GT_SCHED_GPU_MILLI;
		percent += node->left[least] * 100 / GT_SCHED_GPU_MILLI;
	}
	if (used > 0)
		return (float)GT_MAX(50 - (int)used, 33);
	return (float)GT_MAX(100 - (int)percent / 10, 50);
}

/* Tasks of one sort together. */
static float clustering(const struct rescan_typical *typical GT_UNUSED, size_t n GT_UNUSED,
			const struct rescan_node *node, const struct sim_shape *sh,
			int *gpu GT_UNUSED)
{
	int64_t fill = 25 * ((int64_t)MAX_GPU_MILLI - left_total(node)) / (int64_t)MAX_GPU_MILLI;
	uint32_t sort = sh->gpu_milli == GT_SCHED_GPU_MILLI ? sh->gpus : 0, sorts = 0;

	if (sh->gpus == 0)
		return 0;
	for (size_t i = 0; i < RESCAN_SORTS; i++)
		sorts += node->sorts[i] > 0;
	if (node->sorts[sort] > 0)
		return (float)(fill + (sorts == 1 ? 75 : 50));
	return (float)(fill + (sorts == 0 ? 25 : 0));
}

static float any(const struct rescan_typical *typical GT_UNUSED, size_t n GT_UNUSED,
		 const struct rescan_node *node GT_UNUSED, const struct sim_shape *sh GT_UNUSED,
		 int *gpu GT_UNUSED)
{
	return 0;
}

const struct rescan_rule gt_rule_fgd = { .score = fgd };
const struct rescan_rule gt_rule_bestfit = { .score = bestfit };
const struct rescan_rule gt_rule_dotprod = { .score = dotprod };
const struct rescan_rule gt_rule_packing = { .score = packing };
const struct rescan_rule gt_rule_clustering = { .score = clustering };
const struct rescan_rule gt_rule_random = { .score = any, .random = true };
