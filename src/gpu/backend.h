/* backend.h - what a configuration says of GPUs that it makes up itself. */
#ifndef GPU_BACKEND_H
#define GPU_BACKEND_H

#include <gantry/model/gpu.h>

#define GPU_SIM_SCRIPT "script="

/* Reads what stands behind "sim:": COUNTxSIZE[:MODEL][,...][,script=FILE], at most
 * GT_NODE_GPUS_MAX. `node` makes ids differ between nodes. *script (NULL = not asked for) gets the
 * path, "" when there is none. */
GT_MUST_USE int gpu_sim_list(const char *config, const char *node, struct gt_gpu *ret,
			     size_t *ret_n, char *script, size_t script_size, struct gt_err *err);

#endif
