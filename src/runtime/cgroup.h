/* cgroup.h - control groups of either version behind one door. Each controller is found by itself:
 * in the unified hierarchy, in a hierarchy of its own (version 1), or nowhere (with a warning).
 *
 * All groups are children of one base group a state directory, so that what a dead agent left can
 * be told from everything else on the machine. Nothing outside the base group is ever changed, but
 * for turning controllers on for it. Loop thread; each call is a few file operations, but for the
 * two that say how long they may wait. */
#ifndef GANTRY_RUNTIME_CGROUP_H
#define GANTRY_RUNTIME_CGROUP_H

#include <sys/types.h>

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/model/spec.h>
#include <gantry/model/usage.h>

/* Not all are limits that a spec could set: devices are denied, frozen is a state, processor time
 * is counted, huge pages are kept away from containers. */
enum gt_cgroup_ctl {
	GT_CGROUP_MEMORY,
	GT_CGROUP_CPU,
	GT_CGROUP_PIDS,
	GT_CGROUP_DEVICES,
	GT_CGROUP_FREEZER,
	GT_CGROUP_CPUACCT,
	GT_CGROUP_IO,
	GT_CGROUP_HUGETLB,
	GT_CGROUP_CTL_N
};

#define GT_CGROUP_PATH_SIZE 512
#define GT_CGROUP_LEAF_SIZE 48
#define GT_CGROUP_WAIT_MS   5 /* most that freezing and killing wait for the kernel */

struct gt_cgroups {
	/* Directories that hold the leaves; controllers may share one. A unified one is first. */
	struct {
		char path[GT_CGROUP_PATH_SIZE]; /* absolute, of the base group */
		int fd;
		bool unified;
	} bases[GT_CGROUP_CTL_N];
	size_t n_bases;
	int base_of[GT_CGROUP_CTL_N]; /* index into bases, -1 = the machine lacks it */
	bool unified;                 /* bases[0] is of version 2 */
};

enum { GT_CGROUP_MKNOD = 1, GT_CGROUP_READ = 2, GT_CGROUP_WRITE = 4 };
#define GT_CGROUP_ANY UINT32_MAX

struct gt_cgroup_device {
	char type;             /* 'c' or 'b' */
	uint32_t major, minor; /* GT_CGROUP_ANY = each */
	unsigned access;       /* GT_CGROUP_MKNOD, _READ, _WRITE */
};

#define GT_CGROUP_DEVICES_MAX 128
#define GT_CGROUP_DISKS_MAX   (GT_VOLUMES_MAX + 2) /* the image, and what holds all images */

struct gt_cgroup_disk {
	uint32_t major, minor; /* of the whole disk: a partition has no limits of its own */
};

struct gt_cgroup_limits {
	uint64_t memory_bytes;      /* 0 = none, in each */
	uint64_t memory_high_bytes; /* version 2 only */
	uint32_t cpu_milli;
	uint32_t pids;
	struct gt_io_limits io; /* on each of the disks */
	struct gt_cgroup_disk disks[GT_CGROUP_DISKS_MAX];
	size_t n_disks;
};

/* proc is "/proc", or a directory that looks like it to a test. name: of the base group. keep: a
 * directory that remembers from start to start where the base groups are; NULL = nothing does. */
GT_MUST_USE int gt_cgroups_open(const char *proc, const char *name, const char *keep,
				struct gt_cgroups *ret, struct gt_err *err);
void gt_cgroups_close(struct gt_cgroups *g); /* removes the base groups when they are empty */

/* A leaf group in every base, all devices but the default ones denied. fds gets one descriptor a
 * base, in their order, that takes a "0" from who wants to be in it: a process of one thread, for
 * version 1 moves a thread (0.12 ms for all of them; moving a process takes up to 20). */
GT_MUST_USE int gt_cgroup_make(const struct gt_cgroups *g, const char *leaf,
			       int fds[GT_CGROUP_CTL_N], size_t *n_fds, struct gt_err *err);
/* The same for a leaf that is there, made and limited before. */
GT_MUST_USE int gt_cgroup_reopen(const struct gt_cgroups *g, const char *leaf,
				 int fds[GT_CGROUP_CTL_N], size_t *n_fds, struct gt_err *err);
/* Nobody is in the leaf, and another one in it would feel nothing of who was: the kernel never
 * killed there, and next to no memory is charged. False also when that can not be told. */
bool gt_cgroup_is_fresh(const struct gt_cgroups *g, const char *leaf);
/* The leaf's directory of version 2, for CLONE_INTO_CGROUP: who was cloned into it need not write
 * to fds[0]. -ENOENT: nothing is unified here. */
GT_MUST_USE int gt_cgroup_dir(const struct gt_cgroups *g, const char *leaf, int *ret,
			      struct gt_err *err);
/* What has a default and is not to be had here (memory, cpu, pids) is passed over, as the daemon
 * warned of it; the others refuse: a spec asks for them by name. */
GT_MUST_USE int gt_cgroup_limit(const struct gt_cgroups *g, const char *leaf,
				const struct gt_cgroup_limits *limits, struct gt_err *err);

/* cgroup_device.c: devices beside the terminals and /dev/null's family, which every container may
 * use. Once for a leaf. Without control of devices it refuses (slug limit_unsupported): nothing
 * would keep a container from those of others. */
GT_MUST_USE int gt_cgroup_device_allow(const struct gt_cgroups *g, const char *leaf,
				       const struct gt_cgroup_device *devices, size_t n,
				       struct gt_err *err);

/* For a leaf with these limits: a new period begins, whatever was used up in the last one. */
GT_MUST_USE int gt_cgroup_refill(const struct gt_cgroups *g, const char *leaf,
				 const struct gt_cgroup_limits *limits, struct gt_err *err);
/* cgroup_io.c. Would a leaf take those of the limits that may be refused? -EOPNOTSUPP (slug
 * limit_unsupported), with what to do. */
GT_MUST_USE int gt_cgroups_can(const struct gt_cgroups *g, const struct gt_cgroup_limits *limits,
			       struct gt_err *err);
static inline bool gt_io_is_limited(const struct gt_io_limits *io)
{
	return io->read_bps || io->write_bps || io->read_iops || io->write_iops;
}
/* Adds the disk below a file system's device (st_dev), once. Those without one are passed over:
 * memory, networks, and file systems of many disks (btrfs, zfs) have a number that is no device's.
 * sys is "/sys", or looks like it to a test. */
void gt_cgroup_disk_add(const char *sys, dev_t dev, struct gt_cgroup_limits *limits);

/* Waits up to GT_CGROUP_WAIT_MS; -EAGAIN: the kernel is still at it (a process sleeps in a driver),
 * which gt_cgroup_frozen tells the end of. -EOPNOTSUPP: this machine can not. */
/* Its limit from here on; fine where memory can not be limited. */
GT_MUST_USE int gt_cgroup_memory(const struct gt_cgroups *g, const char *leaf, uint64_t bytes,
				 struct gt_err *err);
bool gt_cgroup_can_freeze(const struct gt_cgroups *g);
GT_MUST_USE int gt_cgroup_freeze(const struct gt_cgroups *g, const char *leaf, struct gt_err *err);
int gt_cgroup_thaw(const struct gt_cgroups *g, const char *leaf, struct gt_err *err);
/* 1 or 0, also of a group that a dead process froze; not yet frozen is 0. */
GT_MUST_USE int gt_cgroup_frozen(const struct gt_cgroups *g, const char *leaf, struct gt_err *err);

/* How often the kernel killed in this group for want of memory. */
uint64_t gt_cgroup_oom_kills(const struct gt_cgroups *g, const char *leaf);
void gt_cgroup_usage(const struct gt_cgroups *g, const char *leaf, struct gt_usage *ret);
/* Kills what is in it and what that starts meanwhile, frozen or not. Version 1 has no such call: it
 * is frozen first, for at most GT_CGROUP_WAIT_MS, and one pass may miss what would not freeze. */
void gt_cgroup_kill(const struct gt_cgroups *g, const char *leaf);
/* Removes the leaf everywhere: 0 also when it was gone, -EBUSY while somebody is in it. */
int gt_cgroup_remove(const struct gt_cgroups *g, const char *leaf);
/* Calls fn for each leaf below our bases; a leaf that is in several bases may be told twice. */
void gt_cgroups_each(const struct gt_cgroups *g, void (*fn)(const char *leaf, void *arg),
		     void *arg);

#endif
