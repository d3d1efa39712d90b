/* nvml.c - a test double of libnvidia-ml.so.1: every call that gpud uses, by script. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../../src/gpu/nvml.h"
#include "script.h"

enum { CARDS = 16, PARTS = 8, INVALID_ARGUMENT = 2 };

/* What a handle points to: a card, or an instance of one. */
struct nvmlDevice_st {
	int card, part; /* part -1: the card */
};
static struct nvmlDevice_st devices[CARDS][PARTS + 1];
struct nvmlEventSet_st {
	json_int_t seen;
};
static struct nvmlEventSet_st the_set;

/* Its object; NULL: there is none. Under the script's lock. */
static const json_t *find(const json_t *s, nvmlDevice_t d)
{
	const json_t *card = json_array_get(json_object_get(s, "devices"), (size_t)d->card);

	return d->part < 0 ? card : json_array_get(json_object_get(card, "mig"), (size_t)d->part);
}

static nvmlDevice_t handle_of(unsigned card, int part)
{
	nvmlDevice_t d = &devices[card % CARDS][part + 1];

	d->card = (int)card;
	d->part = part;
	return d;
}

/* A number; null in the script: not supported; nothing there: `usual`. */
static int number(nvmlDevice_t d, const char *key, long long usual, long long *ret)
{
	const json_t *device = find(script_take(), d), *value = json_object_get(device, key);
	int code = !device || json_is_true(json_object_get(device, "lost")) ? NVML_ERROR_GPU_IS_LOST
		   : json_is_null(value) ? NVML_ERROR_NOT_SUPPORTED
					 : NVML_SUCCESS;

	*ret = value ? json_integer_value(value) : usual;
	script_done();
	return code;
}

static int text(nvmlDevice_t d, const char *key, char *ret, unsigned size)
{
	const json_t *device = find(script_take(), d);
	const char *value = json_string_value(json_object_get(device, key));

	snprintf(ret, size, "%s", value ? value : "");
	script_done();
	return value ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

#define NUMBER(symbol, type, key, usual)              \
	API int symbol(nvmlDevice_t d, type *ret);    \
	API int symbol(nvmlDevice_t d, type *ret)     \
	{                                             \
		long long value;                      \
		int code;                             \
                                                      \
		ENTER(#symbol);                       \
		code = number(d, key, usual, &value); \
		if (code == NVML_SUCCESS)             \
			*ret = (type)value;           \
		return code;                          \
	}

NUMBER(nvmlDeviceGetMinorNumber, unsigned int, "minor", d->card)
NUMBER(nvmlDeviceGetNumaNodeId, unsigned int, "numa", 0)
NUMBER(nvmlDeviceGetPowerUsage, unsigned int, "power", 70000)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned int, "power_limit", 700000)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "energy", 123456)
NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned int, "replays", 0)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "clock_reasons", 1)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "clock_reasons", 1)
NUMBER(nvmlDeviceGetPerformanceState, int, "pstate", 0)
NUMBER(nvmlDeviceGetPersistenceMode, int, "persistence", 1)
NUMBER(nvmlDeviceGetMaxMigDeviceCount, unsigned int, "mig_max", 7)
NUMBER(nvmlDeviceGetGpuInstanceId, unsigned int, "gi", 0)
NUMBER(nvmlDeviceGetComputeInstanceId, unsigned int, "ci", 0)
NUMBER(nvmlDeviceGetSupportedEventTypes, unsigned long long, "event_types", 0xc00a)

/* Both have the same number there; -1: one of them has none. */
static int same(nvmlDevice_t a, nvmlDevice_t b, const char *key)
{
	long long x = -1, y = -1;

	if (number(a, key, -1, &x) != NVML_SUCCESS || number(b, key, -1, &y) != NVML_SUCCESS ||
	    x < 0 || y < 0)
		return -1;
	return x == y;
}

API int nvmlDeviceGetP2PStatus(nvmlDevice_t a, nvmlDevice_t b, int index, int *ret);
API int nvmlDeviceGetP2PStatus(nvmlDevice_t a, nvmlDevice_t b, int index, int *ret)
{
	int is = same(a, b, "link");

	ENTER("nvmlDeviceGetP2PStatus");
	if (is < 0 || index != NVML_P2P_NVLINK)
		return NVML_ERROR_NOT_SUPPORTED;
	*ret = is ? NVML_P2P_OK : 5;
	return NVML_SUCCESS;
}

API int nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b, int *ret);
API int nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b, int *ret)
{
	int is = same(a, b, "bridge");

	ENTER("nvmlDeviceGetTopologyCommonAncestor");
	if (is < 0)
		return NVML_ERROR_NOT_SUPPORTED;
	*ret = is ? 20 : 50;
	return NVML_SUCCESS;
}

API int nvmlInit_v2(void);
API int nvmlInit_v2(void)
{
	ENTER("nvmlInit_v2");
	return NVML_SUCCESS;
}

API const char *nvmlErrorString(int code);
API const char *nvmlErrorString(int code)
{
	switch (code) {
	case NVML_ERROR_DRIVER_NOT_LOADED:
		return "Driver Not Loaded";
	case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
		return "Driver/library version mismatch";
	case NVML_ERROR_GPU_IS_LOST:
		return "GPU is lost";
	default:
		return "Unknown Error";
	}
}

API int nvmlSystemGetDriverVersion(char *ret, unsigned int size);
API int nvmlSystemGetDriverVersion(char *ret, unsigned int size)
{
	const char *version;

	ENTER("nvmlSystemGetDriverVersion");
	version = json_string_value(json_object_get(script_take(), "version"));
	snprintf(ret, size, "%s", version ? version : "580.95.05");
	script_done();
	return NVML_SUCCESS;
}

API int nvmlDeviceGetCount_v2(unsigned int *ret);
API int nvmlDeviceGetCount_v2(unsigned int *ret)
{
	ENTER("nvmlDeviceGetCount_v2");
	*ret = (unsigned)json_array_size(json_object_get(script_take(), "devices"));
	script_done();
	return NVML_SUCCESS;
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *ret);
API int nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *ret)
{
	const json_t *card;
	int code;

	ENTER("nvmlDeviceGetHandleByIndex_v2");
	card = json_array_get(json_object_get(script_take(), "devices"), i);
	code = !card || json_is_true(json_object_get(card, "gone")) ? NVML_ERROR_GPU_IS_LOST
								    : NVML_SUCCESS;
	script_done();
	*ret = handle_of(i, -1);
	return code;
}

API int nvmlDeviceGetUUID(nvmlDevice_t d, char *ret, unsigned int size);
API int nvmlDeviceGetUUID(nvmlDevice_t d, char *ret, unsigned int size)
{
	ENTER("nvmlDeviceGetUUID");
	return text(d, "uuid", ret, size);
}

API int nvmlDeviceGetName(nvmlDevice_t d, char *ret, unsigned int size);
API int nvmlDeviceGetName(nvmlDevice_t d, char *ret, unsigned int size)
{
	ENTER("nvmlDeviceGetName");
	return text(d, "name", ret, size);
}

API int nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *ret);
API int nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *ret)
{
	long long bus;
	int code;

	ENTER("nvmlDeviceGetPciInfo_v3");
	code = number(d, "bus", 0xc0 + d->card, &bus);
	memset(ret, 0, sizeof(*ret));
	ret->bus = (unsigned)bus;
	snprintf(ret->busId, sizeof(ret->busId), "00000000:%02X:00.0", ret->bus & 0xff);
	return code;
}

API int nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor);
API int nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor)
{
	long long value;
	int code;

	ENTER("nvmlDeviceGetCudaComputeCapability");
	code = number(d, "capability", 90, &value);
	*major = (int)(value / 10);
	*minor = (int)(value % 10);
	return code;
}

/* What processes have counts as used too. */
static int memory(nvmlDevice_t d, nvmlMemory_v2_t *ret)
{
	long long total, reserved, used, bytes = 0;
	const json_t *process, *list; /* the macro looks at it each time */
	size_t i;
	int code = number(d, "memory", 80LL << 30, &total);

	(void)number(d, "reserved", 512LL << 20, &reserved);
	(void)number(d, "used", 0, &used);
	list = json_object_get(find(script_take(), d), "processes");
	json_array_foreach(list, i, process)
		bytes += json_integer_value(json_object_get(process, "bytes"));
	script_done();
	ret->total = (unsigned long long)total;
	ret->reserved = (unsigned long long)reserved;
	ret->used = (unsigned long long)(used + bytes);
	ret->free = ret->total - reserved - ret->used;
	return code;
}

API int nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *ret);
API int nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *ret)
{
	ENTER("nvmlDeviceGetMemoryInfo_v2");
	return ret->version == NVML_MEMORY_V2 ? memory(d, ret) : 25;
}

API int nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *ret);
API int nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *ret)
{
	nvmlMemory_v2_t now;
	int code;

	ENTER("nvmlDeviceGetMemoryInfo");
	code = memory(d, &now);
	*ret = (nvmlMemory_t){ now.total, now.free, now.used + now.reserved };
	return code;
}

API int nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *ret);
API int nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *ret)
{
	long long gpu, bytes;
	int code;

	ENTER("nvmlDeviceGetUtilizationRates");
	code = number(d, "busy", 37, &gpu);
	(void)number(d, "memory_busy", 12, &bytes);
	*ret = (nvmlUtilization_t){ (unsigned)gpu, (unsigned)bytes };
	return code;
}

static int coder(nvmlDevice_t d, const char *key, unsigned *ret, unsigned *period)
{
	long long value;
	int code = number(d, key, 0, &value);

	*ret = (unsigned)value;
	*period = 1000;
	return code;
}

API int nvmlDeviceGetEncoderUtilization(nvmlDevice_t d, unsigned int *ret, unsigned int *period);
API int nvmlDeviceGetEncoderUtilization(nvmlDevice_t d, unsigned int *ret, unsigned int *period)
{
	ENTER("nvmlDeviceGetEncoderUtilization");
	return coder(d, "encoder", ret, period);
}

API int nvmlDeviceGetDecoderUtilization(nvmlDevice_t d, unsigned int *ret, unsigned int *period);
API int nvmlDeviceGetDecoderUtilization(nvmlDevice_t d, unsigned int *ret, unsigned int *period)
{
	ENTER("nvmlDeviceGetDecoderUtilization");
	return coder(d, "decoder", ret, period);
}

API int nvmlDeviceGetTemperature(nvmlDevice_t d, int sensor, unsigned int *ret);
API int nvmlDeviceGetTemperature(nvmlDevice_t d, int sensor, unsigned int *ret)
{
	long long value;
	int code;

	ENTER("nvmlDeviceGetTemperature");
	code = number(d, "temperature", 41, &value);
	*ret = (unsigned)value;
	return sensor == NVML_TEMPERATURE_GPU ? code : NVML_ERROR_NOT_SUPPORTED;
}

API int nvmlDeviceGetClockInfo(nvmlDevice_t d, int clock, unsigned int *ret);
API int nvmlDeviceGetClockInfo(nvmlDevice_t d, int clock, unsigned int *ret)
{
	long long value;
	int code;

	ENTER("nvmlDeviceGetClockInfo");
	code = number(d, clock == NVML_CLOCK_SM ? "sm_clock" : "memory_clock", 1980, &value);
	*ret = (unsigned)value;
	return code;
}

API int nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, int type, int counter, unsigned long long *ret);
API int nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, int type, int counter, unsigned long long *ret)
{
	long long value;
	int code;

	ENTER("nvmlDeviceGetTotalEccErrors");
	code = number(d, type == NVML_ECC_CORRECTED ? "corrected" : "uncorrected", 0, &value);
	*ret = (unsigned long long)value;
	return counter == NVML_ECC_VOLATILE ? code : NVML_ERROR_NOT_SUPPORTED;
}

API int nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned int *correctable,
				  unsigned int *uncorrectable, unsigned int *pending,
				  unsigned int *failed);
API int nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned int *correctable,
				  unsigned int *uncorrectable, unsigned int *pending,
				  unsigned int *failed)
{
	long long value;
	int code;

	ENTER("nvmlDeviceGetRemappedRows");
	code = number(d, "remap_failure", 0, &value);
	*correctable = *uncorrectable = *pending = 0;
	*failed = (unsigned)value;
	return code;
}

API int nvmlDeviceGetFieldValues(nvmlDevice_t d, int n, nvmlFieldValue_t *values);
API int nvmlDeviceGetFieldValues(nvmlDevice_t d, int n, nvmlFieldValue_t *values)
{
	long long value = 0;

	ENTER("nvmlDeviceGetFieldValues");
	for (int i = 0; i < n; i++) {
		if (values[i].fieldId == NVML_FI_MEMORY_TEMP)
			values[i].nvmlReturn = number(d, "memory_temperature", 50, &value);
		else if (values[i].fieldId == NVML_FI_RECOVERY_ACTION)
			values[i].nvmlReturn = number(d, "recovery", 0, &value);
		else
			values[i].nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
		values[i].valueType = 1;
		values[i].value.uiVal = (unsigned)value;
	}
	return NVML_SUCCESS;
}

/* ---- processes ---- */

static int processes(nvmlDevice_t d, unsigned *n, nvmlProcessInfo_t *ret)
{
	const json_t *list = json_object_get(find(script_take(), d), "processes");
	unsigned max = *n, all = (unsigned)json_array_size(list);

	for (unsigned i = 0; i < (all < max ? all : max); i++) {
		const json_t *p = json_array_get(list, i);

		ret[i] = (nvmlProcessInfo_t){
			.pid = (unsigned)json_integer_value(json_object_get(p, "pid")),
			.usedGpuMemory = (unsigned long long)json_integer_value(
				json_object_get(p, "bytes")),
		};
	}
	script_done();
	*n = all;
	return all > max ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

API int nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n,
						nvmlProcessInfo_t *ret);
API int nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n,
						nvmlProcessInfo_t *ret)
{
	ENTER("nvmlDeviceGetComputeRunningProcesses_v3");
	return processes(d, n, ret);
}

API int nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned int *n,
						nvmlProcessInfo_t *ret);
API int nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned int *n,
						nvmlProcessInfo_t *ret)
{
	ENTER("nvmlDeviceGetComputeRunningProcesses_v2");
	return processes(d, n, ret);
}

API int nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t d, unsigned int *n,
					     nvmlProcessInfo_v1_t *ret);
API int nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t d, unsigned int *n,
					     nvmlProcessInfo_v1_t *ret)
{
	nvmlProcessInfo_t list[64];
	unsigned have = 64;
	int code;

	ENTER("nvmlDeviceGetComputeRunningProcesses");
	code = processes(d, &have, list);
	for (unsigned i = 0; code == NVML_SUCCESS && i < have && i < *n; i++)
		ret[i] = (nvmlProcessInfo_v1_t){ list[i].pid, list[i].usedGpuMemory };
	*n = have;
	return code;
}

/* ---- instances ---- */

API int nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *now, unsigned int *later);
API int nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *now, unsigned int *later)
{
	const json_t *mig; /* json_is_array looks twice */

	ENTER("nvmlDeviceGetMigMode");
	mig = json_object_get(find(script_take(), d), "mig");
	*now = *later = json_is_array(mig);
	script_done();
	return NVML_SUCCESS;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned int i, nvmlDevice_t *ret);
API int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned int i, nvmlDevice_t *ret)
{
	unsigned n;

	ENTER("nvmlDeviceGetMigDeviceHandleByIndex");
	n = (unsigned)json_array_size(json_object_get(find(script_take(), d), "mig"));
	script_done();
	if (i >= n || i >= PARTS)
		return NVML_ERROR_NOT_FOUND;
	*ret = handle_of((unsigned)d->card, (int)i);
	return NVML_SUCCESS;
}

/* ---- events ---- */

API int nvmlEventSetCreate(nvmlEventSet_t *ret);
API int nvmlEventSetCreate(nvmlEventSet_t *ret)
{
	ENTER("nvmlEventSetCreate");
	*ret = &the_set;
	return NVML_SUCCESS;
}

API int nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set);
API int nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set)
{
	(void)d;
	(void)types;
	ENTER("nvmlDeviceRegisterEvents");
	return set ? NVML_SUCCESS : 2;
}

/* The first event whose id is above that of the last one. */
static int next_event(nvmlEventSet_t set, nvmlEventData_t *ret)
{
	const json_t *events = json_object_get(script_take(), "events"), *e;
	int code = NVML_ERROR_TIMEOUT;
	size_t i;

	json_array_foreach(events, i, e)
	{
		json_int_t id = json_integer_value(json_object_get(e, "id"));

		if (id <= set->seen)
			continue;
		set->seen = id;
		*ret = (nvmlEventData_t){
			.device = handle_of(
				(unsigned)json_integer_value(json_object_get(e, "device")), -1),
			.eventType = (unsigned long long)json_integer_value(
				json_object_get(e, "type")),
			.eventData = (unsigned long long)json_integer_value(
				json_object_get(e, "data")),
		};
		code = NVML_SUCCESS;
		break;
	}
	script_done();
	return code;
}

API int nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *ret, unsigned int ms);
API int nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *ret, unsigned int ms)
{
	int code = NVML_ERROR_TIMEOUT;

	ENTER("nvmlEventSetWait_v2");
	for (unsigned i = 0; i < ms && code == NVML_ERROR_TIMEOUT; i += 5) {
		code = next_event(set, ret);
		if (code == NVML_ERROR_TIMEOUT)
			usleep(5000);
	}
	return code;
}

API int nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *ret, unsigned int ms);
API int nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *ret, unsigned int ms)
{
	ENTER("nvmlEventSetWait");
	return nvmlEventSetWait_v2(set, ret, ms);
}

/* ---- activity: "gpm" of a device, by the numbers of its metrics ---- */

struct nvmlGpmSample_st {
	nvmlDevice_t of;
	unsigned long long serial;
};
static struct nvmlGpmSample_st gpm_samples[2 * CARDS * (PARTS + 1)];

API int nvmlGpmQueryDeviceSupport(nvmlDevice_t d, nvmlGpmSupport_t *ret);
API int nvmlGpmQueryDeviceSupport(nvmlDevice_t d, nvmlGpmSupport_t *ret)
{
	ENTER("nvmlGpmQueryDeviceSupport");
	ret->isSupportedDevice = json_object_get(find(script_take(), d), "gpm") != NULL;
	script_done();
	return ret->version == NVML_GPM_VERSION ? NVML_SUCCESS : INVALID_ARGUMENT;
}

API int nvmlGpmSampleAlloc(nvmlGpmSample_t *ret);
API int nvmlGpmSampleAlloc(nvmlGpmSample_t *ret)
{
	static unsigned n;

	ENTER("nvmlGpmSampleAlloc");
	*ret = &gpm_samples[n++ % (2 * CARDS * (PARTS + 1))];
	return NVML_SUCCESS;
}

API int nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t sample);
API int nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t sample)
{
	static unsigned long long serial;

	ENTER("nvmlGpmSampleGet");
	*sample = (struct nvmlGpmSample_st){ d, ++serial };
	return NVML_SUCCESS;
}

/* As the driver: of two samples of one device, the older one first. */
API int nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get);
API int nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get)
{
	const json_t *values, *value;

	ENTER("nvmlGpmMetricsGet");
	if (get->version != NVML_GPM_VERSION || !get->sample1->of ||
	    get->sample1->of != get->sample2->of || get->sample1->serial >= get->sample2->serial)
		return INVALID_ARGUMENT;
	values = json_object_get(find(script_take(), get->sample1->of), "gpm");
	for (unsigned i = 0; i < get->numMetrics; i++) {
		nvmlGpmMetric_t *m = &get->metrics[i];
		char key[16];

		snprintf(key, sizeof(key), "%u", m->metricId);
		value = json_object_get(values, key);
		m->nvmlReturn = value ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
		m->value = json_number_value(value);
	}
	script_done();
	return NVML_SUCCESS;
}

/* Each has the arguments that gpud gives it. */
#define SAME(member, symbol, args) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(&symbol), int(*) args), #symbol);
NVML_CALLS(SAME)
