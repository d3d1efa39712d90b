/* rescan.c - the plain scheduler that the baselines run in. */
#include "cluster.h"

#include <string.h>

struct rescan {
	const struct sim_fleet *f;
	const struct rescan_rule *rule;
	struct rescan_typical *typical;
	size_t n_typical;
	struct rescan_node *nodes;
	uint32_t *log; /* changed nodes, in order */
	size_t n_log, cap_log;
	size_t *newest;  /* by node: its last entry of the log + 1 */
	float **scores;  /* by shape, then node; below 0: does not fit */
	size_t *cursors; /* by shape */
};

static bool fits(const struct rescan_node *n, const struct sim_shape *sh)
{
	uint32_t count = 0;

	if (n->cpu_milli < sh->cpu_milli)
		return false;
	if (sh->gpus == 0)
		return true;
	if (sh->models && !(sh->models >> n->model & 1))
		return false;
	for (size_t i = 0; i < n->n_gpus; i++)
		count += n->left[i] >= sh->gpu_milli;
	return count >= sh->gpus;
}

static float score(const struct rescan *w, uint32_t node, const struct sim_shape *sh, int *gpu)
{
	const struct rescan_node *n = &w->nodes[node];

	return fits(n, sh) ? w->rule->score(w->typical, w->n_typical, n, sh, gpu) : -1;
}

int gt_rescan_open(const struct sim_policy *p, struct sim_fleet *f, void **ret,
		   struct gt_err *err GT_UNUSED)
{
	struct rescan *w = gt_alloc(sizeof(*w));

	w->f = f;
	w->rule = p->rule;
	w->typical = gt_rescan_typical(f->c, &w->n_typical);
	w->nodes = gt_alloc_array(f->n, sizeof(*w->nodes));
	w->newest = gt_alloc_array(f->n, sizeof(*w->newest));
	w->scores = gt_alloc_array(f->c->n_shapes, sizeof(*w->scores));
	w->cursors = gt_alloc_array(f->c->n_shapes, sizeof(*w->cursors));
	for (size_t i = 0; i < f->n; i++) {
		const struct sim_node *from = &f->c->nodes[f->order[i]];

		w->nodes[i] = (struct rescan_node){ .cpu_milli = (int64_t)from->cpu_milli,
						    .memory_mib = (int64_t)from->memory_mib,
						    .n_gpus = from->gpus,
						    .model = from->model };
		for (size_t k = 0; k < from->gpus; k++)
			w->nodes[i].left[k] = GT_SCHED_GPU_MILLI;
	}
	*ret = w;
	return 0;
}

void gt_rescan_close(void *arg)
{
	struct rescan *w = arg;

	for (size_t i = 0; i < w->f->c->n_shapes; i++)
		free(w->scores[i]);
	free(w->scores);
	free(w->cursors);
	free(w->newest);
	free(w->log);
	free(w->nodes);
	free(w->typical);
	free(w);
}

static const float *scores_of(struct rescan *w, uint32_t shape)
{
	const struct sim_shape *sh = &w->f->c->shapes[shape];
	float *row = w->scores[shape];
	int gpu;

	if (!row) {
		row = w->scores[shape] = gt_alloc_array(w->f->n, sizeof(*row));
		for (uint32_t i = 0; i < w->f->n; i++)
			row[i] = score(w, i, sh, &gpu);
	} else {
		for (size_t i = w->cursors[shape]; i < w->n_log; i++)
			if (w->newest[w->log[i]] == i + 1)
				row[w->log[i]] = score(w, w->log[i], sh, &gpu);
	}
	w->cursors[shape] = w->n_log;
	return row;
}

static uint64_t below(struct rescan *w, uint64_t n)
{
	uint64_t x;

	w->f->rnd.fill(w->f->rnd.arg, &x, sizeof(x));
	return x % n;
}

/* The first of the best, or any that fits. */
static int64_t choose(struct rescan *w, const float *row, const struct sim_task *t)
{
	int64_t best = -1, seen = 0, memory = (int64_t)t->memory_mib;
	float max = -1;

	if (w->rule->random) {
		for (size_t i = 0; i < w->f->n; i++)
			if (row[i] >= 0 && w->nodes[i].memory_mib >= memory &&
			    below(w, (uint64_t)++seen) == 0)
				best = (int64_t)i;
		return best;
	}
	for (size_t i = 0; i < w->f->n; i++) {
		if (row[i] <= max || w->nodes[i].memory_mib < memory)
			continue;
		max = row[i];
		best = (int64_t)i;
	}
	return best;
}

static uint32_t gpus_choose(struct rescan *w, uint32_t node, const struct sim_shape *sh)
{
	const struct rescan_node *n = &w->nodes[node];
	int gpu = -1;
	uint32_t mask = 0, seen = 0;

	if (sh->gpus == 1 && sh->gpu_milli < GT_SCHED_GPU_MILLI) {
		for (uint32_t i = 0; w->rule->random && i < n->n_gpus; i++)
			if (n->left[i] >= sh->gpu_milli && below(w, ++seen) == 0)
				gpu = (int)i;
		if (!w->rule->random)
			(void)score(w, node, sh, &gpu);
		return 1u << (gpu >= 0 ? gpu : gt_rescan_best_gpu(n, sh->gpu_milli));
	}
	for (uint32_t i = 0; i < n->n_gpus && seen < sh->gpus; i++) {
		if (n->left[i] < sh->gpu_milli)
			continue;
		mask |= 1u << i;
		seen++;
	}
	return mask;
}

static void change(struct rescan *w, const struct sim_task *t, const struct gt_sched_spot *spot,
		   int by)
{
	const struct sim_shape *sh = &w->f->c->shapes[t->shape];
	struct rescan_node *n = &w->nodes[spot->node];

	n->cpu_milli -= by * (int64_t)sh->cpu_milli;
	n->memory_mib -= by * (int64_t)t->memory_mib;
	for (size_t i = 0; i < n->n_gpus; i++)
		if (spot->gpu_mask >> i & 1)
			n->left[i] -= (uint32_t)(by * (int)sh->gpu_milli);
	if (sh->gpus > 0)
		n->sorts[sh->gpu_milli == GT_SCHED_GPU_MILLI ? sh->gpus : 0] += (uint32_t)by;
	if (w->n_log == w->cap_log) {
		w->cap_log = w->cap_log ? 2 * w->cap_log : 65536;
		w->log = gt_grow(w->log, w->cap_log, sizeof(*w->log));
	}
	w->log[w->n_log++] = spot->node;
	w->newest[spot->node] = w->n_log;
}

int gt_rescan_place(void *arg, const struct sim_task *t, struct gt_sched_spot *ret)
{
	struct rescan *w = arg;
	const struct sim_shape *sh = &w->f->c->shapes[t->shape];
	int64_t node = choose(w, scores_of(w, t->shape), t);

	if (node < 0)
		return -ENOSPC;
	*ret = (struct gt_sched_spot){ .node = (uint32_t)node,
				       .gpu_milli = (uint16_t)sh->gpu_milli };
	if (sh->gpus > 0)
		ret->gpu_mask = gpus_choose(w, ret->node, sh);
	change(w, t, ret, 1);
	return 0;
}

void gt_rescan_release(void *arg, const struct sim_task *t, struct gt_sched_spot *spot)
{
	change(arg, t, spot, -1);
}
