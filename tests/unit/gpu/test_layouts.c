/* test_layouts.c - our declarations of NVML against those that somebody else made from its header:
 * the bindings of Debian's librust-nvml-wrapper-sys-dev, where bindgen wrote sizes and offsets
 * down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>

#include "nvml.h"

#define BINDINGS "/usr/share/cargo/registry/nvml-wrapper-sys-*/src/bindings.rs"

/* One member of a struct as the bindings list it: its name there, where it is here. */
struct member {
	const char *type, *name;
	size_t at, size;
};

#define MEMBER(type, rust, member, rust_member)                                        \
	{                                                                              \
		rust, rust_member, offsetof(type, member), sizeof(((type *)0)->member) \
	}

static const struct member members[] = {
	MEMBER(nvmlPciInfo_t, "nvmlPciInfo_st", domain, "domain"),
	MEMBER(nvmlPciInfo_t, "nvmlPciInfo_st", bus, "bus"),
	MEMBER(nvmlPciInfo_t, "nvmlPciInfo_st", device, "device"),
	MEMBER(nvmlPciInfo_t, "nvmlPciInfo_st", busId, "busId"),
	MEMBER(nvmlMemory_t, "nvmlMemory_st", total, "total"),
	MEMBER(nvmlMemory_t, "nvmlMemory_st", free, "free"),
	MEMBER(nvmlMemory_t, "nvmlMemory_st", used, "used"),
	MEMBER(nvmlMemory_v2_t, "nvmlMemory_v2_st", version, "version"),
	MEMBER(nvmlMemory_v2_t, "nvmlMemory_v2_st", total, "total"),
	MEMBER(nvmlMemory_v2_t, "nvmlMemory_v2_st", reserved, "reserved"),
	MEMBER(nvmlMemory_v2_t, "nvmlMemory_v2_st", free, "free"),
	MEMBER(nvmlMemory_v2_t, "nvmlMemory_v2_st", used, "used"),
	MEMBER(nvmlUtilization_t, "nvmlUtilization_st", gpu, "gpu"),
	MEMBER(nvmlUtilization_t, "nvmlUtilization_st", memory, "memory"),
	MEMBER(nvmlProcessInfo_v1_t, "nvmlProcessInfo_v1_st", pid, "pid"),
	MEMBER(nvmlProcessInfo_v1_t, "nvmlProcessInfo_v1_st", usedGpuMemory, "usedGpuMemory"),
	MEMBER(nvmlProcessInfo_t, "nvmlProcessInfo_st", pid, "pid"),
	MEMBER(nvmlProcessInfo_t, "nvmlProcessInfo_st", usedGpuMemory, "usedGpuMemory"),
	MEMBER(nvmlProcessInfo_t, "nvmlProcessInfo_st", gpuInstanceId, "gpuInstanceId"),
	MEMBER(nvmlProcessInfo_t, "nvmlProcessInfo_st", computeInstanceId, "computeInstanceId"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", fieldId, "fieldId"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", scopeId, "scopeId"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", timestamp, "timestamp"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", valueType, "valueType"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", nvmlReturn, "nvmlReturn"),
	MEMBER(nvmlFieldValue_t, "nvmlFieldValue_st", value, "value"),
	MEMBER(nvmlEventData_t, "nvmlEventData_st", device, "device"),
	MEMBER(nvmlEventData_t, "nvmlEventData_st", eventType, "eventType"),
	MEMBER(nvmlEventData_t, "nvmlEventData_st", eventData, "eventData"),
	MEMBER(nvmlEventData_t, "nvmlEventData_st", gpuInstanceId, "gpuInstanceId"),
	MEMBER(nvmlGpmSupport_t, "nvmlGpmSupport_t", version, "version"),
	MEMBER(nvmlGpmSupport_t, "nvmlGpmSupport_t", isSupportedDevice, "isSupportedDevice"),
	MEMBER(nvmlGpmMetric_t, "nvmlGpmMetric_t", metricId, "metricId"),
	MEMBER(nvmlGpmMetric_t, "nvmlGpmMetric_t", nvmlReturn, "nvmlReturn"),
	MEMBER(nvmlGpmMetric_t, "nvmlGpmMetric_t", value, "value"),
	MEMBER(nvmlGpmMetricsGet_t, "nvmlGpmMetricsGet_t", version, "version"),
	MEMBER(nvmlGpmMetricsGet_t, "nvmlGpmMetricsGet_t", numMetrics, "numMetrics"),
	MEMBER(nvmlGpmMetricsGet_t, "nvmlGpmMetricsGet_t", sample1, "sample1"),
	MEMBER(nvmlGpmMetricsGet_t, "nvmlGpmMetricsGet_t", sample2, "sample2"),
};

static char *bindings;

/* The size of a type of Rust's in bytes, as these structs use them; 0 = one of the bindings' own.
 */
static size_t rust_size(const char *type, size_t len)
{
	static const struct {
		const char *name;
		size_t size;
	} rows[] = {
		{ "raw::c_uint", 4 },
		{ "raw::c_int", 4 },
		{ "raw::c_ulonglong", 8 },
		{ "raw::c_longlong", 8 },
		{ "raw::c_ulong", 8 },
		{ "[raw::c_char; 16usize]", 16 },
		{ "[raw::c_char; 32usize]", 32 },
		{ "nvmlDevice_t", 8 },
		{ "nvmlReturn_t", 4 },
		{ "nvmlValueType_t", 4 },
		{ "nvmlValue_t", 8 },
		{ "nvmlGpmSample_t", 8 },
		{ "f64", 8 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strlen(rows[i].name) == len && strncmp(rows[i].name, type, len) == 0)
			return rows[i].size;
	return 0;
}

/* Lays the members out as #[repr(C)] does, up to `name`. */
static void find_member(const char *type, const char *name, size_t *at, size_t *size)
{
	char head[96];
	const char *line;

	snprintf(head, sizeof(head), "pub struct %s {", type);
	line = strstr(bindings, head);
	if (!line)
		fail_msg("the bindings have no %s", type);
	*at = 0;
	for (line = strchr(line, '\n') + 1; *line != '}'; line = strchr(line, '\n') + 1) {
		const char *member = strstr(line, "pub "), *colon = strstr(line, ": ");
		size_t len = strcspn(colon + 2, "\n") - 1, align;

		*size = rust_size(colon + 2, len);
		if (!*size)
			fail_msg("%s: a type that is not known: %.*s", type, (int)len, colon + 2);
		align = colon[2] == '[' ? 1 : *size;
		*at = (*at + align - 1) / align * align;
		if (strncmp(member + 4, name, strlen(name)) == 0 &&
		    member + 4 + strlen(name) == colon)
			return;
		*at += *size;
	}
	fail_msg("%s has no %s", type, name);
}

static void each_member_is_where_others_have_it(void **state)
{
	(void)state;
	if (!bindings) {
		print_message("package librust-nvml-wrapper-sys-dev is not installed\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		size_t at = 0, size = 0;

		find_member(members[i].type, members[i].name, &at, &size);
		if (at != members[i].at || size != members[i].size)
			fail_msg("%s.%s: %zu bytes at %zu here, %zu at %zu there", members[i].type,
				 members[i].name, members[i].size, members[i].at, size, at);
	}
}

static void each_number_is_what_others_have(void **state)
{
	static const struct {
		const char *name;
		unsigned value;
	} rows[] = {
		{ "nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED", NVML_ERROR_NOT_SUPPORTED },
		{ "nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED", NVML_ERROR_DRIVER_NOT_LOADED },
		{ "nvmlReturn_enum_NVML_ERROR_TIMEOUT", NVML_ERROR_TIMEOUT },
		{ "nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND", NVML_ERROR_FUNCTION_NOT_FOUND },
		{ "nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST", NVML_ERROR_GPU_IS_LOST },
		{ "nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED", NVML_ERROR_RESET_REQUIRED },
		{ "nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH",
		  NVML_ERROR_LIB_RM_VERSION_MISMATCH },
		{ "nvmlClockType_enum_NVML_CLOCK_SM", NVML_CLOCK_SM },
		{ "nvmlClockType_enum_NVML_CLOCK_MEM", NVML_CLOCK_MEM },
		{ "nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED",
		  NVML_ECC_UNCORRECTED },
		{ "nvmlEccCounterType_enum_NVML_VOLATILE_ECC", NVML_ECC_VOLATILE },
		{ "NVML_GPM_SUPPORT_VERSION", NVML_GPM_VERSION },
		{ "NVML_GPM_METRICS_GET_VERSION", NVML_GPM_VERSION },
		{ "nvmlGpmMetricId_t_NVML_GPM_METRIC_GRAPHICS_UTIL", NVML_GPM_GRAPHICS_UTIL },
		{ "nvmlGpmMetricId_t_NVML_GPM_METRIC_ANY_TENSOR_UTIL", NVML_GPM_ANY_TENSOR_UTIL },
		{ "nvmlGpmMetricId_t_NVML_GPM_METRIC_DRAM_BW_UTIL", NVML_GPM_DRAM_BW_UTIL },
		{ "nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_TX_PER_SEC", NVML_GPM_PCIE_TX_PER_SEC },
		{ "nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_RX_PER_SEC", NVML_GPM_PCIE_RX_PER_SEC },
		{ "NVML_FI_DEV_MEMORY_TEMP", NVML_FI_MEMORY_TEMP },
		{ "nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_NVLINK", NVML_P2P_NVLINK },
		{ "nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_OK", NVML_P2P_OK },
		{ "nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE", NVML_TOPOLOGY_HOSTBRIDGE },
		{ "nvmlEventTypeXidCriticalError", NVML_EVENT_XID },
		{ "nvmlEventTypeDoubleBitEccError", NVML_EVENT_DBE },
	};

	(void)state;
	if (!bindings)
		skip();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char head[128];
		const char *at;

		snprintf(head, sizeof(head), "pub const %s:", rows[i].name);
		at = strstr(bindings, head);
		if (!at) {
			print_message("not in the bindings: %s\n", rows[i].name);
			continue;
		}
		at = strstr(at, "= ");
		if (strtoul(at + 2, NULL, 0) != rows[i].value)
			fail_msg("%s is %.12s there", rows[i].name, at + 2);
	}
}

static int load(void **state)
{
	glob_t found = { 0 };
	FILE *f;
	size_t n;

	(void)state;
	if (glob(BINDINGS, 0, NULL, &found) == 0 && (f = fopen(found.gl_pathv[0], "re"))) {
		bindings = calloc(1, 4 << 20);
		n = fread(bindings, 1, (4 << 20) - 1, f);
		bindings[n] = '\0';
		fclose(f);
	}
	globfree(&found);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	free(bindings);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_member_is_where_others_have_it),
		cmocka_unit_test(each_number_is_what_others_have),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
