/* gpu_hooks.h - members about GPUs and labels that have more than one form. */
#ifndef GANTRY_WIRE_GPU_HOOKS_H
#define GANTRY_WIRE_GPU_HOOKS_H

#include "fields.h"

extern const struct gt_field_hooks gt_gpu_hooks;        /* {"count": 1, ...}; `sub` has the rows */
extern const struct gt_field_hooks gt_gpu_memory_hooks; /* a size, or "auto" */
extern const struct gt_field_hooks gt_gpu_short_hooks;  /* "H100:2", "any:1"; never written */
/* {"zone": "a"}: sorted struct gt_label and their count, at most max. */
extern const struct gt_field_hooks gt_labels_hooks;

#endif
