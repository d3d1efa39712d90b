/* health.c - errors into a health. */
#include "health.h"

#include <stdio.h>
#include <string.h>

static void worsen(struct gpu_health *h, enum gt_gpu_health to, const char *why)
{
	if (to <= h->errors)
		return;
	h->errors = to;
	gt_strcopy(h->errors_why, sizeof(h->errors_why), why);
}

/* The driver's event and the kernel's log tell of the same one. */
static bool was_told(struct gpu_health *h, uint32_t xid, uint64_t now_ns)
{
	for (size_t i = 0; i < GT_MIN(h->n_recent, (size_t)GPU_HEALTH_RECENT); i++)
		if (h->recent[i].xid == xid && now_ns - h->recent[i].at_ns < GPU_HEALTH_SAME_NS)
			return true;
	h->recent[h->n_recent % GPU_HEALTH_RECENT].xid = xid;
	h->recent[h->n_recent++ % GPU_HEALTH_RECENT].at_ns = now_ns;
	return false;
}

static bool is_storm(struct gpu_health *h, uint64_t now_ns)
{
	if (now_ns - h->storm_ns >= GPU_HEALTH_STORM_NS) {
		h->storm_ns = now_ns;
		h->storm = 0;
	}
	return ++h->storm > GPU_HEALTH_TOLD;
}

unsigned gpu_health_note(struct gpu_health *h, const struct gt_gpu_incident *in, uint64_t now_ns)
{
	/* An error of memory that is told without an Xid is one of 48. */
	uint32_t xid = in->xid ? in->xid : in->dbe ? 48 : 0;
	char why[GT_GPU_REASON_MAX + 1];
	const char *words;
	enum gpu_xid_class class;
	unsigned acts = GPU_HEALTH_TELL;

	if (in->action >= 0)
		gpu_health_driver(h, gt_gpu_health_of_action(in->action),
				  "the driver asks for a recovery");
	if (xid == 0 || was_told(h, xid, now_ns))
		return GPU_HEALTH_NOTHING;
	h->last_xid = xid;
	h->xids++;
	class = gpu_xid_class(xid, &words);
	snprintf(why, sizeof(why), "XID %u: %s", xid, words);
	worsen(h, gpu_xid_health(class), why);
	if (class == GPU_XID_RESTART)
		acts |= GPU_HEALTH_RESTART;
	/* What has to be done is done in a storm too: it is the same few things again. */
	return is_storm(h, now_ns) ? acts & ~(unsigned)GPU_HEALTH_TELL : acts;
}

bool gpu_health_failed(struct gpu_health *h, const char *function, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n_failed; i++)
		if (now_ns - h->failed[i].at_ns < GPU_HEALTH_HOUR_NS &&
		    strcmp(h->failed[i].function, function) != 0)
			h->failed[kept++] = h->failed[i];
	h->n_failed = GT_MIN(kept, (size_t)GPU_HEALTH_FUNCTIONS - 1);
	gt_strcopy(h->failed[h->n_failed].function, sizeof(h->failed->function), function);
	h->failed[h->n_failed++].at_ns = now_ns;
	if (h->n_failed < GPU_HEALTH_FUNCTIONS || h->errors != GT_GPU_WELL)
		return false;
	worsen(h, GT_GPU_DRAIN, "three functions failed on it within an hour");
	return true;
}

void gpu_health_driver(struct gpu_health *h, enum gt_gpu_health health, const char *why)
{
	if (health == h->driver)
		return;
	h->driver = health;
	gt_strcopy(h->driver_why, sizeof(h->driver_why), health == GT_GPU_WELL ? "" : why);
}

void gpu_health_clear(struct gpu_health *h)
{
	h->errors = GT_GPU_WELL;
	h->errors_why[0] = '\0';
	h->n_failed = 0;
}

bool gpu_health_apply(const struct gpu_health *h, struct gt_gpu *gpu)
{
	bool errors = h->errors >= h->driver;
	enum gt_gpu_health health = errors ? h->errors : h->driver;
	const char *why = errors ? h->errors_why : h->driver_why;

	if (gpu->health == health && strcmp(gpu->reason, why) == 0)
		return false;
	gpu->health = health;
	gt_strcopy(gpu->reason, sizeof(gpu->reason), why);
	return true;
}
