/* gpus.c - a node's GPUs, from the backend that its configuration names. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>

#include "backend.h"

struct gt_gpus {
	struct gt_gpu list[GT_NODE_GPUS_MAX];
	size_t n;
};

static const struct gt_gpu_source *const sources[] = { &gt_gpu_sim };

static int list(const char *config, const char *node, struct gt_gpus *g, struct gt_err *err)
{
	size_t len;

	if (!config || !*config || strcmp(config, GT_GPUS_NONE) == 0)
		return 0;
	len = strcspn(config, ":");
	for (size_t i = 0; i < GT_LEN(sources); i++) {
		const char *name = sources[i]->name;

		if (strlen(name) == len && strncmp(name, config, len) == 0)
			return sources[i]->list(config[len] ? config + len + 1 : "", node, g->list,
						&g->n, err);
	}
	return gt_err_set(
		err, EINVAL, "bad_gpus",
		"\"%.*s\" is not supported by this version; write none, or simulated GPUs "
		"such as sim:4x80GiB:H100",
		(int)GT_MIN(len, (size_t)64), config);
}

int gt_gpus_check(const char *config, struct gt_err *err)
{
	struct gt_gpus g = { .n = 0 };

	return list(config, "node", &g, err);
}

int gt_gpus_open(const char *config, const char *node, struct gt_gpus **ret, struct gt_err *err)
{
	gt_auto(free) struct gt_gpus *g = gt_alloc(sizeof(*g));
	int r = list(config, node, g, err);

	if (r == 0)
		*ret = gt_steal(&g);
	return r;
}

void gt_gpus_close(struct gt_gpus *g)
{
	free(g);
}

size_t gt_gpus_list(struct gt_gpus *g, const struct gt_gpu **ret)
{
	*ret = g->list;
	return g->n;
}

const struct gt_gpu *gt_gpus_find(struct gt_gpus *g, const char *uuid)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcmp(g->list[i].uuid, uuid) == 0)
			return &g->list[i];
	return NULL;
}

bool gt_gpu_is_real(const struct gt_gpu *gpu)
{
	return gpu->backend != GT_GPU_SIM;
}
