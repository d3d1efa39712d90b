/* model/gpu.h - the GPUs of a node, what a function asks for of them, and what a replica was given.
 */
#ifndef GANTRY_MODEL_GPU_H
#define GANTRY_MODEL_GPU_H

#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_GPU_WHOLE     1000 /* thousandths */
#define GT_GPU_BYTES_MAX (1ULL << 40)
/* The driver and CUDA itself need some of a GPU's memory: no program may plan with all of it. */
#define GT_GPU_FRACTION_MAX 950 /* thousandths */

#define GT_GPU_SEQUENCES_MAX 65536

/* In a function's command: the part of the GPU's memory that is the replica's, as "0.500". */
#define GT_GPU_FRACTION "${gpu.memory_fraction}"

/* Who told of a GPU. Shown wherever the GPU is: a simulated one, or one of a test double of the
 * driver, is never taken for a real one. */
enum gt_gpu_backend { GT_GPU_SIM, GT_GPU_FAKE, GT_GPU_NVIDIA, GT_GPU_BACKEND_N };
const char *gt_gpu_backend_name(enum gt_gpu_backend backend);

/* The worst that is known of it, in growing order. All but the first: takes no new replica. */
enum gt_gpu_health {
	GT_GPU_WELL,
	GT_GPU_DRAIN, /* its replicas move elsewhere as they get free */
	GT_GPU_RESET, /* the same; a reset mends it */
	GT_GPU_LOST,  /* nothing on it goes on: its replicas are given up at once */
	GT_GPU_HEALTH_N
};
const char *gt_gpu_health_name(enum gt_gpu_health health); /* "well", "drain" ... */
/* What the driver's recovery action (NVML's field 230) means for its replicas. -1 and what is not
 * known: well, for others have to say. */
enum gt_gpu_health gt_gpu_health_of_action(int action);

/* A GPU, or an instance of one that is partitioned (MIG), which then is not listed itself. */
struct gt_gpu {
	char uuid[GT_GPU_UUID_MAX + 1]; /* its only name: indexes change with each boot */
	char model[GT_GPU_MODEL_MAX + 1];
	uint64_t memory_bytes;
	uint64_t foreign_bytes; /* of them, what processes that are no replica's have */
	enum gt_gpu_backend backend;
	enum gt_gpu_health health;
	char reason[GT_GPU_REASON_MAX + 1]; /* why it is not well; "" when it is */
	char pci[GT_GPU_PCI_MAX + 1];       /* "0000:c6:00.0"; "" = not known */
	int minor;                          /* of /dev/nvidia<minor>; -1 = there is none */
	int gi, ci;                         /* ids of the MIG instance; -1 = a whole GPU */
	uint32_t capability;                /* of CUDA, 90 = 9.0; 0 = not known */
	int numa;                           /* node of the host's memory; -1 = not known */
	/* Groups on its node, numbered from 0; -1 = it is near to no other, or not known. */
	int link;   /* NVLink joins them, directly or by a switch */
	int bridge; /* below one PCIe host bridge */
};
/* For an element of a list: numbers that are not known are -1. */
extern const struct gt_gpu gt_gpu_unknown;

static inline bool gt_gpu_healthy(const struct gt_gpu *gpu)
{
	return gpu->health == GT_GPU_WELL;
}

/* What replicas may have of it. */
static inline uint64_t gt_gpu_room(const struct gt_gpu *gpu)
{
	return gpu->memory_bytes - GT_MIN(gpu->foreign_bytes, gpu->memory_bytes);
}

/* What a node says of its source of GPUs. */
enum gt_gpu_driver_state {
	GT_GPU_DRIVER_NONE,     /* none is configured, or the machine has no GPU */
	GT_GPU_DRIVER_STARTING, /* it has not answered yet */
	GT_GPU_DRIVER_READY,
	GT_GPU_DRIVER_FAILED,
	GT_GPU_DRIVER_N
};
const char *gt_gpu_driver_state_name(enum gt_gpu_driver_state state);

struct gt_gpu_driver {
	enum gt_gpu_driver_state state;
	enum gt_gpu_backend backend;
	char version[GT_GPU_VERSION_MAX + 1]; /* "580.95.05"; "" = not known */
	char cuda[GT_GPU_REASON_MAX + 1];     /* why checkpoints can not be had; "" = they can */
	char text[GT_GPU_REASON_MAX + 1];     /* why it is not READY */
};

/* What happens to a replica that has more GPU memory than it was given. */
enum gt_gpu_overuse { GT_GPU_OVERUSE_WARN, GT_GPU_OVERUSE_KILL, GT_GPU_OVERUSE_N };

/* What an estimate of a model's memory consists of, on one GPU (gpu/vram.h). */
struct gt_gpu_terms {
	uint64_t weights, cache, activations, overhead;
	uint64_t measured; /* what it was seen to need beyond them */
};
uint64_t gt_gpu_terms_sum(const struct gt_gpu_terms *t); /* each at most UINT64_MAX / 5 */

/* The type of an element of a cache of keys and values. */
enum gt_kv_type {
	GT_KV_AUTO, /* the model's own */
	GT_KV_FP32,
	GT_KV_BF16,
	GT_KV_FP16,
	GT_KV_FP8,
	GT_KV_INT8,
	GT_KV_INT4,
	GT_KV_N
};
const char *gt_kv_type_name(enum gt_kv_type type);
uint32_t gt_kv_type_bits(enum gt_kv_type type); /* 0: the model's own */

/* Of each replica of a function (resources.gpu). */
struct gt_gpu_want {
	uint32_t count;        /* 0 = none */
	uint32_t share_milli;  /* of one GPU, which others may share; 0 = whole GPUs */
	uint64_t memory_bytes; /* on each; 0 = all of a whole GPU, its part of a shared one */
	enum gt_gpu_overuse overuse;
	bool memory_auto; /* or to be computed from weights.paths, by a node, before it is kept */
	struct {
		uint32_t context;   /* tokens of a sequence; 0 = what the model was made for */
		uint32_t sequences; /* at once; 0 = 1 */
		enum gt_kv_type kv_type;
		uint64_t overhead_bytes; /* of the driver and the engine, as measured; 0 = a rule */
		struct gt_gpu_terms terms; /* computed: memory_bytes is their sum. Zeros: stated */
	} estimate;
	char **models; /* in order of preference; none: any */
	size_t n_models;
};

/* What a replica has of one GPU. */
struct gt_gpu_grant {
	char uuid[GT_GPU_UUID_MAX + 1];
	uint32_t milli; /* GT_GPU_WHOLE: nobody else is on it */
	uint64_t memory_bytes;
};

/* Letters, digits and "._-/". */
bool gt_gpu_uuid_ok(const char *uuid);
/* Printable ASCII with a letter or digit and without , : " \; blanks only inside. */
bool gt_gpu_model_ok(const char *model);
/* So many that are alike, as configurations say it: "8x80GiB:H100", or "8x80GiB" of no model. */
struct gt_gpu_group {
	uint64_t count, memory_bytes;
	char model[GT_GPU_MODEL_MAX + 1]; /* "" = none is named */
};
/* NULL, or what is wrong with it; *ret is no group then. */
const char *gt_gpu_group_read(const char *text, struct gt_gpu_group *ret);
/* Whether each word of `wanted` is a word of `model`, in the same order, upper and lower case being
 * equal. Words are parted by everything that is no letter and no digit: "h100" is "NVIDIA H100 80GB
 * HBM3", "a100-80gb" is "NVIDIA A100-SXM4-80GB", "L4" is no "NVIDIA L40S". */
bool gt_gpu_model_match(const char *wanted, const char *model);
/* Place of the GPU's model in the order of preference, 0 when any will do; -1: not one of them. */
int gt_gpu_preference(const struct gt_gpu_want *want, const char *model);
/* What a replica that asks for this gets of a GPU of so many bytes (at most GT_GPU_BYTES_MAX). */
uint32_t gt_gpu_want_milli(const struct gt_gpu_want *want);
uint64_t gt_gpu_want_bytes(const struct gt_gpu_want *want, uint64_t gpu_bytes);

#endif
