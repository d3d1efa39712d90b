/* sim.c - GPUs by configuration: COUNTxSIZE[:MODEL][,...][,script=FILE]. They compute nothing;
 * everything that chooses, counts and shows GPUs can be tried with them. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>

#define MODEL "simulated"

static int refused(const char *group, const char *why, struct gt_err *err)
{
	return gt_err_set(err, EINVAL, "bad_gpus",
			  "sim: \"%.100s\": %s; write COUNTxSIZE or COUNTxSIZE:MODEL, such as "
			  "4x80GiB:H100",
			  group, why);
}

static int add(const struct gt_gpu *gpu, uint64_t count, const char *node, struct gt_gpu *ret,
	       size_t *n, struct gt_err *err)
{
	if (*n + count > GT_NODE_GPUS_MAX)
		return gt_err_set(err, EINVAL, "bad_gpus", "sim: more than %d GPUs",
				  GT_NODE_GPUS_MAX);
	for (; count > 0; count--, ++*n) {
		ret[*n] = *gpu;
		snprintf(ret[*n].uuid, sizeof(ret->uuid), "SIM-%s-%zu", node, *n);
	}
	return 0;
}

int gpu_sim_list(const char *config, const char *node, struct gt_gpu *ret, size_t *ret_n,
		 char *script, size_t script_size, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(config);
	char *at = NULL;
	size_t n = 0;
	int r = 0;

	if (script)
		script[0] = '\0';
	for (char *group = strtok_r(copy, ",", &at); r == 0 && group;
	     group = strtok_r(NULL, ",", &at)) {
		struct gt_gpu gpu = gt_gpu_unknown;
		struct gt_gpu_group is;

		if (gt_starts_with(group, GPU_SIM_SCRIPT)) {
			if (group[strlen(GPU_SIM_SCRIPT)] != '/')
				return refused(group, "the script is no absolute path", err);
			if (script &&
			    !gt_strcopy(script, script_size, group + strlen(GPU_SIM_SCRIPT)))
				return refused(group, "the path is too long", err);
			continue;
		}
		const char *why = gt_gpu_group_read(group, &is);

		if (why)
			return refused(group, why, err);
		gpu.backend = GT_GPU_SIM;
		gpu.memory_bytes = is.memory_bytes;
		gt_strcopy(gpu.model, sizeof(gpu.model), is.model[0] ? is.model : MODEL);
		r = add(&gpu, is.count, node, ret, &n, err);
	}
	if (r < 0)
		return r;
	if (n == 0)
		return refused(config, "there is no GPU in it", err);
	*ret_n = n;
	return 0;
}

_Static_assert(GT_GPU_UUID_MAX >= sizeof("SIM--64") + GT_NAME_MAX, "an id has room for a name");
