/* cgroup_impl.h - between the cgroup_*.c files. */
#ifndef GANTRY_RUNTIME_CGROUP_IMPL_H
#define GANTRY_RUNTIME_CGROUP_IMPL_H

#include "cgroup.h"

static inline bool gt_cgroup_has(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl)
{
	return g->base_of[ctl] >= 0;
}

static inline bool gt_cgroup_is_unified(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl)
{
	return gt_cgroup_has(g, ctl) && g->bases[g->base_of[ctl]].unified;
}

/* A file of the leaf in the hierarchy of a controller that the machine has. */
int gt_cgroup_write(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
		    const char *file, const char *text, struct gt_err *err);
int gt_cgroup_read(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
		   const char *file, char *buf, size_t size, struct gt_err *err);

/* cgroup_io.c */
int gt_cgroup_limit_io(const struct gt_cgroups *g, const char *leaf,
		       const struct gt_cgroup_limits *limits, struct gt_err *err);

/* cgroup_device.c: what all leaves of a base of version 2 may use, and what a leaf of version 1
 * may.
 */
int gt_cgroup_device_base(int dirfd, struct gt_err *err);
int gt_cgroup_device_deny(const struct gt_cgroups *g, const char *leaf, struct gt_err *err);

#endif
