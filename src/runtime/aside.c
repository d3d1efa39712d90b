/* aside.c - the control group of processes that are no containers: those that read weights ahead.
 * What they read is charged to it, and never to the replica that uses it. */
#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>

#include "runtime_impl.h"

_Static_assert(GT_RUNTIME_GROUPS_MAX == GT_CGROUP_CTL_N, "a descriptor for each");

int gt_runtime_aside(struct gt_runtime *rt, uint64_t memory_bytes, int fds[GT_RUNTIME_GROUPS_MAX],
		     size_t *n_fds, struct gt_err *err)
{
	const struct gt_cgroup_limits limits = { .memory_bytes = memory_bytes };
	int r = gt_cgroup_make(&rt->cgroups, GT_RUNTIME_ASIDE, fds, n_fds, err);

	if (r < 0)
		return r;
	/* What is charged already may be more than a lower limit: the kernel refuses that, and what
	 * was the limit before still is. */
	if (gt_cgroup_limit(&rt->cgroups, GT_RUNTIME_ASIDE, &limits, err) < 0)
		gt_warn("control group of weights: %s", err->text);
	return 0;
}

int gt_runtime_aside_disk(struct gt_runtime *rt, dev_t dev, uint64_t read_bps, struct gt_err *err)
{
	struct gt_cgroup_limits limits = { .io = { .read_bps = read_bps } };

	gt_cgroup_disk_add("/sys", dev, &limits);
	return limits.n_disks > 0 ? gt_cgroup_limit(&rt->cgroups, GT_RUNTIME_ASIDE, &limits, err)
				  : 0;
}

void gt_runtime_aside_end(struct gt_runtime *rt)
{
	gt_cgroup_kill(&rt->cgroups, GT_RUNTIME_ASIDE);
	gt_cgroup_remove(&rt->cgroups, GT_RUNTIME_ASIDE);
}
