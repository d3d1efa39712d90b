/* usage.c - a container's use of the machine: since when, and has it changed? */
#include <gantry/model/usage.h>

#define STEP_US    50000 /* of a processor, or of waiting */
#define STEP_BYTES GT_MIB
#define STEP_OPS   256
#define STEP_CENTI 100 /* one percent of the time */

static bool differs(uint64_t then, uint64_t now, uint64_t step)
{
	return (then > now ? then - now : now - then) >= step;
}

/* Down to nothing is told too: else the last of it would stay for ever. */
static bool average_moved(uint32_t then, uint32_t now)
{
	return differs(then, now, STEP_CENTI) || (then != 0 && now == 0);
}

static bool pressure_moved(const struct gt_pressure *then, const struct gt_pressure *now)
{
	return differs(then->some_us, now->some_us, STEP_US) ||
	       differs(then->full_us, now->full_us, STEP_US) ||
	       average_moved(then->some_avg10_centi, now->some_avg10_centi) ||
	       average_moved(then->full_avg10_centi, now->full_avg10_centi);
}

uint64_t gt_usage_gpu_parked(const struct gt_usage *u, uint64_t given_bytes)
{
	uint64_t had = GT_MAX(u->gpu_memory_bytes, u->gpu_memory_peak_bytes);

	if (!(u->has & GT_USAGE_GPU_MEMORY) || had > given_bytes)
		return given_bytes;
	return GT_MIN(had + GT_PARK_SLACK, given_bytes);
}

bool gt_usage_moved(const struct gt_usage *then, const struct gt_usage *now)
{
	return then->has != now->has || then->oom_kills != now->oom_kills ||
	       then->pids != now->pids || differs(then->cpu_us, now->cpu_us, STEP_US) ||
	       differs(then->throttled_us, now->throttled_us, STEP_US) ||
	       differs(then->memory_bytes, now->memory_bytes, STEP_BYTES) ||
	       differs(then->memory_peak_bytes, now->memory_peak_bytes, STEP_BYTES) ||
	       differs(then->io_read_bytes, now->io_read_bytes, STEP_BYTES) ||
	       differs(then->io_write_bytes, now->io_write_bytes, STEP_BYTES) ||
	       differs(then->io_reads, now->io_reads, STEP_OPS) ||
	       differs(then->io_writes, now->io_writes, STEP_OPS) ||
	       differs(then->gpu_memory_bytes, now->gpu_memory_bytes, STEP_BYTES) ||
	       pressure_moved(&then->cpu, &now->cpu) ||
	       pressure_moved(&then->memory, &now->memory) || pressure_moved(&then->io, &now->io);
}

static void since(uint64_t *now, uint64_t before)
{
	*now -= GT_MIN(*now, before);
}

static void pressure_since(struct gt_pressure *now, const struct gt_pressure *before)
{
	since(&now->some_us, before->some_us);
	since(&now->full_us, before->full_us);
}

void gt_usage_since(struct gt_usage *now, const struct gt_usage *before)
{
	if (now->memory_peak_bytes <= before->memory_peak_bytes) {
		now->memory_peak_bytes = 0;
		now->has &= ~(unsigned)GT_USAGE_MEMORY_PEAK;
	}
	since(&now->oom_kills, before->oom_kills);
	since(&now->cpu_us, before->cpu_us);
	since(&now->throttled_us, before->throttled_us);
	since(&now->io_read_bytes, before->io_read_bytes);
	since(&now->io_write_bytes, before->io_write_bytes);
	since(&now->io_reads, before->io_reads);
	since(&now->io_writes, before->io_writes);
	pressure_since(&now->cpu, &before->cpu);
	pressure_since(&now->memory, &before->memory);
	pressure_since(&now->io, &before->io);
}
