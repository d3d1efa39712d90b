/* usage.c - when has a container's use of the machine changed? */
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
	       pressure_moved(&then->cpu, &now->cpu) ||
	       pressure_moved(&then->memory, &now->memory) || pressure_moved(&then->io, &now->io);
}
