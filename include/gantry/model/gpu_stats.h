/* model/gpu_stats.h - what a GPU measures of itself, as one table of values. A value that the
 * driver does not tell is not there: it is never 0 in its place. */
#ifndef GANTRY_MODEL_GPU_STATS_H
#define GANTRY_MODEL_GPU_STATS_H

#include <gantry/base/base.h>

enum gt_gpu_stat {
#define GT_GPU_STAT(name, dcgm, own, type, scale, help) GT_GPU_STAT_##name,
#include <gantry/model/gpu_stats.tbl>
#undef GT_GPU_STAT
	GT_GPU_STAT_N
};

struct gt_gpu_stats {
	uint64_t has; /* bit n: value[n] is known */
	uint64_t value[GT_GPU_STAT_N];
};
_Static_assert(GT_GPU_STAT_N <= 64, "a bit each");

struct gt_gpu_stat_row {
	const char *dcgm; /* its name as NVIDIA's dcgm-exporter has it, after "DCGM_FI_"; "" = it
			     has none */
	const char *own;  /* ours, without "gantry_gpu_"; "" = none */
	const char *type; /* "gauge", "counter" */
	double scale;     /* from our value to that of the dcgm name; ours is not scaled */
	const char *help;
};
extern const struct gt_gpu_stat_row gt_gpu_stat_rows[GT_GPU_STAT_N];

static inline bool gt_gpu_stat_has(const struct gt_gpu_stats *s, enum gt_gpu_stat stat)
{
	return s->has >> stat & 1;
}

static inline void gt_gpu_stat_set(struct gt_gpu_stats *s, enum gt_gpu_stat stat, uint64_t value)
{
	s->value[stat] = value;
	s->has |= (uint64_t)1 << stat;
}

#endif
