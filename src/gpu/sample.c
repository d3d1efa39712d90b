/* sample.c - one look at a GPU. What it does not tell is left out; nothing here fails. */
#include <string.h>

#include "nvidia.h"

#define PROCESSES_MAX (4 * GT_GPU_PROCESSES_MAX) /* the driver may have more by the next call */
#define NO_BYTES      (~0ULL)                    /* NVML_VALUE_NOT_AVAILABLE */

static void put32(struct gt_gpu_stats *s, enum gt_gpu_stat stat, int code, unsigned value)
{
	if (code == NVML_SUCCESS)
		gt_gpu_stat_set(s, stat, value);
}

static void put64(struct gt_gpu_stats *s, enum gt_gpu_stat stat, int code, unsigned long long value)
{
	if (code == NVML_SUCCESS && value != NO_BYTES)
		gt_gpu_stat_set(s, stat, value);
}

int nvml_memory(nvmlDevice_t device, nvmlMemory_v2_t *ret)
{
	nvmlMemory_t old = { 0 };
	int code;

	*ret = (nvmlMemory_v2_t){ .version = NVML_MEMORY_V2 };
	code = NVML_CALL(memory_v2, device, ret);
	if (code == NVML_SUCCESS || code == NVML_ERROR_GPU_IS_LOST)
		return code;
	code = NVML_CALL(memory, device, &old);
	*ret = (nvmlMemory_v2_t){ .total = old.total, .free = old.free, .used = old.used };
	return code;
}

static int field(nvmlDevice_t device, unsigned id, uint64_t *ret)
{
	nvmlFieldValue_t v = { .fieldId = id };
	int code = NVML_CALL(fields, device, 1, &v);

	if (code != NVML_SUCCESS)
		return code;
	/* Types: 1 and 5 are of 4 bytes, 6 is of 2. */
	if (v.valueType == 6)
		*ret = v.value.uiVal & 0xffff;
	else
		*ret = v.valueType == 1 || v.valueType == 5 ? v.value.uiVal : v.value.ullVal;
	return v.nvmlReturn;
}

int32_t nvml_recovery_action(nvmlDevice_t device)
{
	uint64_t action = 0;

	return field(device, NVML_FI_RECOVERY_ACTION, &action) == NVML_SUCCESS && action < 256
		       ? (int32_t)action
		       : -1;
}

enum gt_gpu_health nvml_health(nvmlDevice_t device)
{
	unsigned correctable = 0, uncorrectable = 0, pending = 0, failed = 0;
	nvmlMemory_v2_t memory;
	int code = nvml_memory(device, &memory);

	if (code == NVML_ERROR_GPU_IS_LOST)
		return GT_GPU_LOST;
	if (code == NVML_ERROR_RESET_REQUIRED)
		return GT_GPU_RESET;
	if (NVML_CALL(remapped, device, &correctable, &uncorrectable, &pending, &failed) ==
		    NVML_SUCCESS &&
	    failed)
		return GT_GPU_DRAIN;
	return gt_gpu_health_of_action(nvml_recovery_action(device));
}

static void sample_memory(nvmlDevice_t device, struct gt_gpu_sample *ret)
{
	struct gt_gpu_stats *s = &ret->stats;
	nvmlMemory_v2_t m;
	int code = nvml_memory(device, &m);

	put64(s, GT_GPU_STAT_FB_TOTAL, code, m.total);
	put64(s, GT_GPU_STAT_FB_USED, code, m.used);
	put64(s, GT_GPU_STAT_FB_FREE, code, m.free);
	if (m.version)
		put64(s, GT_GPU_STAT_FB_RESERVED, code, m.reserved);
	ret->lost = code == NVML_ERROR_GPU_IS_LOST;
}

static void sample_use(nvmlDevice_t device, struct gt_gpu_stats *s)
{
	nvmlUtilization_t use = { 0 };
	unsigned value = 0, period;
	int code = NVML_CALL(utilization, device, &use);

	put32(s, GT_GPU_STAT_GPU_UTIL, code, use.gpu);
	put32(s, GT_GPU_STAT_MEM_COPY_UTIL, code, use.memory);
	code = NVML_CALL(encoder, device, &value, &period);
	put32(s, GT_GPU_STAT_ENC_UTIL, code, value);
	code = NVML_CALL(decoder, device, &value, &period);
	put32(s, GT_GPU_STAT_DEC_UTIL, code, value);
	code = NVML_CALL(clock, device, NVML_CLOCK_SM, &value);
	put32(s, GT_GPU_STAT_SM_CLOCK, code, value);
	code = NVML_CALL(clock, device, NVML_CLOCK_MEM, &value);
	put32(s, GT_GPU_STAT_MEM_CLOCK, code, value);
}

static void sample_body(nvmlDevice_t device, struct gt_gpu_stats *s)
{
	unsigned long long wide = 0;
	unsigned value = 0;
	uint64_t v = 0;
	int number = 0, code;

	code = NVML_CALL(temperature, device, NVML_TEMPERATURE_GPU, &value);
	put32(s, GT_GPU_STAT_GPU_TEMP, code, value);
	code = field(device, NVML_FI_MEMORY_TEMP, &v);
	put64(s, GT_GPU_STAT_MEMORY_TEMP, code, v);
	code = NVML_CALL(power, device, &value);
	put32(s, GT_GPU_STAT_POWER_USAGE, code, value);
	code = NVML_CALL(power_limit, device, &value);
	put32(s, GT_GPU_STAT_POWER_LIMIT, code, value);
	code = NVML_CALL(energy, device, &wide);
	put64(s, GT_GPU_STAT_ENERGY, code, wide);
	code = NVML_CALL(replays, device, &value);
	put32(s, GT_GPU_STAT_PCIE_REPLAY, code, value);
	code = NVML_CALL(clock_reasons, device, &wide);
	if (code == NVML_ERROR_FUNCTION_NOT_FOUND)
		code = NVML_CALL(throttle_reasons, device, &wide);
	put64(s, GT_GPU_STAT_CLOCK_REASONS, code, wide);
	code = NVML_CALL(pstate, device, &number);
	if (number >= 0 && number <= 15) /* 32: it does not know */
		put32(s, GT_GPU_STAT_PSTATE, code, (unsigned)number);
	code = NVML_CALL(persistence, device, &number);
	put32(s, GT_GPU_STAT_PERSISTENCE, code, number != 0);
}

static void sample_errors(nvmlDevice_t device, struct gt_gpu_stats *s)
{
	unsigned correctable = 0, uncorrectable = 0, pending = 0, failed = 0;
	unsigned long long count = 0;
	int code = NVML_CALL(ecc, device, NVML_ECC_CORRECTED, NVML_ECC_VOLATILE, &count);

	put64(s, GT_GPU_STAT_ECC_SBE, code, count);
	code = NVML_CALL(ecc, device, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &count);
	put64(s, GT_GPU_STAT_ECC_DBE, code, count);
	code = NVML_CALL(remapped, device, &correctable, &uncorrectable, &pending, &failed);
	put32(s, GT_GPU_STAT_REMAPPED_COR, code, correctable);
	put32(s, GT_GPU_STAT_REMAPPED_UNC, code, uncorrectable);
	put32(s, GT_GPU_STAT_REMAP_PENDING, code, pending);
	put32(s, GT_GPU_STAT_REMAP_FAILURE, code, failed);
}

/* Newest form first; a driver that has only the oldest writes smaller structs. */
static int processes(nvmlDevice_t device, nvmlProcessInfo_t *list, unsigned *n)
{
	unsigned max = *n;
	int code = NVML_CALL(processes_v3, device, n, list);

	if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
		*n = max;
		code = NVML_CALL(processes_v2, device, n, list);
	}
	if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
		static _Thread_local nvmlProcessInfo_v1_t old[PROCESSES_MAX];

		*n = max;
		code = NVML_CALL(processes_v1, device, n, old);
		for (unsigned i = 0; code == NVML_SUCCESS && i < GT_MIN(*n, max); i++)
			list[i] = (nvmlProcessInfo_t){ .pid = old[i].pid,
						       .usedGpuMemory = old[i].usedGpuMemory };
	}
	*n = GT_MIN(*n, max);
	return code;
}

int nvml_processes(nvmlDevice_t device, struct gt_gpu_process *ret, uint32_t *ret_n,
		   uint32_t *ret_more)
{
	static _Thread_local nvmlProcessInfo_t list[PROCESSES_MAX];
	unsigned n = PROCESSES_MAX;
	int code = processes(device, list, &n);

	/* More than that: what it wrote is nothing to rely on. */
	if (code == NVML_ERROR_INSUFFICIENT_SIZE)
		n = 0;
	else if (code != NVML_SUCCESS)
		return code;
	*ret_n = GT_MIN(n, (unsigned)GT_GPU_PROCESSES_MAX);
	*ret_more = code == NVML_SUCCESS ? n - *ret_n : 1;
	for (uint32_t i = 0; i < *ret_n; i++)
		ret[i] = (struct gt_gpu_process){ .pid = (int32_t)list[i].pid,
						  .bytes = list[i].usedGpuMemory };
	return NVML_SUCCESS;
}

void nvml_sample(nvmlDevice_t device, struct gt_gpu_sample *ret)
{
	sample_memory(device, ret);
	if (ret->lost)
		return;
	sample_use(device, &ret->stats);
	sample_body(device, &ret->stats);
	sample_errors(device, &ret->stats);
	nvml_sample_activity(device, &ret->stats);
	ret->action = nvml_recovery_action(device);
	(void)nvml_processes(device, ret->processes, &ret->n_processes, &ret->more);
}
