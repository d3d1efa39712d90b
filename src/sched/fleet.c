/* fleet.c - the nodes of a fleet: what they are, and the life of the fleet itself. */
#include "sched_priv.h"

#include <string.h>

struct gt_sched *gt_sched_new(const struct gt_sched_config *config)
{
	struct gt_sched *s = gt_alloc(sizeof(*s));

	s->config = *config;
	return s;
}

struct gt_sched *gt_sched_free(struct gt_sched *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_nodes; i++) {
		free(s->nodes[i].name);
		free(s->nodes[i].labels);
	}
	for (size_t i = 0; i < s->n_kinds; i++)
		gt_sched_kind_clear(&s->kinds[i]);
	gt_sched_index_free(s);
	gt_sched_peers_free(s);
	gt_sched_names_free(s);
	free(s->nodes);
	free(s->tasks);
	free(s->learned);
	free(s->adjust);
	free(s);
	return NULL;
}

uint32_t gt_sched_slot_code(const struct gt_sched *s, const struct node *n, size_t i)
{
	const struct slot *slot = &n->slots[i];
	uint32_t size = s->kinds[n->kinds[slot->kind]].mib;

	return gpu_code(slot->kind, GT_SCHED_GPU_MILLI - GT_MIN(slot->milli, GT_SCHED_GPU_MILLI),
			size > slot->mib ? size - slot->mib : 0);
}

/* ---- a node's GPUs ---- */
static uint32_t gpu_mib(const struct gt_sched_gpu *g)
{
	return (uint32_t)GT_MIN(g->vram_bytes / GT_MIB, code_mib(UINT32_MAX));
}

/* The fleet's number of this kind of GPU; KINDS_ALL when there are too many. */
static size_t kind_get(struct gt_sched *s, const struct gt_sched_gpu *g)
{
	size_t i = 0;

	while (i < s->n_kinds && (s->kinds[i].model != g->model || s->kinds[i].mib != gpu_mib(g)))
		i++;
	if (i < s->n_kinds || i == KINDS_ALL)
		return i;
	s->kinds[s->n_kinds++] = (struct kind){ .model = g->model, .mib = gpu_mib(g) };
	s->mix_stale = true;
	return i;
}

/* Fills the slots of *n but for what is taken of them. */
static int slots_set(struct gt_sched *s, struct node *n, const struct gt_sched_node *node,
		     struct gt_err *err)
{
	n->near = false;
	n->n_kinds = 0;
	n->n_slots = (uint8_t)node->n_gpus;
	for (size_t i = 0; i < node->n_gpus; i++) {
		size_t kind = kind_get(s, &node->gpus[i]), at = 0;

		if (kind == KINDS_ALL)
			return gt_err_set(err, E2BIG, "overloaded",
					  "node %s: %d kinds of GPUs are known already", node->name,
					  KINDS_ALL);
		while (at < n->n_kinds && n->kinds[at] != kind)
			at++;
		if (at == GT_SCHED_KINDS_MAX)
			return gt_err_set(err, E2BIG, "invalid_want",
					  "node %s has more than %d kinds of GPUs", node->name,
					  GT_SCHED_KINDS_MAX);
		n->kinds[at] = (uint8_t)kind;
		n->n_kinds = (uint8_t)GT_MAX(n->n_kinds, at + 1);
		n->slots[i].kind = (uint8_t)at;
		n->slots[i].broken = node->gpus[i].broken;
		n->slots[i].link = node->gpus[i].link;
		n->slots[i].bridge = node->gpus[i].bridge;
		n->near = n->near || node->gpus[i].link || node->gpus[i].bridge;
	}
	return 0;
}

static void capacity_add(struct gt_sched *s, const struct node *n, bool add)
{
	for (size_t i = 0; i < n->n_slots; i++) {
		uint64_t *of = &s->capacity[s->kinds[n->kinds[n->slots[i].kind]].model];

		*of = add ? *of + GT_SCHED_GPU_MILLI : *of - GT_SCHED_GPU_MILLI;
	}
}

static bool slots_alike(const struct gt_sched *s, const struct node *a, const struct node *b)
{
	if (a->n_slots != b->n_slots)
		return false;
	for (size_t i = 0; i < a->n_slots; i++)
		if (s->kinds[a->kinds[a->slots[i].kind]].model !=
		    s->kinds[b->kinds[b->slots[i].kind]].model)
			return false;
	return true;
}

/* ---- nodes ---- */
static uint64_t room(uint64_t size, uint32_t overcommit)
{
	uint32_t times = overcommit ? overcommit : 1;

	if (size == 0 || size > ROOM_ANY / times)
		return ROOM_ANY;
	return size * times;
}

static void labels_set(struct node *n, const struct gt_sched_node *node)
{
	n->n_labels = 0;
	if (node->n_labels > 0)
		n->labels = gt_grow(n->labels, node->n_labels, sizeof(*n->labels));
	for (size_t i = 0; i < node->n_labels; i++) {
		size_t at = n->n_labels;

		for (; at > 0 && n->labels[at - 1] > node->labels[i]; at--)
			n->labels[at] = n->labels[at - 1];
		n->labels[at] = node->labels[i];
		n->n_labels++;
	}
}

static int node_check(uint32_t index, const struct gt_sched_node *node, struct gt_err *err)
{
	if (index >= GT_SCHED_NODES_MAX)
		return gt_err_set(err, E2BIG, "overloaded", "node %s: index %u; %d are allowed",
				  node->name, index, GT_SCHED_NODES_MAX);
	if (node->n_gpus > GT_SCHED_GPUS_MAX)
		return gt_err_set(err, E2BIG, "invalid_want",
				  "node %s has %zu GPUs; %d are allowed", node->name, node->n_gpus,
				  GT_SCHED_GPUS_MAX);
	if (node->n_labels > GT_SCHED_LABELS_MAX)
		return gt_err_set(err, E2BIG, "invalid_want",
				  "node %s has %zu labels; %d are allowed", node->name,
				  node->n_labels, GT_SCHED_LABELS_MAX);
	for (size_t i = 0; i < node->n_gpus; i++)
		if (node->gpus[i].model >= GT_SCHED_MODELS_MAX ||
		    node->gpus[i].vram_bytes > GT_SCHED_GPU_BYTES_MAX)
			return gt_err_set(err, EINVAL, "invalid_want",
					  "node %s: GPU %zu: no such model or size", node->name, i);
	return 0;
}

/* Room for the node; newly known ones are down and empty. */
static void nodes_grow(struct gt_sched *s, uint32_t index)
{
	if (index < s->n_nodes)
		return;
	if (index >= s->cap_nodes) {
		size_t old = s->cap_nodes;

		gt_sched_index_grow(s, GT_MAX(2 * old, (size_t)index + 1));
		s->nodes = gt_grow(s->nodes, s->cap_nodes, sizeof(*s->nodes));
		memset(s->nodes + old, 0, (s->cap_nodes - old) * sizeof(*s->nodes));
	}
	s->n_nodes = (size_t)index + 1;
}

int gt_sched_node_set(struct gt_sched *s, uint32_t index, const struct gt_sched_node *node,
		      struct gt_err *err)
{
	int r = node_check(index, node, err);
	struct node next = { 0 }, *n;

	if (r < 0)
		return r;
	nodes_grow(s, index);
	n = &s->nodes[index];
	next = *n;
	r = slots_set(s, &next, node, err);
	if (r < 0)
		return r;
	if (!n->name)
		next.generation = ++s->generation;
	if (!slots_alike(s, n, &next)) {
		capacity_add(s, n, false);
		capacity_add(s, &next, true);
		s->mix_stale = true;
	}
	if (!gt_streq(next.name, node->name)) {
		free(next.name);
		next.name = gt_strdup(node->name);
	}
	next.state = node->state;
	next.cpu_room = room(node->cpu_milli, s->config.cpu_overcommit);
	next.memory_room = room(node->memory_bytes, s->config.memory_overcommit);
	labels_set(&next, node);
	*n = next;
	gt_sched_changed(s, index);
	return 0;
}

void gt_sched_node_remove(struct gt_sched *s, uint32_t index)
{
	struct node *n;

	if (index >= s->n_nodes || !s->nodes[index].name)
		return;
	n = &s->nodes[index];
	for (size_t i = 0; i < GT_SCHED_GPUS_MAX; i++)
		s->milli_taken -= n->slots[i].milli;
	if (n->n_slots > 0) {
		capacity_add(s, n, false);
		s->mix_stale = true;
	}
	free(n->name);
	free(n->labels);
	*n = (struct node){ 0 };
	gt_sched_peers_forget(s, index);
	gt_sched_changed(s, index);
}

uint64_t gt_sched_gpu_milli_taken(const struct gt_sched *s)
{
	return s->milli_taken;
}

int gt_sched_usage(const struct gt_sched *s, uint32_t node, struct gt_sched_usage *ret)
{
	const struct node *n = node < s->n_nodes ? &s->nodes[node] : NULL;

	if (!n || !n->name)
		return -ENOENT;
	*ret = (struct gt_sched_usage){ .cpu_milli = n->cpu_taken,
					.memory_bytes = n->memory_taken,
					.replicas = n->replicas };
	for (size_t i = 0; i < GT_SCHED_GPUS_MAX; i++) {
		ret->gpu_milli[i] = n->slots[i].milli;
		ret->gpu_bytes[i] = n->slots[i].mib * GT_MIB;
	}
	return 0;
}

unsigned gt_sched_rate(struct gt_sched *s, const struct gt_sched_want *want, uint32_t node)
{
	struct shape sh;

	if (node >= s->n_nodes || gt_sched_shape(want, &sh, NULL) < 0)
		return 0;
	gt_sched_mix_refresh(s);
	return rated_byte(gt_sched_node_rate(s, &sh, &s->nodes[node]));
}
