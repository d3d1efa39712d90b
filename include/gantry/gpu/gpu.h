/* gpu/gpu.h - the GPUs that a node has, how they are, and who may have them. Where they come from
 * is a backend's business:
 *	none	there is none
 *	auto	nvidia where the machine shows a GPU or a driver of NVIDIA's, else none
 *	nvidia	real ones, by the driver's libraries
 *	fake:DIR[,FILE]		the same code with the libraries of DIR: test doubles of the driver
 *	sim:COUNTxSIZE[:MODEL][,...][,script=FILE]	made up; they compute nothing
 * The driver is talked to by another process (helper.h). Loop thread only. */
#ifndef GANTRY_GPU_GPU_H
#define GANTRY_GPU_GPU_H

#include <gantry/gpu/helper.h>
#include <gantry/model/gpu.h>

struct gt_gpus;

#define GT_GPUS_NONE "none"
#define GT_GPUS_AUTO "auto"

/* All on the loop; what is pointed to is borrowed for the call. NULL members are not called. */
struct gt_gpus_events {
	void (*on_change)(void *arg); /* the list, a GPU's health, or the driver's state */
	void *arg;
};

struct gt_gpus_config {
	const char *gpus;   /* as above; NULL or "" = none */
	const char *node;   /* makes ids of simulated GPUs differ between nodes */
	const char *helper; /* the program that becomes gpud ("/proc/self/exe"); NULL = no gpud:
			       only simulated GPUs then, without requests and samples */
	const char *driver_root; /* where the driver's libraries are; NULL or "" = "/" */
	uint64_t await_ms;       /* how long the open may wait for the driver's first word */
	struct gt_gpus_events events;
};

/* Whether `gpus` can be opened on any machine. -EINVAL, slug "bad_gpus". */
GT_MUST_USE int gt_gpus_check(const char *gpus, struct gt_err *err);
/* A driver that is missing, slow or broken is no failure: see gt_gpus_driver. */
GT_MUST_USE int gt_gpus_open(struct gt_loop *loop, const struct gt_gpus_config *config,
			     struct gt_gpus **ret, struct gt_err *err);
void gt_gpus_close(struct gt_gpus *g); /* NULL is fine */
/* *ret is borrowed until the loop's next round. */
size_t gt_gpus_list(struct gt_gpus *g, const struct gt_gpu **ret);
/* NULL: there is none of this name. */
const struct gt_gpu *gt_gpus_find(struct gt_gpus *g, const char *uuid);
const struct gt_gpu_driver *gt_gpus_driver(const struct gt_gpus *g);
/* False: the driver has not told yet what there is, so that a GPU which is not in the list may be
 * there. */
bool gt_gpus_known(const struct gt_gpus *g);
/* For requests (helper.h); NULL: there is no gpud. */
struct gt_gpu_helper *gt_gpus_helper(struct gt_gpus *g);
bool gt_gpu_is_real(const struct gt_gpu *gpu); /* CUDA will see it */

#endif
