/* model/usage.h - what a container uses, as the kernel counts it for its control groups. */
#ifndef GANTRY_MODEL_USAGE_H
#define GANTRY_MODEL_USAGE_H

#include <gantry/base/base.h>

/* What of struct gt_usage is known; the rest is 0 and means nothing. Pressure needs cgroup v2. */
enum {
	GT_USAGE_MEMORY = 1 << 0,
	GT_USAGE_MEMORY_PEAK = 1 << 1,
	GT_USAGE_OOM = 1 << 2,
	GT_USAGE_CPU = 1 << 3,
	GT_USAGE_PIDS = 1 << 4,
	GT_USAGE_IO = 1 << 5,
	GT_USAGE_CPU_PRESSURE = 1 << 6,
	GT_USAGE_MEMORY_PRESSURE = 1 << 7,
	GT_USAGE_IO_PRESSURE = 1 << 8,
	GT_USAGE_THROTTLED = 1 << 9,
	GT_USAGE_GPU_MEMORY = 1 << 10,
	GT_USAGE_ALL = (1 << 11) - 1,
};

/* Time in which some, or all, of the container's tasks waited for the resource. */
struct gt_pressure {
	uint32_t some_avg10_centi, full_avg10_centi; /* of the last 10 s, in 1/100 percent */
	uint64_t some_us, full_us;                   /* since it was made */
};

struct gt_usage {
	unsigned has;                             /* GT_USAGE_* */
	uint64_t memory_bytes, memory_peak_bytes; /* with its files that are cached */
	uint64_t oom_kills;
	uint64_t cpu_us;
	uint64_t throttled_us; /* stood still because its limit of CPU was used up */
	uint64_t pids;         /* threads, as the limit counts */
	uint64_t io_read_bytes, io_write_bytes;
	uint64_t io_reads, io_writes;                     /* operations */
	uint64_t gpu_memory_bytes, gpu_memory_peak_bytes; /* on all its GPUs; the peak of looks */
	struct gt_pressure cpu, memory, io;
};

/* Bytes of the host that a replica's GPU memory takes when it is parked: the most that its
 * processes were seen to have (the last look may be from when it was just back) and GT_PARK_SLACK,
 * as an H200 showed (docs/gpu/README.md), never more than what it was given; all of that where no
 * driver tells. */
#define GT_PARK_SLACK (256 * GT_MIB)
uint64_t gt_usage_gpu_parked(const struct gt_usage *u, uint64_t given_bytes);
/* Takes off what was counted before. A peak that was not passed since is not known any more. */
void gt_usage_since(struct gt_usage *now, const struct gt_usage *before);
/* Is the difference worth telling? A container that does nothing answers no for ever; what it does
 * in small steps adds up until it is. */
bool gt_usage_moved(const struct gt_usage *then, const struct gt_usage *now);

#endif
