/* cgroup_leaf.c - one container's group: made, limited, removed. */
#include "cgroup_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>

#define CPU_PERIOD_US    100000
#define CPU_QUOTA_MIN_US 1000 /* the least that the kernel takes */
#define FILE_SIZE        (GT_CGROUP_LEAF_SIZE + 48)

int gt_cgroup_write(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
		    const char *file, const char *text, struct gt_err *err)
{
	char path[FILE_SIZE];

	snprintf(path, sizeof(path), "%s/%s", leaf, file);
	return gt_os_write_at(g->bases[g->base_of[ctl]].fd, path, text, err);
}

int gt_cgroup_read(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
		   const char *file, char *buf, size_t size, struct gt_err *err)
{
	char path[FILE_SIZE];

	snprintf(path, sizeof(path), "%s/%s", leaf, file);
	return gt_os_read_at(g->bases[g->base_of[ctl]].fd, path, buf, size, err);
}

int gt_cgroup_dir(const struct gt_cgroups *g, const char *leaf, int *ret, struct gt_err *err)
{
	if (!g->unified)
		return gt_err_errno(err, ENOENT, "control group %s of version 2", leaf);
	return gt_os_open_dir(g->bases[0].fd, leaf, ret, err);
}

/* Version 1 moves a process under a lock over all of the machine's threads, but a single thread
 * that moves itself through "tasks" goes without it. Version 2 has nothing like it. */
static int open_members(const struct gt_cgroups *g, size_t base, const char *leaf, int *ret,
			struct gt_err *err)
{
	char path[FILE_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", leaf,
		 g->bases[base].unified ? "cgroup.procs" : "tasks");
	fd = openat(g->bases[base].fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

int gt_cgroup_reopen(const struct gt_cgroups *g, const char *leaf, int fds[GT_CGROUP_CTL_N],
		     size_t *n_fds, struct gt_err *err)
{
	size_t n = 0;
	int r = 0;

	while (r == 0 && n < g->n_bases) {
		r = open_members(g, n, leaf, &fds[n], err);
		n += r == 0;
	}
	while (r < 0 && n > 0)
		gt_close(fds[--n]);
	*n_fds = n;
	return r < 0 ? gt_err_wrap(err, "control group %s", leaf) : 0;
}

int gt_cgroup_make(const struct gt_cgroups *g, const char *leaf, int fds[GT_CGROUP_CTL_N],
		   size_t *n_fds, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < g->n_bases; i++)
		r = gt_os_mkdir_at(g->bases[i].fd, leaf, 0755, err);
	if (r == 0)
		r = gt_cgroup_device_deny(g, leaf, err);
	r = r < 0 ? gt_err_wrap(err, "control group %s", leaf)
		  : gt_cgroup_reopen(g, leaf, fds, n_fds, err);
	if (r < 0)
		gt_cgroup_remove(g, leaf);
	return r;
}

/* No memory.high below the maximum unless it is asked for: it slows a program down for using what
 * it was promised. */
static int limit_memory(const struct gt_cgroups *g, const char *leaf, uint64_t bytes,
			struct gt_err *err)
{
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_MEMORY);
	char text[32];
	int r;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	r = gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf,
			    unified ? "memory.max" : "memory.limit_in_bytes", text, err);
	/* No swap: a function that swaps is slower than one that is told. Kernels may lack these.
	 */
	if (unified) {
		gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf, "memory.swap.max", "0", NULL);
		gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf, "memory.oom.group", "1", NULL);
	} else {
		gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf, "memory.memsw.limit_in_bytes", text,
				NULL);
	}
	return r;
}

/* Version 1 wants the limit with swap first when it grows, and last when it shrinks. */
int gt_cgroup_memory(const struct gt_cgroups *g, const char *leaf, uint64_t bytes,
		     struct gt_err *err)
{
	char text[32];

	if (!gt_cgroup_has(g, GT_CGROUP_MEMORY))
		return 0;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (!gt_cgroup_is_unified(g, GT_CGROUP_MEMORY))
		gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf, "memory.memsw.limit_in_bytes", text,
				NULL);
	return limit_memory(g, leaf, bytes, err);
}

static int limit_quota(const struct gt_cgroups *g, const char *leaf, uint32_t milli,
		       struct gt_err *err)
{
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_CPU);
	uint64_t quota_us = GT_MAX((uint64_t)milli * CPU_PERIOD_US / 1000, CPU_QUOTA_MIN_US);
	char text[48];

	snprintf(text, sizeof(text), unified ? "%llu %d" : "%llu", (unsigned long long)quota_us,
		 CPU_PERIOD_US);
	return gt_cgroup_write(g, GT_CGROUP_CPU, leaf, unified ? "cpu.max" : "cpu.cfs_quota_us",
			       text, err);
}

/* The quota is the promise's upper end; the weight, 1 CPU = the kernel's default, shares out a
 * machine that has promised more than it has. */
static int limit_cpu(const struct gt_cgroups *g, const char *leaf, uint32_t milli,
		     struct gt_err *err)
{
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_CPU);
	uint64_t weight = unified ? milli / 10 : (uint64_t)milli * 1024 / 1000;
	char text[48];
	int r = limit_quota(g, leaf, milli, err);

	if (r < 0)
		return r;
	weight = unified ? GT_MIN(GT_MAX(weight, 1), 10000) : GT_MIN(GT_MAX(weight, 2), 262144);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)weight);
	return gt_cgroup_write(g, GT_CGROUP_CPU, leaf, unified ? "cpu.weight" : "cpu.shares", text,
			       err);
}

int gt_cgroup_limit(const struct gt_cgroups *g, const char *leaf,
		    const struct gt_cgroup_limits *limits, struct gt_err *err)
{
	char text[32];
	int r = gt_cgroups_can(g, limits, err);

	if (r == 0 && limits->memory_bytes && gt_cgroup_has(g, GT_CGROUP_MEMORY))
		r = limit_memory(g, leaf, limits->memory_bytes, err);
	if (r == 0 && limits->memory_high_bytes) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)limits->memory_high_bytes);
		r = gt_cgroup_write(g, GT_CGROUP_MEMORY, leaf, "memory.high", text, err);
	}
	if (r == 0 && limits->cpu_milli && gt_cgroup_has(g, GT_CGROUP_CPU))
		r = limit_cpu(g, leaf, limits->cpu_milli, err);
	if (r == 0 && limits->pids && gt_cgroup_has(g, GT_CGROUP_PIDS)) {
		snprintf(text, sizeof(text), "%u", limits->pids);
		r = gt_cgroup_write(g, GT_CGROUP_PIDS, leaf, "pids.max", text, err);
	}
	if (r == 0 && gt_io_is_limited(&limits->io))
		r = gt_cgroup_limit_io(g, leaf, limits, err);
	return r;
}

/* Writing the quota fills it up again, also when it is the same. */
int gt_cgroup_refill(const struct gt_cgroups *g, const char *leaf,
		     const struct gt_cgroup_limits *limits, struct gt_err *err)
{
	if (limits->cpu_milli && gt_cgroup_has(g, GT_CGROUP_CPU))
		return limit_quota(g, leaf, limits->cpu_milli, err);
	return 0;
}

int gt_cgroup_remove(const struct gt_cgroups *g, const char *leaf)
{
	int r = 0;

	for (size_t i = 0; i < g->n_bases; i++) {
		int one = gt_os_rmdir_at(g->bases[i].fd, leaf, NULL);

		if (one == -EBUSY || (one < 0 && r == 0))
			r = one;
	}
	return r;
}

void gt_cgroups_each(const struct gt_cgroups *g, void (*fn)(const char *leaf, void *arg), void *arg)
{
	for (size_t i = 0; i < g->n_bases; i++) {
		DIR *d = opendir(g->bases[i].path);
		struct dirent *e;

		if (!d)
			continue;
		while ((e = readdir(d))) {
			if (e->d_type == DT_DIR && e->d_name[0] != '.')
				fn(e->d_name, arg);
		}
		closedir(d);
	}
}
