/* gpus.c - a node's GPUs, from the backend that its configuration names. */
#include <gantry/gpu/gpu.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "backend.h"
#include "library.h"

#define SIM     "sim:"
#define FAKE    "fake:"
#define PCI_DIR "/sys/bus/pci/devices"

struct gt_gpus {
	struct gt_gpu list[GT_NODE_GPUS_MAX];
	size_t n;
	bool known;
	struct gt_gpu_driver driver;
	struct gt_gpu_helper *helper;
	struct gt_gpus_events events;
};

/* ---- configuration ---- */

static bool is_none(const char *gpus)
{
	return !gpus || !*gpus || strcmp(gpus, GT_GPUS_NONE) == 0;
}

static int check_fake(const char *gpus, struct gt_err *err)
{
	const char *dir = gpus + strlen(FAKE), *script = strchr(dir, ',');

	if (*dir != '/' || (script && script[1] != '/') || strlen(dir) >= GPU_LIBRARY_PATH / 2)
		return gt_err_set(err, EINVAL, "bad_gpus",
				  "\"%.100s\": write fake:DIR or fake:DIR,FILE with absolute "
				  "paths: DIR has test doubles of the driver's libraries",
				  gpus);
	return 0;
}

int gt_gpus_check(const char *gpus, struct gt_err *err)
{
	struct gt_gpu list[GT_NODE_GPUS_MAX];
	size_t n;

	if (is_none(gpus) || strcmp(gpus, GT_GPUS_AUTO) == 0 || strcmp(gpus, "nvidia") == 0)
		return 0;
	if (gt_starts_with(gpus, SIM) || strcmp(gpus, "sim") == 0)
		return gpu_sim_list(gpus + GT_MIN(strlen(SIM), strlen(gpus)), "node", list, &n,
				    NULL, 0, err);
	if (gt_starts_with(gpus, FAKE))
		return check_fake(gpus, err);
	return gt_err_set(err, EINVAL, "bad_gpus",
			  "\"%.64s\" is no source of GPUs; write auto, none, nvidia, or simulated "
			  "GPUs such as sim:4x80GiB:H100",
			  gpus);
}

/* Vendor NVIDIA, class display controller. */
static size_t count_on_pci(void)
{
	DIR *d = opendir(PCI_DIR);
	struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d))) {
		char path[320], vendor[16] = "", class[16] = "";

		snprintf(path, sizeof(path), PCI_DIR "/%s/vendor", e->d_name);
		if (e->d_name[0] == '.' ||
		    gt_os_read_at(-1, path, vendor, sizeof(vendor), NULL) < 0 ||
		    strcmp(vendor, "0x10de") != 0)
			continue;
		snprintf(path, sizeof(path), PCI_DIR "/%s/class", e->d_name);
		n += gt_os_read_at(-1, path, class, sizeof(class), NULL) == 0 &&
		     gt_starts_with(class, "0x03");
	}
	if (d)
		closedir(d);
	return n;
}

/* Cheap, and no library is loaded: a machine without a GPU has no gpud. */
static bool has_nvidia(const char *root)
{
	char path[GPU_LIBRARY_PATH];

	return access("/proc/driver/nvidia/version", F_OK) == 0 || count_on_pci() > 0 ||
	       gpu_library_find(root, GPU_LIBRARY_NVML, path);
}

/* ---- what gpud tells ---- */

static void changed(struct gt_gpus *g)
{
	if (g->events.on_change)
		g->events.on_change(g->events.arg);
}

static void on_driver(const struct gt_gpu_driver *driver, void *arg)
{
	struct gt_gpus *g = arg;
	bool new_state = driver->state != g->driver.state;
	size_t cards;

	g->driver = *driver;
	if (driver->state == GT_GPU_DRIVER_FAILED && new_state) {
		cards = driver->backend == GT_GPU_NVIDIA ? count_on_pci() : 0;
		gt_warn("gpus: %s%s", driver->text,
			cards ? "; the machine has NVIDIA GPUs that can not be used" : "");
	} else if (driver->state == GT_GPU_DRIVER_READY && new_state) {
		gt_info("gpus: %zu of backend %s, driver %s", g->n,
			gt_gpu_backend_name(driver->backend), driver->version);
	}
	changed(g);
}

static void on_gpus(const struct gt_gpu *gpus, size_t n, void *arg)
{
	struct gt_gpus *g = arg;

	memcpy(g->list, gpus, n * sizeof(*gpus));
	g->n = n;
	g->known = true;
	changed(g);
}

/* ---- opening ---- */

static int start_helper(struct gt_loop *loop, const struct gt_gpus_config *config, const char *gpus,
			struct gt_gpus *g, struct gt_err *err)
{
	struct gt_gpu_helper_config hc = {
		.program = config->helper,
		.gpus = gpus,
		.node = config->node,
		.driver_root = config->driver_root,
		.events = { .on_driver = on_driver, .on_gpus = on_gpus, .arg = g },
	};
	int r = gt_gpu_helper_new(loop, &hc, &g->helper, err);

	if (r == 0)
		gt_gpu_helper_await(g->helper, config->await_ms);
	return r;
}

int gt_gpus_open(struct gt_loop *loop, const struct gt_gpus_config *config, struct gt_gpus **ret,
		 struct gt_err *err)
{
	gt_auto(free) struct gt_gpus *g = gt_alloc(sizeof(*g));
	const char *gpus = config->gpus;
	int r = gt_gpus_check(gpus, err);

	if (r < 0)
		return r;
	g->known = true;
	if (is_none(gpus) ||
	    (strcmp(gpus, GT_GPUS_AUTO) == 0 && !has_nvidia(config->driver_root))) {
		*ret = gt_steal(&g);
		return 0;
	}
	if (strcmp(gpus, GT_GPUS_AUTO) == 0)
		gpus = "nvidia";
	g->events = config->events;
	g->driver = (struct gt_gpu_driver){ .state = GT_GPU_DRIVER_STARTING,
					    .backend = GT_GPU_NVIDIA,
					    .text = "it has not answered yet" };
	g->known = false;
	if (gt_starts_with(gpus, FAKE))
		g->driver.backend = GT_GPU_FAKE;
	if (gt_starts_with(gpus, SIM)) {
		g->known = true;
		g->driver = (struct gt_gpu_driver){ .state = GT_GPU_DRIVER_READY };
		r = gpu_sim_list(gpus + strlen(SIM), config->node, g->list, &g->n, NULL, 0, err);
	}
	if (r == 0 && config->helper)
		r = start_helper(loop, config, gpus, g, err);
	if (r == 0)
		*ret = gt_steal(&g);
	return r;
}

void gt_gpus_close(struct gt_gpus *g)
{
	if (g)
		gt_gpu_helper_free(g->helper);
	free(g);
}

size_t gt_gpus_list(struct gt_gpus *g, const struct gt_gpu **ret)
{
	*ret = g->list;
	return g->n;
}

const struct gt_gpu *gt_gpus_find(struct gt_gpus *g, const char *uuid)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcmp(g->list[i].uuid, uuid) == 0)
			return &g->list[i];
	return NULL;
}

const struct gt_gpu_driver *gt_gpus_driver(const struct gt_gpus *g)
{
	return &g->driver;
}

bool gt_gpus_known(const struct gt_gpus *g)
{
	return g->known;
}

struct gt_gpu_helper *gt_gpus_helper(struct gt_gpus *g)
{
	return g->helper;
}

bool gt_gpu_is_real(const struct gt_gpu *gpu)
{
	return gpu->backend != GT_GPU_SIM; /* a fake one takes the same way */
}
