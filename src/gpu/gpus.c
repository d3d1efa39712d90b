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
#include "health.h"
#include "kmsg.h"
#include "library.h"

#define SIM          "sim:"
#define FAKE         "fake:"
#define KMSG         "/dev/kmsg"
#define SILENT_MS    10000
#define FOREIGN_STEP (64 * GT_MIB)
#define PCI_DIR      "/sys/bus/pci/devices"

struct gt_gpus {
	struct gt_loop *loop;
	struct gt_gpu list[GT_NODE_GPUS_MAX];
	struct gpu_health health[GT_NODE_GPUS_MAX]; /* of the GPU at the same place */
	struct gt_gpu_stats stats[GT_NODE_GPUS_MAX];
	size_t n;
	struct gpu_kmsg *kmsg;
	struct gt_timer silent; /* the driver is away; its GPUs may not be well */
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

static bool apply(struct gt_gpus *g, struct gt_gpu *gpu);

/* A driver that crashed once is back by now. What runs may go on; nothing new is begun. */
static void on_silent(void *arg)
{
	struct gt_gpus *g = arg;

	for (size_t i = 0; i < g->n; i++) {
		gpu_health_driver(&g->health[i], GT_MAX(g->health[i].driver, GT_GPU_DRAIN),
				  "the driver does not answer");
		(void)apply(g, &g->list[i]);
	}
	changed(g);
}

static void on_driver(const struct gt_gpu_driver *driver, void *arg)
{
	struct gt_gpus *g = arg;
	bool new_state = driver->state != g->driver.state;
	size_t cards;

	g->driver = *driver;
	if (driver->state == GT_GPU_DRIVER_READY)
		gt_timer_clear(g->loop, &g->silent);
	else if (g->n > 0 && !gt_timer_is_set(&g->silent))
		gt_timer_set(g->loop, &g->silent, SILENT_MS, on_silent, g);
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

static struct gt_gpu *find(struct gt_gpus *g, const char *uuid)
{
	return (struct gt_gpu *)gt_gpus_find(g, uuid);
}

/* Returns whether there is news. */
static bool apply(struct gt_gpus *g, struct gt_gpu *gpu)
{
	enum gt_gpu_health before = gpu->health;
	bool news = gpu_health_apply(&g->health[gpu - g->list], gpu);

	if (news && gpu->health != before)
		gt_warn("gpus: %s is %s%s%s", gpu->uuid, gt_gpu_health_name(gpu->health),
			gpu->reason[0] ? ": " : "", gpu->reason);
	return news;
}

/* One that is not found any more fell off: it is kept, so that everybody sees that it is lost.
 * Instances come and go with how a GPU is parted. */
static void keep_lost(struct gt_gpus *g, struct gt_gpus *old)
{
	for (size_t i = 0; i < old->n && g->n < GT_NODE_GPUS_MAX; i++) {
		if (old->list[i].gi >= 0 || find(g, old->list[i].uuid))
			continue;
		g->list[g->n] = old->list[i];
		g->health[g->n] = old->health[i];
		gpu_health_driver(&g->health[g->n], GT_GPU_LOST,
				  "the driver does not find it any more");
		g->n++;
	}
}

static void on_gpus(const struct gt_gpu *gpus, size_t n, void *arg)
{
	struct gt_gpus *g = arg;
	gt_auto(free) struct gt_gpus *old = gt_alloc(sizeof(*old));

	*old = *g;
	g->n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct gt_gpu *was = find(old, gpus[i].uuid);
		struct gt_gpu *gpu = &g->list[i];

		*gpu = gpus[i];
		g->n++;
		g->health[i] = was ? old->health[was - old->list] : (struct gpu_health){ 0 };
		g->stats[i] = was ? old->stats[was - old->list] : (struct gt_gpu_stats){ 0 };
		gpu->foreign_bytes = was ? was->foreign_bytes : 0;
		gpu_health_driver(&g->health[i], gpu->health, "the driver does not answer for it");
		if (was && gpu->memory_bytes == 0)
			gpu->memory_bytes = was->memory_bytes;
	}
	keep_lost(g, old);
	for (size_t i = 0; i < g->n; i++)
		(void)apply(g, &g->list[i]);
	g->known = true;
	changed(g);
}

static void on_sample(const struct gt_gpu_sample *sample, void *arg)
{
	struct gt_gpus *g = arg;
	struct gt_gpu *gpu = find(g, sample->uuid);
	const char *why = "the driver asks for a recovery";
	enum gt_gpu_health health = gt_gpu_health_of_action(sample->action);

	if (!gpu)
		return;
	g->stats[gpu - g->list] = sample->stats;
	if (gt_gpu_stat_has(&sample->stats, GT_GPU_STAT_REMAP_FAILURE) &&
	    sample->stats.value[GT_GPU_STAT_REMAP_FAILURE]) {
		why = "rows of its memory could not be replaced";
		health = GT_MAX(health, GT_GPU_DRAIN);
	}
	if (sample->lost) {
		why = "the driver says that it fell off";
		health = GT_GPU_LOST;
	}
	if (gpu->backend != GT_GPU_SIM)
		gt_gpu_stat_set(&g->stats[gpu - g->list], GT_GPU_STAT_XID,
				g->health[gpu - g->list].last_xid);
	gpu_health_driver(&g->health[gpu - g->list], health, why);
	if (apply(g, gpu))
		changed(g);
	if (g->events.on_sample)
		g->events.on_sample(sample, g->events.arg);
}

static void note_of(struct gt_gpus *g, struct gt_gpu *gpu, const struct gt_gpu_incident *in,
		    int32_t pid)
{
	struct gpu_health *h = &g->health[gpu - g->list];
	unsigned acts = gpu_health_note(h, in, gt_loop_now_ns(g->loop));
	bool news = apply(g, gpu);
	char text[GT_GPU_REASON_MAX + 1];
	const char *words;

	if (news)
		changed(g);
	if (acts == GPU_HEALTH_NOTHING || !g->events.on_trouble)
		return;
	(void)gpu_xid_class(h->last_xid, &words);
	snprintf(text, sizeof(text), "XID %u: %s", h->last_xid, words);
	g->events.on_trouble(&(struct gt_gpu_trouble){ .uuid = gpu->uuid,
						       .text = text,
						       .xid = h->last_xid,
						       .pid = pid,
						       .health = gpu->health,
						       .restart = acts & GPU_HEALTH_RESTART,
						       .tell = acts & GPU_HEALTH_TELL },
			     g->events.arg);
}

/* Of one GPU, of all that are in one slot (instances), or of all there are. */
static void note(const struct gt_gpu_incident *in, int32_t pid, void *arg)
{
	struct gt_gpus *g = arg;

	for (size_t i = 0; i < g->n; i++) {
		struct gt_gpu *gpu = &g->list[i];

		if (in->uuid[0] ? strcmp(in->uuid, gpu->uuid) == 0
				: !in->pci[0] || strcmp(in->pci, gpu->pci) == 0)
			note_of(g, gpu, in, pid);
	}
}

static void on_incident(const struct gt_gpu_incident *in, void *arg)
{
	note(in, 0, arg);
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
		.events = { on_driver, on_gpus, on_sample, on_incident, g },
	};
	struct gt_err why = { 0 };
	int r = gt_gpu_helper_new(loop, &hc, &g->helper, err);
	const char *kmsg = config->kmsg && *config->kmsg ? config->kmsg : KMSG;

	/* Simulated GPUs are in no kernel's log. */
	if (r == 0 && !gt_starts_with(gpus, SIM) &&
	    gpu_kmsg_open(loop, kmsg, note, g, &g->kmsg, &why) < 0)
		gt_warn("gpus: errors of GPUs are not read from the kernel's log: %s", why.text);

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
	g->loop = loop;
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
	if (!g)
		return;
	gt_timer_clear(g->loop, &g->silent);
	gpu_kmsg_close(g->kmsg);
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

const struct gt_gpu_stats *gt_gpus_stats(const struct gt_gpus *g, const char *uuid)
{
	for (size_t i = 0; i < g->n; i++)
		if (strcmp(g->list[i].uuid, uuid) == 0)
			return g->stats[i].has ? &g->stats[i] : NULL;
	return NULL;
}

void gt_gpus_failed(struct gt_gpus *g, const char *uuid, const char *function)
{
	struct gt_gpu *gpu = find(g, uuid);

	if (gpu &&
	    gpu_health_failed(&g->health[gpu - g->list], function, gt_loop_now_ns(g->loop)) &&
	    apply(g, gpu))
		changed(g);
}

/* In steps, so that what breathes is not told each second. */
void gt_gpus_foreign(struct gt_gpus *g, const char *uuid, uint64_t bytes)
{
	struct gt_gpu *gpu = find(g, uuid);
	uint64_t up = GT_MIN((bytes + FOREIGN_STEP - 1) / FOREIGN_STEP * FOREIGN_STEP,
			     (uint64_t)GT_GPU_BYTES_MAX);

	/* Less is told when it is a whole step less. */
	if (!gpu || up == gpu->foreign_bytes ||
	    (up < gpu->foreign_bytes && bytes + FOREIGN_STEP > gpu->foreign_bytes && bytes > 0))
		return;
	gpu->foreign_bytes = up;
	changed(g);
}

int gt_gpus_clear(struct gt_gpus *g, const char *uuid, struct gt_err *err)
{
	struct gt_gpu *gpu = find(g, uuid);

	if (!gpu)
		return gt_err_set(err, ENOENT, "not_found", "this node has no GPU %s", uuid);
	gpu_health_clear(&g->health[gpu - g->list]);
	if (apply(g, gpu))
		changed(g);
	return 0;
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
	return gpu->backend != GT_GPU_SIM;
}
