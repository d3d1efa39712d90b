/* nvidia.c - GPUs by NVIDIA's driver, inside gpud. The same for its test doubles (fake:DIR). */
#include "nvidia.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#define FAKE        "fake:"
#define FAKE_SCRIPT "GANTRY_FAKE_GPU" /* where a test double finds its script */
#define WANTED_EVENTS \
	(NVML_EVENT_DBE | NVML_EVENT_XID | NVML_EVENT_UNAVAILABLE | NVML_EVENT_RECOVERY_ACTION)

struct device {
	nvmlDevice_t handle, card; /* card: the GPU of which it is an instance, or itself */
	struct gt_gpu is;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[GT_NODE_GPUS_MAX];
static size_t n_devices;
static nvmlEventSet_t events;
static bool has_begun;
static char root[GPUD_CONFIG];
static enum gt_gpu_backend backend = GT_GPU_NVIDIA;

/* ---- discovery ---- */

/* Only what is printable, and nothing that would end a name elsewhere. */
static void clean(char *text)
{
	for (char *p = text; *p; p++)
		if (*p < ' ' || *p >= 0x7f || strchr(",:\"\\", *p))
			*p = '-';
}

/* By the driver, else as the kernel says; never guessed. */
static int numa_node(nvmlDevice_t card, const char *pci)
{
	char path[96], text[16];
	unsigned node = 0;

	if (NVML_CALL(numa, card, &node) == NVML_SUCCESS && node < 4096)
		return (int)node;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", pci);
	if (!pci[0] || backend == GT_GPU_FAKE ||
	    gt_os_read_at(-1, path, text, sizeof(text), NULL) < 0)
		return -1;
	return (int)strtol(text, NULL, 10);
}

/* What an instance shares with its card. */
static void fill_card(nvmlDevice_t card, struct gt_gpu *gpu)
{
	nvmlPciInfo_t pci = { .domain = 0 };
	unsigned minor = 0;
	int major = 0, low = 0;

	*gpu = gt_gpu_unknown;
	gpu->backend = backend;
	if (NVML_CALL(pci, card, &pci) == NVML_SUCCESS)
		snprintf(gpu->pci, sizeof(gpu->pci), "%04x:%02x:%02x.0", pci.domain & 0xffff,
			 pci.bus & 0xff, pci.device & 0xff);
	if (NVML_CALL(minor, card, &minor) == NVML_SUCCESS)
		gpu->minor = (int)minor;
	if (NVML_CALL(capability, card, &major, &low) == NVML_SUCCESS && major > 0 && low >= 0)
		gpu->capability = (uint32_t)(major * 10 + low);
	gpu->numa = numa_node(card, gpu->pci);
}

/* Returns false for one that has no name, which is then no GPU of ours. */
static bool fill_own(nvmlDevice_t handle, struct gt_gpu *gpu)
{
	nvmlMemory_v2_t memory;
	char name[96] = "";

	if (NVML_CALL(uuid, handle, gpu->uuid, sizeof(gpu->uuid)) != NVML_SUCCESS)
		return false;
	gpu->uuid[sizeof(gpu->uuid) - 1] = '\0';
	if (!gt_gpu_uuid_ok(gpu->uuid))
		return false;
	if (NVML_CALL(name, handle, name, sizeof(name)) == NVML_SUCCESS)
		clean(name);
	gt_strcopy(gpu->model, sizeof(gpu->model), name);
	if (!gt_gpu_model_ok(gpu->model))
		gt_strcopy(gpu->model, sizeof(gpu->model), "NVIDIA GPU");
	if (nvml_memory(handle, &memory) == NVML_SUCCESS)
		gpu->memory_bytes = GT_MIN((uint64_t)memory.total, (uint64_t)GT_GPU_BYTES_MAX);
	else
		gpu->health = GT_GPU_LOST;
	return true;
}

static void add(struct device *list, size_t *n, nvmlDevice_t handle, nvmlDevice_t card,
		const struct gt_gpu *gpu)
{
	if (*n < GT_NODE_GPUS_MAX)
		list[(*n)++] = (struct device){ handle, card, *gpu };
	else
		gt_warn("gpud: more than %d GPUs: %s is not used", GT_NODE_GPUS_MAX, gpu->uuid);
}

/* The instances of a partitioned GPU. */
static void list_instances(nvmlDevice_t card, const struct gt_gpu *like, struct device *list,
			   size_t *n)
{
	unsigned count = 0;

	if (NVML_CALL(mig_count, card, &count) != NVML_SUCCESS)
		return;
	for (unsigned i = 0; i < GT_MIN(count, 64u); i++) {
		struct gt_gpu gpu = *like;
		unsigned gi = 0, ci = 0;
		nvmlDevice_t handle;

		if (NVML_CALL(mig_handle, card, i, &handle) != NVML_SUCCESS ||
		    NVML_CALL(gpu_instance, handle, &gi) != NVML_SUCCESS ||
		    NVML_CALL(compute_instance, handle, &ci) != NVML_SUCCESS ||
		    !fill_own(handle, &gpu))
			continue;
		gpu.gi = (int)gi;
		gpu.ci = (int)ci;
		add(list, n, handle, card, &gpu);
	}
}

/* Instances are near to nobody: programs of several can not be. */
static void fill_near(struct device *list, size_t n)
{
	nvmlDevice_t cards[GT_NODE_GPUS_MAX];
	int link[GT_NODE_GPUS_MAX], bridge[GT_NODE_GPUS_MAX];
	size_t at[GT_NODE_GPUS_MAX], whole = 0;

	for (size_t i = 0; i < n; i++) {
		if (list[i].handle != list[i].card)
			continue;
		cards[whole] = list[i].card;
		at[whole++] = i;
	}
	nvml_near(cards, whole, link, bridge);
	for (size_t i = 0; i < whole; i++) {
		list[at[i]].is.link = link[i];
		list[at[i]].is.bridge = bridge[i];
	}
}

static int list(struct gpud *g, struct gt_gpu *ret, size_t *ret_n, struct gt_err *err)
{
	static struct device found[GT_NODE_GPUS_MAX]; /* of the one thread that lists */
	unsigned count = 0, mig, later;
	size_t n = 0;
	int code = NVML_CALL(count, &count);

	(void)g;
	if (code != NVML_SUCCESS)
		return nvml_fail(err, code, "nvmlDeviceGetCount_v2");
	for (unsigned i = 0; i < GT_MIN(count, 64u); i++) {
		nvmlDevice_t card;
		struct gt_gpu gpu;

		code = NVML_CALL(handle, i, &card);
		if (code != NVML_SUCCESS) {
			/* One that fell off is not found any more: it is kept as lost by who
			 * remembers it. */
			continue;
		}
		fill_card(card, &gpu);
		if (NVML_CALL(mig_mode, card, &mig, &later) == NVML_SUCCESS && mig)
			list_instances(card, &gpu, found, &n);
		else if (fill_own(card, &gpu))
			add(found, &n, card, card, &gpu);
	}
	fill_near(found, n);
	pthread_mutex_lock(&lock);
	memcpy(devices, found, sizeof(devices));
	n_devices = n;
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < n; i++)
		ret[i] = found[i].is;
	*ret_n = n;
	return 0;
}

/* ---- the begin ---- */

static int begin(struct gpud *g, struct gt_gpu_driver *ret, struct gt_err *err)
{
	const char *gpus = g->config.gpus;

	gt_strcopy(root, sizeof(root), g->config.driver_root);
	if (gt_starts_with(gpus, FAKE)) {
		char *script;

		backend = GT_GPU_FAKE;
		gt_strcopy(root, sizeof(root), gpus + strlen(FAKE));
		script = strchr(root, ',');
		if (script) {
			*script = '\0';
			setenv(FAKE_SCRIPT, script + 1, 1);
		}
	}
	ret->backend = backend;
	if (nvml_begin(root, ret->version, sizeof(ret->version), err) < 0)
		return -err->code;
	has_begun = true;
	return 0;
}

static void begin_cuda(struct gpud *g, char *ret, size_t size)
{
	(void)g;
	cuda_begin(root, ret, size);
}

/* ---- events ---- */

static int register_events(void)
{
	static bool done;

	if (done)
		return events ? 0 : -ENOTSUP;
	done = true;
	if (NVML_CALL(event_set, &events) != NVML_SUCCESS) {
		events = NULL;
		return -ENOTSUP;
	}
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_devices; i++) {
		unsigned long long has = 0;

		if (i > 0 && devices[i].card == devices[i - 1].card)
			continue;
		if (NVML_CALL(event_types, devices[i].card, &has) == NVML_SUCCESS &&
		    (has & WANTED_EVENTS))
			(void)NVML_CALL(event_register, devices[i].card, has & WANTED_EVENTS,
					events);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

/* Its name; "" = of none that is known: then of all. An instance's error is its card's. */
static void name_device(nvmlDevice_t card, struct gt_gpu_incident *ret)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_devices; i++) {
		if (devices[i].card != card)
			continue;
		if (devices[i].handle == card)
			gt_strcopy(ret->uuid, sizeof(ret->uuid), devices[i].is.uuid);
		gt_strcopy(ret->pci, sizeof(ret->pci), devices[i].is.pci);
	}
	pthread_mutex_unlock(&lock);
}

static int incident(struct gpud *g, unsigned max_ms, struct gt_gpu_incident *ret)
{
	nvmlEventData_t e = { .device = NULL };
	int code;

	(void)g;
	if (register_events() < 0)
		return -ENOTSUP;
	code = NVML_CALL(event_wait_v2, events, &e, max_ms);
	if (code == NVML_ERROR_FUNCTION_NOT_FOUND)
		code = NVML_CALL(event_wait, events, &e, max_ms);
	if (code == NVML_ERROR_FUNCTION_NOT_FOUND || code == NVML_ERROR_NOT_SUPPORTED)
		return -ENOTSUP;
	if (code != NVML_SUCCESS) {
		if (code != NVML_ERROR_TIMEOUT)
			usleep(max_ms * 1000); /* one that is lost answers at once, each time */
		return -EAGAIN;
	}
	*ret = (struct gt_gpu_incident){ .action = -1 };
	name_device(e.device, ret);
	if (e.eventType & NVML_EVENT_XID)
		ret->xid = (uint32_t)e.eventData;
	if (e.eventType & NVML_EVENT_DBE)
		ret->dbe = 1;
	ret->action = nvml_recovery_action(e.device);
	return 0;
}

/* ---- requests and looks ---- */

static void sample(struct gpud *g, size_t i, struct gt_gpu_sample *ret)
{
	nvmlDevice_t handle;

	(void)g;
	pthread_mutex_lock(&lock);
	handle = i < n_devices ? devices[i].handle : NULL;
	pthread_mutex_unlock(&lock);
	if (handle)
		nvml_sample(handle, ret);
}

static nvmlDevice_t find(const char *uuid)
{
	nvmlDevice_t handle = NULL;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_devices; i++)
		if (strcmp(devices[i].is.uuid, uuid) == 0)
			handle = devices[i].handle;
	pthread_mutex_unlock(&lock);
	return handle;
}

static int ask_gpu(const struct gt_gpu_request *rq, struct gt_gpu_reply *ret, struct gt_err *err)
{
	nvmlDevice_t handle = find(rq->uuid);
	nvmlMemory_v2_t memory;
	int code;

	if (!handle)
		return gt_err_set(err, ENOENT, "gpu_unknown", "there is no GPU %s", rq->uuid);
	if (rq->kind == GT_GPU_OP_REREAD) {
		ret->health = nvml_health(handle);
		return 0;
	}
	code = rq->kind == GT_GPU_OP_MEMORY
		       ? nvml_memory(handle, &memory)
		       : nvml_processes(handle, ret->processes, &ret->n_processes, &ret->more);
	ret->driver = code;
	if (code != NVML_SUCCESS)
		return nvml_fail(err, code, gt_gpu_op_name(rq->kind));
	if (rq->kind == GT_GPU_OP_MEMORY) {
		ret->free_bytes = memory.free;
		ret->total_bytes = memory.total;
	}
	return 0;
}

static int ask(struct gpud *g, const struct gt_gpu_request *rq, struct gt_gpu_reply *ret,
	       struct gt_err *err)
{
	(void)g;
	if (!has_begun)
		return gt_err_set(err, ENOTSUP, "gpu_unsupported", "there is no driver");
	if (rq->kind >= GT_GPU_OP_PROCESSES)
		return ask_gpu(rq, ret, err);
	return cuda_ask(rq, ret, err);
}

const struct gpu_driver gpud_nvidia = { begin, list, sample, incident, begin_cuda, ask, NULL };
