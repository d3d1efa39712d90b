/* health.h - how a GPU is, out of what its driver and its errors say: the worst of both. Pure: time
 * is handed in. */
#ifndef GPU_HEALTH_H
#define GPU_HEALTH_H

#include "xid.h"

#define GPU_HEALTH_SAME_NS   GT_NS_PER_S /* an error that is told twice */
#define GPU_HEALTH_HOUR_NS   (3600 * GT_NS_PER_S)
#define GPU_HEALTH_FUNCTIONS 3  /* so many failed on it within an hour: the GPU is suspect */
#define GPU_HEALTH_TOLD      32 /* errors of one GPU that are told in GPU_HEALTH_STORM_NS */
#define GPU_HEALTH_STORM_NS  (60 * GT_NS_PER_S)
#define GPU_HEALTH_RECENT    32 /* that are remembered, for all that are told twice */

struct gpu_health {
	/* Stays until somebody clears it, or a reset has mended it. */
	enum gt_gpu_health errors;
	char errors_why[GT_GPU_REASON_MAX + 1];
	/* As the driver says now. */
	enum gt_gpu_health driver;
	char driver_why[GT_GPU_REASON_MAX + 1];
	uint32_t last_xid;
	uint64_t xids; /* all that were told */
	struct {
		uint32_t xid;
		uint64_t at_ns;
	} recent[GPU_HEALTH_RECENT];
	size_t n_recent;
	struct {
		char function[GT_NAME_MAX + 1];
		uint64_t at_ns;
	} failed[GPU_HEALTH_FUNCTIONS];
	size_t n_failed;
	uint64_t storm_ns; /* its window began then */
	unsigned storm;    /* told in it */
};

enum gpu_health_act {
	GPU_HEALTH_NOTHING = 0,
	GPU_HEALTH_TELL = 1,    /* an event, and a line in the log */
	GPU_HEALTH_RESTART = 2, /* what runs on it */
};

/* Takes one error down. Returns what to do now, as bits; none for one that was told already. */
unsigned gpu_health_note(struct gpu_health *h, const struct gt_gpu_incident *in, uint64_t now_ns);
/* A function's replica was restarted for an error. True: the GPU is suspect now. */
bool gpu_health_failed(struct gpu_health *h, const char *function, uint64_t now_ns);
/* What the driver says of itself; why "" when it is well. */
void gpu_health_driver(struct gpu_health *h, enum gt_gpu_health health, const char *why);
/* Somebody says that it is well, or it was reset. The driver's word stays. */
void gpu_health_clear(struct gpu_health *h);
/* The worst of all, and why. True: it is not what *gpu had. */
bool gpu_health_apply(const struct gpu_health *h, struct gt_gpu *gpu);

#endif
