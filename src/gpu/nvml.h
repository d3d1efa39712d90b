/* nvml.h - the part of NVIDIA's management library that gpud uses, declared here because no Debian
 * package of the main archive has its header. Layouts are those of x86-64 and arm64 Linux; they are
 * asserted, and tests/unit/gpu/test_layouts.c compares them with the bindings of the package
 * librust-nvml-wrapper-sys-dev. Unknown return codes pass through. */
#ifndef GPU_NVML_H
#define GPU_NVML_H

#include <gantry/base/base.h>

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlEventSet_st *nvmlEventSet_t;
typedef struct nvmlGpmSample_st *nvmlGpmSample_t;

/* nvmlReturn_t */
enum {
	NVML_SUCCESS = 0,
	NVML_ERROR_NOT_SUPPORTED = 3,
	NVML_ERROR_NO_PERMISSION = 4,
	NVML_ERROR_NOT_FOUND = 6,
	NVML_ERROR_INSUFFICIENT_SIZE = 7,
	NVML_ERROR_DRIVER_NOT_LOADED = 9,
	NVML_ERROR_TIMEOUT = 10,
	NVML_ERROR_FUNCTION_NOT_FOUND = 13,
	NVML_ERROR_GPU_IS_LOST = 15,
	NVML_ERROR_RESET_REQUIRED = 16,
	NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
	NVML_ERROR_UNKNOWN = 999,
};

/* Words of calls. */
enum {
	NVML_TEMPERATURE_GPU = 0,
	NVML_CLOCK_SM = 1,
	NVML_CLOCK_MEM = 2,
	NVML_ECC_CORRECTED = 0,
	NVML_ECC_UNCORRECTED = 1,
	NVML_ECC_VOLATILE = 0,
	NVML_FI_MEMORY_TEMP = 82,
	NVML_FI_RECOVERY_ACTION = 230,
	NVML_P2P_NVLINK = 2,           /* nvmlGpuP2PCapsIndex_t */
	NVML_P2P_OK = 0,               /* nvmlGpuP2PStatus_t */
	NVML_TOPOLOGY_HOSTBRIDGE = 30, /* nvmlGpuTopologyLevel_t; less is nearer */
	NVML_EVENT_DBE = 0x2,
	NVML_EVENT_XID = 0x8,
	NVML_EVENT_UNAVAILABLE = 0x4000,
	NVML_EVENT_RECOVERY_ACTION = 0x8000,
	NVML_GPM_VERSION = 1, /* of both structs below */
	NVML_GPM_GRAPHICS_UTIL = 1,
	NVML_GPM_ANY_TENSOR_UTIL = 5,
	NVML_GPM_DRAM_BW_UTIL = 10, /* these three in percent */
	NVML_GPM_PCIE_TX_PER_SEC = 20,
	NVML_GPM_PCIE_RX_PER_SEC = 21, /* these two in MiB */
};

typedef struct {
	char busIdLegacy[16];
	unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
	char busId[32];
} nvmlPciInfo_t;

typedef struct {
	unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
	unsigned int version;
	unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;
#define NVML_MEMORY_V2 (sizeof(nvmlMemory_v2_t) | 2u << 24)

typedef struct {
	unsigned int gpu, memory;
} nvmlUtilization_t;

typedef struct {
	unsigned int pid;
	unsigned long long usedGpuMemory;
} nvmlProcessInfo_v1_t;

typedef struct {
	unsigned int pid;
	unsigned long long usedGpuMemory;
	unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t; /* v2 and v3 */

typedef union {
	double dVal;
	unsigned int uiVal;
	unsigned long ulVal;
	unsigned long long ullVal;
	signed long long sllVal;
} nvmlValue_t;

typedef struct {
	unsigned int fieldId, scopeId;
	long long timestamp, latencyUsec;
	int valueType, nvmlReturn;
	nvmlValue_t value;
} nvmlFieldValue_t;

typedef struct {
	nvmlDevice_t device;
	unsigned long long eventType, eventData;
	unsigned int gpuInstanceId, computeInstanceId;
} nvmlEventData_t;

typedef struct {
	unsigned int version, isSupportedDevice;
} nvmlGpmSupport_t;

typedef struct {
	unsigned int metricId;
	int nvmlReturn;
	double value;
	const char *shortName, *longName, *unit;
} nvmlGpmMetric_t;

/* The header's array has as many rows as its version knows metrics; the first numMetrics of them
 * are used. More room than any header has, for a library that clears it all. */
typedef struct {
	unsigned int version, numMetrics;
	nvmlGpmSample_t sample1, sample2; /* from old to new */
	nvmlGpmMetric_t metrics[1024];
} nvmlGpmMetricsGet_t;

#define NVML_AT(type, member, at) \
	_Static_assert(offsetof(type, member) == (at), "ABI of NVML: " #type "." #member)
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "ABI of NVML");
NVML_AT(nvmlPciInfo_t, domain, 16);
NVML_AT(nvmlPciInfo_t, bus, 20);
NVML_AT(nvmlPciInfo_t, device, 24);
NVML_AT(nvmlPciInfo_t, busId, 36);
_Static_assert(sizeof(nvmlMemory_t) == 24, "ABI of NVML");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40 && NVML_MEMORY_V2 == 0x2000028, "ABI of NVML");
NVML_AT(nvmlMemory_v2_t, total, 8);
NVML_AT(nvmlMemory_v2_t, reserved, 16);
NVML_AT(nvmlMemory_v2_t, free, 24);
NVML_AT(nvmlMemory_v2_t, used, 32);
_Static_assert(sizeof(nvmlUtilization_t) == 8, "ABI of NVML");
_Static_assert(sizeof(nvmlProcessInfo_v1_t) == 16, "ABI of NVML");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "ABI of NVML");
NVML_AT(nvmlProcessInfo_t, usedGpuMemory, 8);
NVML_AT(nvmlProcessInfo_t, gpuInstanceId, 16);
_Static_assert(sizeof(nvmlFieldValue_t) == 40, "ABI of NVML");
NVML_AT(nvmlFieldValue_t, scopeId, 4);
NVML_AT(nvmlFieldValue_t, timestamp, 8);
NVML_AT(nvmlFieldValue_t, valueType, 24);
NVML_AT(nvmlFieldValue_t, nvmlReturn, 28);
NVML_AT(nvmlFieldValue_t, value, 32);
_Static_assert(sizeof(nvmlEventData_t) == 32, "ABI of NVML");
NVML_AT(nvmlEventData_t, eventType, 8);
NVML_AT(nvmlEventData_t, eventData, 16);
NVML_AT(nvmlEventData_t, gpuInstanceId, 24);
_Static_assert(sizeof(nvmlGpmSupport_t) == 8, "ABI of NVML");
_Static_assert(sizeof(nvmlGpmMetric_t) == 40, "ABI of NVML");
NVML_AT(nvmlGpmMetric_t, nvmlReturn, 4);
NVML_AT(nvmlGpmMetric_t, value, 8);
NVML_AT(nvmlGpmMetricsGet_t, sample1, 8);
NVML_AT(nvmlGpmMetricsGet_t, metrics, 24);

/* CALL(member, symbol, arguments): all return an int that is an nvmlReturn_t. A later row is the
 * older form of the one before it. */
#define NVML_CALLS(CALL)                                                                          \
	CALL(init, nvmlInit_v2, (void))                                                           \
	CALL(driver_version, nvmlSystemGetDriverVersion, (char *, unsigned int))                  \
	CALL(count, nvmlDeviceGetCount_v2, (unsigned int *))                                      \
	CALL(handle, nvmlDeviceGetHandleByIndex_v2, (unsigned int, nvmlDevice_t *))               \
	CALL(uuid, nvmlDeviceGetUUID, (nvmlDevice_t, char *, unsigned int))                       \
	CALL(name, nvmlDeviceGetName, (nvmlDevice_t, char *, unsigned int))                       \
	CALL(minor, nvmlDeviceGetMinorNumber, (nvmlDevice_t, unsigned int *))                     \
	CALL(pci, nvmlDeviceGetPciInfo_v3, (nvmlDevice_t, nvmlPciInfo_t *))                       \
	CALL(capability, nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t, int *, int *))        \
	CALL(numa, nvmlDeviceGetNumaNodeId, (nvmlDevice_t, unsigned int *))                       \
	CALL(memory_v2, nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t, nvmlMemory_v2_t *))            \
	CALL(memory, nvmlDeviceGetMemoryInfo, (nvmlDevice_t, nvmlMemory_t *))                     \
	CALL(utilization, nvmlDeviceGetUtilizationRates, (nvmlDevice_t, nvmlUtilization_t *))     \
	CALL(encoder, nvmlDeviceGetEncoderUtilization,                                            \
	     (nvmlDevice_t, unsigned int *, unsigned int *))                                      \
	CALL(decoder, nvmlDeviceGetDecoderUtilization,                                            \
	     (nvmlDevice_t, unsigned int *, unsigned int *))                                      \
	CALL(temperature, nvmlDeviceGetTemperature, (nvmlDevice_t, int, unsigned int *))          \
	CALL(clock, nvmlDeviceGetClockInfo, (nvmlDevice_t, int, unsigned int *))                  \
	CALL(power, nvmlDeviceGetPowerUsage, (nvmlDevice_t, unsigned int *))                      \
	CALL(power_limit, nvmlDeviceGetEnforcedPowerLimit, (nvmlDevice_t, unsigned int *))        \
	CALL(energy, nvmlDeviceGetTotalEnergyConsumption, (nvmlDevice_t, unsigned long long *))   \
	CALL(replays, nvmlDeviceGetPcieReplayCounter, (nvmlDevice_t, unsigned int *))             \
	CALL(ecc, nvmlDeviceGetTotalEccErrors, (nvmlDevice_t, int, int, unsigned long long *))    \
	CALL(remapped, nvmlDeviceGetRemappedRows,                                                 \
	     (nvmlDevice_t, unsigned int *, unsigned int *, unsigned int *, unsigned int *))      \
	CALL(fields, nvmlDeviceGetFieldValues, (nvmlDevice_t, int, nvmlFieldValue_t *))           \
	CALL(clock_reasons, nvmlDeviceGetCurrentClocksEventReasons,                               \
	     (nvmlDevice_t, unsigned long long *))                                                \
	CALL(throttle_reasons, nvmlDeviceGetCurrentClocksThrottleReasons,                         \
	     (nvmlDevice_t, unsigned long long *))                                                \
	CALL(pstate, nvmlDeviceGetPerformanceState, (nvmlDevice_t, int *))                        \
	CALL(persistence, nvmlDeviceGetPersistenceMode, (nvmlDevice_t, int *))                    \
	CALL(processes_v3, nvmlDeviceGetComputeRunningProcesses_v3,                               \
	     (nvmlDevice_t, unsigned int *, nvmlProcessInfo_t *))                                 \
	CALL(processes_v2, nvmlDeviceGetComputeRunningProcesses_v2,                               \
	     (nvmlDevice_t, unsigned int *, nvmlProcessInfo_t *))                                 \
	CALL(processes_v1, nvmlDeviceGetComputeRunningProcesses,                                  \
	     (nvmlDevice_t, unsigned int *, nvmlProcessInfo_v1_t *))                              \
	CALL(mig_mode, nvmlDeviceGetMigMode, (nvmlDevice_t, unsigned int *, unsigned int *))      \
	CALL(mig_count, nvmlDeviceGetMaxMigDeviceCount, (nvmlDevice_t, unsigned int *))           \
	CALL(mig_handle, nvmlDeviceGetMigDeviceHandleByIndex,                                     \
	     (nvmlDevice_t, unsigned int, nvmlDevice_t *))                                        \
	CALL(gpu_instance, nvmlDeviceGetGpuInstanceId, (nvmlDevice_t, unsigned int *))            \
	CALL(compute_instance, nvmlDeviceGetComputeInstanceId, (nvmlDevice_t, unsigned int *))    \
	CALL(p2p, nvmlDeviceGetP2PStatus, (nvmlDevice_t, nvmlDevice_t, int, int *))               \
	CALL(ancestor, nvmlDeviceGetTopologyCommonAncestor, (nvmlDevice_t, nvmlDevice_t, int *))  \
	CALL(event_set, nvmlEventSetCreate, (nvmlEventSet_t *))                                   \
	CALL(event_types, nvmlDeviceGetSupportedEventTypes, (nvmlDevice_t, unsigned long long *)) \
	CALL(event_register, nvmlDeviceRegisterEvents,                                            \
	     (nvmlDevice_t, unsigned long long, nvmlEventSet_t))                                  \
	CALL(event_wait_v2, nvmlEventSetWait_v2,                                                  \
	     (nvmlEventSet_t, nvmlEventData_t *, unsigned int))                                   \
	CALL(event_wait, nvmlEventSetWait, (nvmlEventSet_t, nvmlEventData_t *, unsigned int))     \
	CALL(gpm_support, nvmlGpmQueryDeviceSupport, (nvmlDevice_t, nvmlGpmSupport_t *))          \
	CALL(gpm_alloc, nvmlGpmSampleAlloc, (nvmlGpmSample_t *))                                  \
	CALL(gpm_sample, nvmlGpmSampleGet, (nvmlDevice_t, nvmlGpmSample_t))                       \
	CALL(gpm_metrics, nvmlGpmMetricsGet, (nvmlGpmMetricsGet_t *))

#endif
