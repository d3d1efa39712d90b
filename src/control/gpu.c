/* gpu.c - the GPUs and labels of nodes, between reports, the scheduler's books and orders. */
#include "gang.h"
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a node has ---- */

void gt_ctl_node_free(struct gt_ctl_node *node)
{
	free(node->gpus);
	free(node->driver);
	free(node->stats);
	free(node->labels);
	free(node->weights.here);
	free(node);
}

bool gt_ctl_gpus_awaited(const struct gt_ctl_node *node)
{
	return node->driver && node->driver->state == GT_GPU_DRIVER_STARTING;
}

void gt_ctl_gpus_await(struct gt_control *c, struct gt_ctl_node *node)
{
	if (!node->driver)
		return;
	node->driver->state = GT_GPU_DRIVER_STARTING;
	gt_ctl_node_tell(c, node);
}

const struct gt_ctl_node *gt_ctl_gpus_may_come(const struct gt_control *c,
					       const struct gt_ctl_node *after,
					       const struct gt_spec *spec)
{
	const struct gt_ctl_node *node;

	if (spec->resources.gpu.count == 0)
		return NULL;
	for (node = after ? after->hh.next : c->nodes; node; node = node->hh.next)
		if (node->up && !node->silent && gt_ctl_gpus_awaited(node) &&
		    gt_labels_have(node->labels, node->n_labels, spec->placement.labels,
				   spec->placement.n_labels))
			return node;
	return NULL;
}

/* The same ones, however they are. */
static bool gpus_are(const struct gt_ctl_node *node, const struct gt_gpu *gpus, size_t n)
{
	bool same = node->n_gpus == n;

	for (size_t i = 0; same && i < n; i++) {
		const struct gt_gpu *is = &node->gpus[i];

		same = strcmp(is->uuid, gpus[i].uuid) == 0 &&
		       strcmp(is->model, gpus[i].model) == 0 &&
		       is->memory_bytes == gpus[i].memory_bytes && is->backend == gpus[i].backend;
	}
	return same;
}

static bool gpus_same(const struct gt_ctl_node *node, const struct gt_gpu *gpus, size_t n)
{
	bool same = gpus_are(node, gpus, n);

	for (size_t i = 0; same && i < n; i++) {
		const struct gt_gpu *is = &node->gpus[i];

		same = is->health == gpus[i].health && strcmp(is->reason, gpus[i].reason) == 0 &&
		       is->foreign_bytes == gpus[i].foreign_bytes;
	}
	return same;
}

static bool labels_same(const struct gt_ctl_node *node, const struct gt_label *labels, size_t n)
{
	return node->n_labels == n && gt_labels_have(node->labels, n, labels, n);
}

static void *copied(void *old, const void *list, size_t n, size_t size)
{
	void *copy = n ? gt_alloc_array(n, size) : NULL;

	free(old);
	if (n)
		memcpy(copy, list, n * size);
	return copy;
}

/* A gang is as good as the least of its GPUs. */
static bool has_lost_gpu(const struct gt_ctl_node *node, const struct gt_ctl_replica *r)
{
	size_t healthy = 0;

	for (size_t k = 0; k < r->gpus.n; k++)
		for (size_t i = 0; i < node->n_gpus; i++)
			healthy += gt_gpu_healthy(&node->gpus[i]) &&
				   strcmp(node->gpus[i].uuid, r->gpus.list[k].uuid) == 0;
	return healthy < r->gpus.n;
}

static void gangs_break(struct gt_control *c, struct gt_ctl_node *node)
{
	struct gt_ctl_replica *r;

	DL_FOREACH2(node->list, r, node_next)
	if (r->gang && has_lost_gpu(node, r))
		gt_ctl_gang_break(c, r->gang, false, "a GPU of a member is out of use");
}

/* The slots are others: what was booked on the old ones is booked on the new. */
static void gpus_replace(struct gt_control *c, struct gt_ctl_node *node, const struct gt_gpu *gpus,
			 size_t n)
{
	bool others = !gpus_are(node, gpus, n);
	struct gt_ctl_replica *r;

	DL_FOREACH2(node->list, r, node_next)
	gt_sched_release(c->sched, &r->spot);
	node->gpus = copied(node->gpus, gpus, n, sizeof(*gpus));
	node->n_gpus = n;
	gt_ctl_node_tell(c, node);
	DL_FOREACH2(node->list, r, node_next)
	gt_ctl_book(c, r);
	if (others)
		gt_ctl_gangs_unhold(c, node->index);
	gangs_break(c, node);
	if (n > 0 && others)
		gt_ctl_event(c, "node.gpus", NULL, NULL, node->name, NULL,
			     "%zu GPUs, the first %s (%s)", n, gpus[0].model,
			     gt_gpu_backend_name(gpus[0].backend));
}

/* ---- GPUs that are not well ---- */

static enum gt_gpu_health worst_of(const struct gt_ctl_replica *r)
{
	enum gt_gpu_health worst = GT_GPU_WELL;

	for (size_t i = 0; i < r->gpus.n; i++)
		for (size_t k = 0; k < r->node->n_gpus; k++)
			if (strcmp(r->node->gpus[k].uuid, r->gpus.list[i].uuid) == 0)
				worst = GT_MAX(worst, r->node->gpus[k].health);
	return worst;
}

/* The scheduler puts nothing new on them. What is there ends its calls and goes; from one that is
 * lost at once, as no call will end there: its functions start elsewhere without waiting for it. */
static void evacuate(struct gt_control *c, struct gt_ctl_node *node)
{
	struct gt_ctl_replica *r, *r_next;

	DL_FOREACH_SAFE2(node->list, r, r_next, node_next)
	{
		enum gt_gpu_health worst = worst_of(r);

		if (worst == GT_GPU_LOST)
			gt_ctl_replica_leave(c, r, "its GPU is lost", true);
		else if (worst != GT_GPU_WELL && !gt_ctl_leaving(r))
			gt_ctl_replica_leave(c, r, "its GPU is not well", false);
	}
}

static void tell_health(struct gt_control *c, const struct gt_ctl_node *node,
			const struct gt_gpu *before, size_t n_before)
{
	for (size_t i = 0; i < node->n_gpus; i++) {
		const struct gt_gpu *gpu = &node->gpus[i], *was = NULL;

		for (size_t k = 0; k < n_before && !was; k++)
			was = strcmp(before[k].uuid, gpu->uuid) == 0 ? &before[k] : NULL;
		if (was ? was->health == gpu->health : gt_gpu_healthy(gpu))
			continue;
		gt_ctl_event(c, "gpu.health", NULL, NULL, node->name,
			     gpu->health == GT_GPU_LOST ? "gpu_lost" : NULL, "%s is %s%s%s",
			     gpu->uuid, gt_gpu_health_name(gpu->health), gpu->reason[0] ? ": " : "",
			     gpu->reason);
	}
}

static void driver_keep(struct gt_ctl_node *node, const struct gt_gpu_driver *driver)
{
	if (driver->state == GT_GPU_DRIVER_NONE) {
		free(node->driver);
		node->driver = NULL;
		return;
	}
	if (!node->driver)
		node->driver = gt_alloc(sizeof(*node->driver));
	*node->driver = *driver;
}

static void gpus_change(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r)
{
	size_t n_before = node->n_gpus;
	gt_auto(free) struct gt_gpu *before = copied(NULL, node->gpus, n_before, sizeof(*before));

	gpus_replace(c, node, r->gpus, r->n_gpus);
	tell_health(c, node, before, n_before);
	evacuate(c, node);
}

void gt_ctl_node_told(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r)
{
	if (r->n_gpu_stats > 0 || r->full) {
		node->stats = copied(node->stats, r->gpu_stats, r->n_gpu_stats,
				     sizeof(*node->stats));
		node->n_stats = r->n_gpu_stats;
	}
	for (size_t i = 0; i < r->n_events; i++) {
		const struct gt_told_event *e = &r->events[i];

		gt_ctl_event(c, e->type, e->function[0] ? e->function : NULL,
			     e->replica[0] ? e->replica : NULL, node->name,
			     e->cause[0] ? e->cause : NULL, "%s", e->text);
	}
}

void gt_ctl_node_facts(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r)
{
	bool labels = !labels_same(node, r->labels, r->n_labels);
	bool awaited = gt_ctl_gpus_awaited(node), gpus, news;

	node->told = true;
	gt_strcopy(node->address, sizeof(node->address), r->address);
	if (labels) {
		node->labels = copied(node->labels, r->labels, r->n_labels, sizeof(*node->labels));
		node->n_labels = r->n_labels;
	}
	driver_keep(node, &r->gpu_driver);
	/* An agent that has just started knows less than its last one did. */
	gpus = !gpus_same(node, r->gpus, r->n_gpus) &&
	       (r->n_gpus > 0 || !gt_ctl_gpus_awaited(node));
	news = labels || awaited != gt_ctl_gpus_awaited(node);
	if (gpus)
		gpus_change(c, node, r);
	else if (news)
		gt_ctl_node_tell(c, node);
	if (gpus || news)
		gt_ctl_blocked_touch(c);
}

/* ---- models ---- */

static int model_id(struct gt_control *c, const char *name, uint8_t *ret, struct gt_err *err)
{
	int r = gt_sched_model(c->sched, name, ret, err);

	for (size_t i = 0; r == 0 && i < c->n_gpu_models; i++)
		if (c->gpu_models[i].id == *ret)
			return 0;
	if (r < 0)
		return r;
	c->gpu_models = gt_grow(c->gpu_models, c->n_gpu_models + 1, sizeof(*c->gpu_models));
	gt_strcopy(c->gpu_models[c->n_gpu_models].name, sizeof(c->gpu_models->name), name);
	c->gpu_models[c->n_gpu_models++].id = *ret;
	return 0;
}

/* Names match by words (gt_gpu_model_match), the scheduler knows numbers: the numbers of all names
 * that the first preference matches, then those of the second, and so on. */
static void models_find(const struct gt_control *c, const struct gt_gpu_want *gpu,
			struct gt_ctl_models *m)
{
	*m = (struct gt_ctl_models){ .seen = (uint16_t)c->n_gpu_models };
	for (size_t p = 0; p < gpu->n_models; p++)
		for (size_t i = 0; i < c->n_gpu_models && m->n < GT_LEN(m->id); i++)
			if (gt_gpu_preference(gpu, c->gpu_models[i].name) == (int)p)
				m->id[m->n++] = c->gpu_models[i].id;
}

/* ---- the scheduler ---- */

static int labels_tell(struct gt_control *c, const struct gt_label *labels, size_t n, uint32_t *ids,
		       struct gt_err *err)
{
	char word[2 * GT_LABEL_MAX + 2];
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		snprintf(word, sizeof(word), "%s=%s", labels[i].key, labels[i].value);
		r = gt_sched_label(c->sched, word, &ids[i], err);
	}
	return r;
}

bool gt_ctl_gpus_tell(struct gt_control *c, const struct gt_ctl_node *node,
		      struct gt_sched_node *told, struct gt_err *err)
{
	told->n_gpus = node->n_gpus;
	for (size_t i = 0; i < node->n_gpus; i++) {
		const struct gt_gpu *gpu = &node->gpus[i];

		/* 0 would be one of unknown size, which is never full. */
		told->gpus[i].vram_bytes = gpu->memory_bytes ? GT_MAX(gt_gpu_room(gpu), GT_MIB) : 0;
		told->gpus[i].broken = !gt_gpu_healthy(gpu) || gt_ctl_gpus_awaited(node);
		told->gpus[i].link = (uint8_t)(gpu->link + 1);
		told->gpus[i].bridge = (uint8_t)(gpu->bridge + 1);
		if (model_id(c, gpu->model, &told->gpus[i].model, err) < 0)
			return false;
	}
	told->n_labels = node->n_labels;
	return labels_tell(c, node->labels, node->n_labels, told->labels, err) == 0;
}

int gt_ctl_gpus_want(struct gt_control *c, struct gt_ctl_revision *rev, struct gt_sched_want *want,
		     struct gt_err *err)
{
	const struct gt_spec *spec = rev->spec;
	const struct gt_gpu_want *gpu = &spec->resources.gpu;

	want->n_labels = spec->placement.n_labels;
	if (labels_tell(c, spec->placement.labels, want->n_labels, want->labels, err) < 0)
		return -ENOSPC;
	if (gpu->count == 0)
		return 0;
	want->gpus = gpu->count;
	want->gpu_milli = gt_gpu_want_milli(gpu);
	want->gpu_bytes = gpu->memory_bytes;
	if (gpu->n_models == 0)
		return 0;
	if (rev->gpu_models.seen != c->n_gpu_models)
		models_find(c, gpu, &rev->gpu_models);
	if (rev->gpu_models.n == 0)
		return gt_err_set(err, ENOSPC, "no_capacity", "no node has a GPU of model %s%s",
				  gpu->models[0], gpu->n_models > 1 ? " or the others" : "");
	want->n_models = rev->gpu_models.n;
	memcpy(want->models, rev->gpu_models.id, want->n_models);
	return 0;
}

void gt_ctl_gpus_of_spot(struct gt_ctl_replica *r)
{
	const struct gt_gpu_want *want = &r->rev->spec->resources.gpu;
	const struct gt_ctl_node *node = r->node;

	if (r->spot.gpu_mask == 0)
		return;
	r->gpus.list = gt_alloc_array((size_t)__builtin_popcount(r->spot.gpu_mask),
				      sizeof(*r->gpus.list));
	for (size_t i = 0; i < node->n_gpus; i++) {
		struct gt_gpu_grant *grant = &r->gpus.list[r->gpus.n];

		if (!(r->spot.gpu_mask >> i & 1))
			continue;
		gt_strcopy(grant->uuid, sizeof(grant->uuid), node->gpus[i].uuid);
		grant->milli = r->spot.gpu_milli;
		grant->memory_bytes = gt_gpu_want_bytes(want, gt_gpu_room(&node->gpus[i]));
		r->gpus.n++;
	}
}

const struct gt_gpu *gt_ctl_gpu_of(const struct gt_ctl_replica *r)
{
	for (size_t i = 0; r->gpus.n > 0 && i < r->node->n_gpus; i++)
		if (strcmp(r->node->gpus[i].uuid, r->gpus.list[0].uuid) == 0)
			return &r->node->gpus[i];
	return NULL;
}

/* Of what it was given, not of what its function asks for today. The scheduler counts in MiB and
 * rounds up, the grant may be a part of one more. */
uint32_t gt_ctl_gpus_booked(const struct gt_ctl_replica *r, struct gt_sched_want *want)
{
	uint32_t mask = 0;

	want->gpus = 0;
	for (size_t i = 0; i < r->gpus.n; i++) {
		const struct gt_gpu_grant *grant = &r->gpus.list[i];

		for (size_t slot = 0; slot < r->node->n_gpus; slot++)
			if (strcmp(r->node->gpus[slot].uuid, grant->uuid) == 0)
				mask |= (uint32_t)1 << slot;
		want->gpu_milli = grant->milli;
		want->gpu_bytes = grant->memory_bytes / GT_MIB * GT_MIB;
	}
	want->gpus = (uint32_t)__builtin_popcount(mask);
	return mask;
}
