/* gpu/gpu.h - the GPUs that a node has. Where they come from is a backend's business (backend.h);
 * "sim" makes devices by configuration, for machines that have none. Not thread-safe. */
#ifndef GANTRY_GPU_GPU_H
#define GANTRY_GPU_GPU_H

#include <gantry/model/gpu.h>

struct gt_gpus;

#define GT_GPUS_NONE "none"

/* Whether `config` can be opened on any machine: "" and "none", or
 *	sim:4x80GiB	sim:4x80GiB:H100,1x24GiB:L4
 * COUNTxSIZE[:MODEL], GT_NODE_GPUS_MAX together. -EINVAL, slug "bad_gpus". */
GT_MUST_USE int gt_gpus_check(const char *config, struct gt_err *err);
/* `node` makes the ids of simulated GPUs differ between nodes, and equal at each start. */
GT_MUST_USE int gt_gpus_open(const char *config, const char *node, struct gt_gpus **ret,
			     struct gt_err *err);
void gt_gpus_close(struct gt_gpus *g); /* NULL is fine */
/* *ret is borrowed until the next call. */
size_t gt_gpus_list(struct gt_gpus *g, const struct gt_gpu **ret);
/* NULL: there is none of this name. */
const struct gt_gpu *gt_gpus_find(struct gt_gpus *g, const char *uuid);
bool gt_gpu_is_real(const struct gt_gpu *gpu); /* CUDA will see it */

#endif
