/* nvidia.h - the backends nvidia and fake inside gpud: what their files share. */
#ifndef GPU_NVIDIA_H
#define GPU_NVIDIA_H

#include "cuda.h"
#include "gpud.h"
#include "nvml.h"

/* The library's functions; NULL where it has none of this name. Written once, before others look.
 */
struct nvml {
#define NVML_MEMBER(member, symbol, args) int(*member) args;
	NVML_CALLS(NVML_MEMBER)
#undef NVML_MEMBER
	const char *(*error_string)(int);
};
extern struct nvml nvml;

/* A function that is not there answers like one that an older kernel driver does not have. */
#define NVML_CALL(member, ...)                             \
	({                                                 \
		int code_ = NVML_ERROR_FUNCTION_NOT_FOUND; \
		if (nvml.member) {                         \
			gpud_enter(nvml_names.member);     \
			code_ = nvml.member(__VA_ARGS__);  \
			gpud_leave();                      \
		}                                          \
		code_;                                     \
	})
extern const struct nvml_names {
#define NVML_NAME(member, symbol, args) const char *member;
	NVML_CALLS(NVML_NAME)
#undef NVML_NAME
} nvml_names;

/* nvml.c: loads the library and begins. The text says what to do. */
int nvml_begin(const char *root, char *ret_version, size_t size, struct gt_err *err);
/* "nvmlX: words (code)", slug by code. */
int nvml_fail(struct gt_err *err, int code, const char *call);

/* gpm.c: how busy its parts were since the last look; nothing at the first, where the GPU does not
 * count it (before Hopper, instances), and where counting is not allowed. From one thread. */
void nvml_sample_activity(nvmlDevice_t device, struct gt_gpu_stats *ret);

/* sample.c: all that a GPU tells of itself. */
void nvml_sample(nvmlDevice_t device, struct gt_gpu_sample *ret);
/* Field 230; -1: it does not say. */
int32_t nvml_recovery_action(nvmlDevice_t device);
/* 0 or an nvmlReturn_t. */
int nvml_memory(nvmlDevice_t device, nvmlMemory_v2_t *ret);
int nvml_processes(nvmlDevice_t device, struct gt_gpu_process *ret, uint32_t *ret_n,
		   uint32_t *ret_more);
/* What the driver's answers say of its health. */
enum gt_gpu_health nvml_health(nvmlDevice_t device);

/* near.c: for each of n GPUs the group of those that NVLink joins, and of those below one PCIe host
 * bridge; -1 = it is in none, or the driver does not tell. */
void nvml_near(const nvmlDevice_t *cards, size_t n, int *ret_link, int *ret_bridge);

/* checkpoint.c */
void cuda_begin(const char *root, char *ret_why, size_t size);
int cuda_ask(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err);

#endif
