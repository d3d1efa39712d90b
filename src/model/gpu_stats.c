/* gpu_stats.c - the table. */
#include <gantry/model/gpu_stats.h>

const struct gt_gpu_stat_row gt_gpu_stat_rows[GT_GPU_STAT_N] = {
#define GT_GPU_STAT(name, dcgm, own, type, scale, help) { dcgm, own, type, scale, help },
#include <gantry/model/gpu_stats.tbl>
#undef GT_GPU_STAT
};
