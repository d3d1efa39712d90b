/* gpu.c - the GPUs of nodes and who has them. A replica's GPUs are booked on its node from its
 * order to its end; its node holds the order against a book of its own. */
#include "control_priv.h"

#include <stdlib.h>
#include <string.h>

static struct gt_node_gpu *find(struct gt_ctl_node *node, const char *uuid)
{
	for (size_t i = 0; i < node->facts.n_gpus; i++)
		if (strcmp(node->facts.gpus[i].is.uuid, uuid) == 0)
			return &node->facts.gpus[i];
	return NULL;
}

/* A GPU that its node no longer has was forgotten with what was booked on it. */
void gt_ctl_gpus_book(struct gt_ctl_replica *r)
{
	for (size_t i = 0; i < r->gpus.n; i++) {
		struct gt_node_gpu *gpu = find(r->node, r->gpus.list[i].uuid);

		if (!gpu)
			continue;
		gpu->taken_milli += r->gpus.list[i].milli;
		gpu->taken_bytes += r->gpus.list[i].memory_bytes;
		gpu->replicas++;
	}
}

void gt_ctl_gpus_unbook(struct gt_ctl_replica *r)
{
	for (size_t i = 0; i < r->gpus.n; i++) {
		struct gt_node_gpu *gpu = find(r->node, r->gpus.list[i].uuid);

		if (!gpu)
			continue;
		gpu->taken_milli -= r->gpus.list[i].milli;
		gpu->taken_bytes -= r->gpus.list[i].memory_bytes;
		gpu->replicas--;
	}
}

static bool same(const struct gt_ctl_node *node, const struct gt_gpu *gpus, size_t n)
{
	bool equal = node->facts.n_gpus == n;

	for (size_t i = 0; equal && i < n; i++) {
		const struct gt_gpu *is = &node->facts.gpus[i].is;

		equal = strcmp(is->uuid, gpus[i].uuid) == 0 &&
			strcmp(is->model, gpus[i].model) == 0 &&
			is->memory_bytes == gpus[i].memory_bytes &&
			is->backend == gpus[i].backend && is->healthy == gpus[i].healthy;
	}
	return equal;
}

static void gpus_set(struct gt_control *c, struct gt_ctl_node *node, const struct gt_gpu *gpus,
		     size_t n)
{
	struct gt_ctl_facts *facts = &node->facts;
	struct gt_ctl_replica *r, *r_next;

	free(facts->gpus);
	facts->gpus = n ? gt_alloc_array(n, sizeof(*facts->gpus)) : NULL;
	facts->n_gpus = n;
	for (size_t i = 0; i < n; i++)
		facts->gpus[i].is = gpus[i];
	HASH_ITER (hh, c->replicas, r, r_next)
		if (r->node == node)
			gt_ctl_gpus_book(r);
	if (n > 0)
		gt_ctl_event(c, "node.gpus", NULL, NULL, node->name, NULL,
			     "%zu GPUs, the first %s (%s)", n, gpus[0].model,
			     gt_gpu_backend_name(gpus[0].backend));
}

static void labels_set(struct gt_ctl_facts *facts, const struct gt_label *labels, size_t n)
{
	free(facts->labels);
	facts->labels = n ? gt_alloc_array(n, sizeof(*facts->labels)) : NULL;
	facts->n_labels = n;
	if (n > 0)
		memcpy(facts->labels, labels, n * sizeof(*labels));
}

void gt_ctl_facts_set(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r)
{
	labels_set(&node->facts, r->labels, r->n_labels);
	if (!same(node, r->gpus, r->n_gpus))
		gpus_set(c, node, r->gpus, r->n_gpus);
	gt_ctl_blocked_touch(c);
}

void gt_ctl_facts_fini(struct gt_ctl_facts *facts)
{
	free(facts->gpus);
	free(facts->labels);
	*facts = (struct gt_ctl_facts){ 0 };
}
