/* gpm.c - how busy the parts of a GPU were, by NVML's performance monitoring (GPM): the difference
 * of two samples, of which a device has two that take turns. */
#include <math.h>

#include "nvidia.h"

#define PERCENT_PPM 10000.0

static const struct row {
	unsigned metric;
	enum gt_gpu_stat stat;
	double scale, most; /* to our unit; what is beyond belief is not told */
} rows[] = {
	{ NVML_GPM_GRAPHICS_UTIL, GT_GPU_STAT_GR_ENGINE_ACTIVE, PERCENT_PPM, 100 },
	{ NVML_GPM_ANY_TENSOR_UTIL, GT_GPU_STAT_TENSOR_ACTIVE, PERCENT_PPM, 100 },
	{ NVML_GPM_DRAM_BW_UTIL, GT_GPU_STAT_DRAM_ACTIVE, PERCENT_PPM, 100 },
	{ NVML_GPM_PCIE_TX_PER_SEC, GT_GPU_STAT_PCIE_TX, GT_MIB, 1 << 24 },
	{ NVML_GPM_PCIE_RX_PER_SEC, GT_GPU_STAT_PCIE_RX, GT_MIB, 1 << 24 },
};

static struct watched {
	nvmlDevice_t device;
	nvmlGpmSample_t newest, oldest;
	bool counts, taken; /* taken: newest has a sample */
} watched[GT_NODE_GPUS_MAX];

static bool begin(struct watched *w)
{
	nvmlGpmSupport_t support = { .version = NVML_GPM_VERSION };

	return NVML_CALL(gpm_support, w->device, &support) == NVML_SUCCESS &&
	       support.isSupportedDevice && NVML_CALL(gpm_alloc, &w->newest) == NVML_SUCCESS &&
	       NVML_CALL(gpm_alloc, &w->oldest) == NVML_SUCCESS;
}

/* Handles are the library's own for as long as it is loaded. NULL: there are too many. */
static struct watched *find(nvmlDevice_t device)
{
	for (size_t i = 0; i < GT_NODE_GPUS_MAX; i++) {
		struct watched *w = &watched[i];

		if (w->device == device)
			return w;
		if (w->device)
			continue;
		w->device = device;
		w->counts = begin(w);
		return w;
	}
	return NULL;
}

void nvml_sample_activity(nvmlDevice_t device, struct gt_gpu_stats *ret)
{
	static nvmlGpmMetricsGet_t get; /* large, and of the one thread that looks */
	struct watched *w = find(device);
	nvmlGpmSample_t reused;
	bool had;

	if (!w || !w->counts)
		return;
	had = w->taken;
	reused = w->oldest;
	w->oldest = w->newest;
	w->newest = reused;
	w->taken = NVML_CALL(gpm_sample, device, reused) == NVML_SUCCESS;
	if (!had || !w->taken)
		return;
	get = (nvmlGpmMetricsGet_t){ .version = NVML_GPM_VERSION,
				     .numMetrics = GT_LEN(rows),
				     .sample1 = w->oldest,
				     .sample2 = w->newest };
	for (size_t i = 0; i < GT_LEN(rows); i++)
		get.metrics[i].metricId = rows[i].metric;
	if (NVML_CALL(gpm_metrics, &get) != NVML_SUCCESS)
		return;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		const nvmlGpmMetric_t *m = &get.metrics[i];

		if (m->nvmlReturn == NVML_SUCCESS && m->value >= 0 && m->value <= rows[i].most)
			gt_gpu_stat_set(ret, rows[i].stat,
					(uint64_t)lround(m->value * rows[i].scale));
	}
}
