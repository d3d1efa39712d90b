/* backend.h - what a source of GPUs has to do. */
#ifndef GPU_BACKEND_H
#define GPU_BACKEND_H

#include <gantry/gpu/gpu.h>

struct gt_gpu_source {
	const char *name; /* what a configuration begins with, before the ':' */
	/* Reads `config` (behind the ':') into at most GT_NODE_GPUS_MAX devices. Names no device
	 * that is not there; a device that is not well is listed and not healthy. */
	int (*list)(const char *config, const char *node, struct gt_gpu *ret, size_t *ret_n,
		    struct gt_err *err);
};

extern const struct gt_gpu_source gt_gpu_sim; /* sim.c */

#endif
