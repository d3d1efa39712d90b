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

/* An error of one GPU, once: what the driver's event and the kernel's log tell of is one. */
struct gt_gpu_trouble {
	const char *uuid;
	const char *text; /* "XID 79: the GPU has fallen off the bus" */
	uint32_t xid;
	int32_t pid;               /* of the host: whose fault it is; 0 = not known */
	enum gt_gpu_health health; /* the GPU's, with this */
	bool restart;              /* what runs on it is broken; with `pid` known: that process */
	bool tell; /* false: one of a storm, of which nobody wants to hear any more */
};

/* All on the loop; what is pointed to is borrowed for the call. NULL members are not called. */
struct gt_gpus_events {
	void (*on_change)(void *arg); /* the list, a GPU's health, or the driver's state */
	void (*on_trouble)(const struct gt_gpu_trouble *trouble, void *arg);
	void (*on_sample)(const struct gt_gpu_sample *sample, void *arg);
	void *arg;
};

struct gt_gpus_config {
	const char *gpus;   /* as above; NULL or "" = none */
	const char *node;   /* makes ids of simulated GPUs differ between nodes */
	const char *helper; /* the program that becomes gpud ("/proc/self/exe"); NULL = no gpud:
			       only simulated GPUs then, without requests and samples */
	const char *driver_root; /* where the driver's libraries are; NULL or "" = "/" */
	const char *kmsg;        /* the kernel's log; NULL or "" = "/dev/kmsg" */
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
/* The last look at it; NULL: there was none. */
const struct gt_gpu_stats *gt_gpus_stats(const struct gt_gpus *g, const char *uuid);
/* A replica of `function` was restarted for an error: three functions within an hour make the GPU
 * suspect. */
void gt_gpus_failed(struct gt_gpus *g, const char *uuid, const char *function);
/* What processes have of it that are no replica's. */
void gt_gpus_foreign(struct gt_gpus *g, const char *uuid, uint64_t bytes);
/* An operator says that it is well, or it was reset. -ENOENT. */
GT_MUST_USE int gt_gpus_clear(struct gt_gpus *g, const char *uuid, struct gt_err *err);
/* For requests (helper.h); NULL: there is no gpud. */
struct gt_gpu_helper *gt_gpus_helper(struct gt_gpus *g);
/* There is a device of it: CUDA will see it. A test double of the driver says so of its own. */
bool gt_gpu_is_real(const struct gt_gpu *gpu);

#endif
