/* plan.c - see provider/plan.h. */
#include <gantry/provider/plan.h>

#include <stdio.h>
#include <string.h>

#include <gantry/model/gpu.h>
#include <gantry/sched/sched.h>

struct work {
	struct gt_plan *plan;
	struct gt_sched *sched;
	uint32_t asked[GT_PROVIDERS_MAX]; /* new ones */
	bool fits[GT_PROVIDERS_MAX];      /* an empty host of it takes the present want */
};

/* ---- the fleet ---- */

static int labels_of(struct gt_sched *s, const struct gt_label *labels, size_t n, uint32_t *ids)
{
	char word[2 * GT_LABEL_MAX + 2];
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		snprintf(word, sizeof(word), "%s=%s", labels[i].key, labels[i].value);
		r = gt_sched_label(s, word, &ids[i], NULL);
	}
	return r;
}

/* False: the scheduler has no room for it. */
static bool host_add(struct work *w, uint32_t index, uint32_t provider)
{
	const struct gt_offer *o = w->plan->providers[provider].offer;
	struct gt_sched_node node = { .name = "new",
				      .state = GT_SCHED_UP,
				      .cpu_milli = o->cpu_milli,
				      .memory_bytes = o->memory_bytes,
				      .n_gpus = o->n_gpus,
				      .n_labels = o->n_labels };

	for (size_t i = 0; i < o->n_gpus; i++) {
		node.gpus[i].vram_bytes = o->gpus[i].memory_bytes;
		if (gt_sched_model(w->sched, o->gpus[i].model, &node.gpus[i].model, NULL) < 0)
			return false;
	}
	return labels_of(w->sched, o->labels, o->n_labels, node.labels) == 0 &&
	       gt_sched_node_set(w->sched, index, &node, NULL) == 0;
}

static uint32_t new_index(const struct work *w)
{
	return (uint32_t)(w->plan->n_hosts + w->plan->n_news);
}

/* ---- what is wanted ---- */

/* The scheduler's numbers of the models that are offered and that a want may have, best first. */
static void models_of(struct work *w, const struct gt_gpu_want *gpu, struct gt_sched_want *want)
{
	const struct gt_plan *p = w->plan;

	for (size_t pref = 0; pref < gpu->n_models; pref++)
		for (size_t i = 0; i < p->n_providers; i++)
			for (size_t k = 0; k < p->providers[i].offer->n_gpus; k++) {
				const char *model = p->providers[i].offer->gpus[k].model;
				uint8_t id;
				size_t m = 0;

				if (gt_gpu_preference(gpu, model) != (int)pref ||
				    gt_sched_model(w->sched, model, &id, NULL) < 0)
					continue;
				while (m < want->n_models && want->models[m] != id)
					m++;
				if (m == want->n_models && m < GT_LEN(want->models))
					want->models[want->n_models++] = id;
			}
}

/* False: no offer could ever take it. */
static bool want_of(struct work *w, const struct gt_plan_want *from, struct gt_sched_want *ret)
{
	const struct gt_spec *spec = from->spec;
	const struct gt_gpu_want *gpu = &spec->resources.gpu;

	*ret = (struct gt_sched_want){ .cpu_milli = spec->resources.cpu_milli,
				       .memory_bytes = spec->resources.memory_bytes,
				       .exclusive = spec->isolation == GT_ISOLATION_EXCLUSIVE,
				       .owner = from->function,
				       .function = from->function };
	ret->n_labels = spec->placement.n_labels;
	if (labels_of(w->sched, spec->placement.labels, ret->n_labels, ret->labels) < 0)
		return false;
	if (gpu->count == 0)
		return true;
	ret->gpus = gpu->count;
	ret->gpu_milli = gt_gpu_want_milli(gpu);
	ret->gpu_bytes = gpu->memory_bytes;
	models_of(w, gpu, ret);
	return gpu->n_models == 0 || ret->n_models > 0;
}

/* One replica or one whole gang; how many members it has, 0: no place. */
static uint32_t place(struct work *w, const struct gt_spec *spec, const struct gt_sched_want *want,
		      struct gt_sched_spot ret[GT_GANG_MAX])
{
	static const enum gt_sched_spread spreads[] = { [GT_GANG_NODE] = GT_SCHED_TOGETHER,
							[GT_GANG_NODES] = GT_SCHED_APART,
							[GT_GANG_ANY] = GT_SCHED_ANYWHERE };
	struct gt_sched_want wants[GT_GANG_MAX];
	uint32_t size = spec->gang.size;

	if (size == 0)
		return gt_sched_place(w->sched, want, &ret[0], NULL) == 0;
	for (uint32_t i = 0; i < size; i++)
		wants[i] = *want;
	return gt_sched_place_gang(w->sched, wants, size, spreads[gt_spec_spread(spec)], ret,
				   NULL) == 0
		       ? size
		       : 0;
}

/* Whom an empty host of each provider would take. */
static void fits_find(struct work *w, const struct gt_sched_want *want)
{
	uint32_t index = (uint32_t)w->plan->n_hosts + GT_PLAN_NEW_MAX; /* nobody's */

	for (uint32_t i = 0; i < w->plan->n_providers; i++) {
		w->fits[i] = host_add(w, index, i) && gt_sched_rate(w->sched, want, index) > 0;
		gt_sched_node_remove(w->sched, index);
	}
}

/* ---- the plan ---- */

/* Is it not up yet, and would it take one? */
static bool may_help(const struct work *w, const struct gt_plan_host *h)
{
	return !h->needed && w->fits[h->provider];
}

static void note_needed(struct work *w, const struct gt_sched_spot *spots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (spots[i].node < w->plan->n_hosts)
			w->plan->hosts[spots[i].node].needed = true;
}

/* Hosts are put up one after the other as they are needed, and always in the same order: what was
 * asked for by one plan has its use in the next one, too, and none is asked for twice. */
static bool place_on_next(struct work *w, const struct gt_spec *spec,
			  const struct gt_sched_want *want, bool leaves)
{
	struct gt_sched_spot spots[GT_GANG_MAX];
	struct gt_plan *p = w->plan;
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n_hosts && n == 0; i++)
		if (p->hosts[i].leaves == leaves && may_help(w, &p->hosts[i]) &&
		    host_add(w, i, p->hosts[i].provider))
			n = place(w, spec, want, spots);
	note_needed(w, spots, n);
	return n > 0;
}

/* Those that were put up and have nothing wait for the next one. */
static void take_down(struct work *w)
{
	for (uint32_t i = 0; i < w->plan->n_hosts; i++)
		if (may_help(w, &w->plan->hosts[i]))
			gt_sched_node_remove(w->sched, i);
}

/* As many of one provider as it takes: for a gang more than one may be. */
static bool place_on_new(struct work *w, uint32_t provider, uint32_t want_at,
			 const struct gt_sched_want *want)
{
	const struct gt_spec *spec = w->plan->wants[want_at].spec;
	uint32_t most = GT_MAX(spec->gang.size, 1U), n = 0, before = (uint32_t)w->plan->n_news;
	struct gt_sched_spot spots[GT_GANG_MAX];
	struct gt_plan *p = w->plan;

	for (uint32_t added = 0; n == 0 && added < most && p->n_news < GT_PLAN_NEW_MAX &&
				 w->asked[provider] < p->providers[provider].room;
	     added++) {
		if (!host_add(w, new_index(w), provider))
			break;
		p->news[p->n_news++] = (struct gt_plan_new){ provider, want_at };
		w->asked[provider]++;
		n = place(w, spec, want, spots);
	}
	if (n > 0) {
		note_needed(w, spots, n);
		return true;
	}
	while (p->n_news > before) { /* none of them is of use */
		p->n_news--;
		w->asked[provider]--;
		gt_sched_node_remove(w->sched, new_index(w));
	}
	return false;
}

static bool place_one(struct work *w, uint32_t want_at, const struct gt_sched_want *want)
{
	const struct gt_spec *spec = w->plan->wants[want_at].spec;
	struct gt_sched_spot spots[GT_GANG_MAX];
	uint32_t n = place(w, spec, want, spots);

	bool placed;

	note_needed(w, spots, n);
	if (n > 0)
		return true;
	placed = place_on_next(w, spec, want, false) || place_on_next(w, spec, want, true);
	for (uint32_t i = 0; i < w->plan->n_providers && !placed; i++)
		placed = w->fits[i] && place_on_new(w, i, want_at, want);
	take_down(w);
	return placed;
}

void gt_plan_run(struct gt_plan *p)
{
	gt_auto(sched) struct gt_sched *sched = gt_sched_new(&(struct gt_sched_config){
		.memory_overcommit = p->memory_overcommit, .cpu_overcommit = p->cpu_overcommit });
	struct work w = { .plan = p, .sched = sched };

	p->n_news = 0;
	for (uint32_t i = 0; i < p->n_hosts; i++)
		p->hosts[i].needed = false;
	for (uint32_t i = 0; i < p->n_wants; i++) {
		struct gt_plan_want *want = &p->wants[i];
		uint32_t missing = GT_MIN(want->missing, (uint32_t)GT_PLAN_EACH_MAX);
		struct gt_sched_want sched_want;

		want->placed = 0;
		if (!want_of(&w, want, &sched_want))
			continue;
		fits_find(&w, &sched_want);
		while (want->placed < missing && place_one(&w, i, &sched_want))
			want->placed++;
	}
}
