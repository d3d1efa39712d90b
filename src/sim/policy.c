/* policy.c - the policies by name, and the daemon's scheduler as one of them. */
#include "cluster.h"

#include <string.h>

#define MIX_MAX 4096

struct ours {
	const struct sim_fleet *f;
	struct gt_sched *s;
};

static struct gt_sched_want want_of(const struct sim_shape *sh, uint64_t memory_mib)
{
	struct gt_sched_want w = { .cpu_milli = sh->cpu_milli,
				   .memory_bytes = memory_mib * GT_MIB,
				   .gpus = sh->gpus,
				   .gpu_milli = sh->gpu_milli,
				   .models_equal = true };

	for (uint64_t left = sh->models; left; left &= left - 1)
		w.models[w.n_models++] = (uint8_t)__builtin_ctzll(left);
	return w;
}

static int nodes_tell(struct ours *o, struct gt_err *err)
{
	const struct gt_sim_cluster *c = o->f->c;
	uint8_t id;

	for (size_t i = 0; i < c->n_models; i++)
		if (gt_sched_model(o->s, c->models[i], &id, err) < 0)
			return -err->code;
	for (size_t i = 0; i < o->f->n; i++) {
		const struct sim_node *from = &c->nodes[o->f->order[i]];
		struct gt_sched_node n = { .name = from->name,
					   .state = GT_SCHED_UP,
					   .cpu_milli = from->cpu_milli,
					   .memory_bytes = from->memory_mib * GT_MIB,
					   .n_gpus = from->gpus };

		for (size_t k = 0; k < from->gpus; k++)
			n.gpus[k].model = from->model;
		if (gt_sched_node_set(o->s, (uint32_t)i, &n, err) < 0)
			return -err->code;
	}
	return 0;
}

static int by_count(const void *a, const void *b)
{
	const struct sim_shape *x = *(const struct sim_shape *const *)a;
	const struct sim_shape *y = *(const struct sim_shape *const *)b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return x < y ? -1 : 1;
}

/* The most frequent shapes of the list are what the fleet is told to expect. */
static int mix_tell(struct ours *o, struct gt_err *err)
{
	const struct gt_sim_cluster *c = o->f->c;
	gt_auto(free) const struct sim_shape **all = gt_alloc_array(c->n_shapes, sizeof(*all));
	gt_auto(free) struct gt_sched_task *mix = gt_alloc_array(MIX_MAX, sizeof(*mix));
	size_t n = 0;

	for (size_t i = 0; i < c->n_shapes; i++)
		all[i] = &c->shapes[i];
	qsort(all, c->n_shapes, sizeof(*all), by_count);
	for (size_t i = 0; i < c->n_shapes && n < MIX_MAX; i++)
		if (all[i]->gpus > 0)
			mix[n++] = (struct gt_sched_task){ .want = want_of(all[i], 0),
							   .weight = all[i]->count };
	return gt_sched_mix(o->s, mix, n, err);
}

static void ours_close(void *arg)
{
	struct ours *o = arg;

	gt_sched_free(o->s);
	free(o);
}

static int ours_open(const struct sim_policy *p GT_UNUSED, struct sim_fleet *f, void **ret,
		     struct gt_err *err)
{
	struct ours *o = gt_alloc(sizeof(*o));
	int r;

	o->f = f;
	o->s = gt_sched_new(&(struct gt_sched_config){ 0 });
	r = nodes_tell(o, err);
	if (r == 0)
		r = mix_tell(o, err);
	if (r < 0) {
		ours_close(o);
		return r;
	}
	*ret = o;
	return 0;
}

static int ours_place(void *arg, const struct sim_task *t, struct gt_sched_spot *ret)
{
	struct ours *o = arg;
	const struct gt_sched_want want = want_of(&o->f->c->shapes[t->shape], t->memory_mib);

	return gt_sched_place(o->s, &want, ret, NULL);
}

static void ours_release(void *arg, const struct sim_task *t GT_UNUSED, struct gt_sched_spot *spot)
{
	struct ours *o = arg;

	gt_sched_release(o->s, spot);
}

#define RESCAN gt_rescan_open, gt_rescan_place, gt_rescan_release, gt_rescan_close

const struct sim_policy gt_sim_policies[] = {
	{ "gantry", ours_open, ours_place, ours_release, ours_close, NULL },
	{ "fgd", RESCAN, &gt_rule_fgd },
	{ "bestfit", RESCAN, &gt_rule_bestfit },
	{ "dotprod", RESCAN, &gt_rule_dotprod },
	{ "packing", RESCAN, &gt_rule_packing },
	{ "clustering", RESCAN, &gt_rule_clustering },
	{ "random", RESCAN, &gt_rule_random },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
const char *const gt_sim_place_policies[] = { "gantry",  "fgd",        "bestfit", "dotprod",
					      "packing", "clustering", "random",  NULL };

const struct sim_policy *gt_sim_policy_find(const char *name)
{
	const struct sim_policy *p = gt_sim_policies;

	if (strcmp(name, "fgd+") == 0) /* FGD with prices: the name of the method */
		return p;
	while (p->name && strcmp(p->name, name) != 0)
		p++;
	return p->name ? p : NULL;
}

bool gt_sim_place_policy_ok(const char *name)
{
	return gt_sim_policy_find(name) != NULL;
}
