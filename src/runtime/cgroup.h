/* cgroup.h - control groups of either version behind one door. Each controller is found by itself:
 * in the unified hierarchy, in a hierarchy of its own (version 1), or nowhere (with a warning).
 *
 * All groups are children of one base group a state directory, so that what a dead agent left can
 * be told from everything else on the machine. Nothing outside the base group is ever changed, but
 * for turning controllers on for it. */
#ifndef GANTRY_RUNTIME_CGROUP_H
#define GANTRY_RUNTIME_CGROUP_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

enum gt_cgroup_ctl { GT_CGROUP_MEMORY, GT_CGROUP_CPU, GT_CGROUP_PIDS, GT_CGROUP_CTL_N };

#define GT_CGROUP_PATH_SIZE 512
#define GT_CGROUP_LEAF_SIZE 48

struct gt_cgroups {
	/* Directories that hold the leaves; controllers may share one. */
	struct {
		char path[GT_CGROUP_PATH_SIZE]; /* absolute, of the base group */
		int fd;
		bool unified;
	} bases[GT_CGROUP_CTL_N];
	size_t n_bases;
	int base_of[GT_CGROUP_CTL_N]; /* index into bases, -1 = the machine lacks it */
	bool unified;                 /* any base is of version 2 */
};

struct gt_cgroup_limits {
	uint64_t memory_bytes; /* 0 = none, in each */
	uint32_t cpu_milli;
	uint32_t pids;
};

/* proc is "/proc", or a directory that looks like it to a test. name: of the base group. keep: a
 * directory that remembers from start to start where the base groups are; NULL = nothing does. */
GT_MUST_USE int gt_cgroups_open(const char *proc, const char *name, const char *keep,
				struct gt_cgroups *ret, struct gt_err *err);
void gt_cgroups_close(struct gt_cgroups *g); /* removes the base groups when they are empty */

/* A leaf group in every base; fds gets one writable cgroup.procs each. */
GT_MUST_USE int gt_cgroup_make(const struct gt_cgroups *g, const char *leaf,
			       int fds[GT_CGROUP_CTL_N], size_t *n_fds, struct gt_err *err);
GT_MUST_USE int gt_cgroup_limit(const struct gt_cgroups *g, const char *leaf,
				const struct gt_cgroup_limits *limits, struct gt_err *err);
/* How often the kernel killed in this group for want of memory. */
uint64_t gt_cgroup_oom_kills(const struct gt_cgroups *g, const char *leaf);
/* Kills what is in it, once. */
void gt_cgroup_kill(const struct gt_cgroups *g, const char *leaf);
/* Removes the leaf everywhere: 0 also when it was gone, -EBUSY while somebody is in it. */
int gt_cgroup_remove(const struct gt_cgroups *g, const char *leaf);
/* Calls fn for each leaf below our bases; a leaf that is in several bases may be told twice. */
void gt_cgroups_each(const struct gt_cgroups *g, void (*fn)(const char *leaf, void *arg),
		     void *arg);

#endif
