/* cgroup_leaf.c - one container's group: limits, out-of-memory count, killing, removal. */
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/os/os.h>

#define CPU_PERIOD_US 100000
#define FILE_SIZE     (GT_CGROUP_LEAF_SIZE + 48)

static int leaf_write(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
		      const char *file, const char *text, struct gt_err *err)
{
	char path[FILE_SIZE];

	snprintf(path, sizeof(path), "%s/%s", leaf, file);
	return gt_os_write_at(g->bases[g->base_of[ctl]].fd, path, text, err);
}

int gt_cgroup_make(const struct gt_cgroups *g, const char *leaf, int fds[GT_CGROUP_CTL_N],
		   size_t *n_fds, struct gt_err *err)
{
	size_t n = 0;

	for (; n < g->n_bases; n++) {
		char path[FILE_SIZE];
		int r = gt_os_mkdir_at(g->bases[n].fd, leaf, 0755, err);

		if (r == 0) {
			snprintf(path, sizeof(path), "%s/cgroup.procs", leaf);
			fds[n] = openat(g->bases[n].fd, path, O_WRONLY | O_CLOEXEC);
			if (fds[n] < 0)
				r = gt_err_errno(err, errno, "open %s", path);
		}
		if (r < 0) {
			while (n > 0)
				gt_close(fds[--n]);
			gt_cgroup_remove(g, leaf);
			return gt_err_wrap(err, "control group %s", leaf);
		}
	}
	*n_fds = n;
	return 0;
}

static int limit_memory(const struct gt_cgroups *g, const char *leaf, uint64_t bytes,
			struct gt_err *err)
{
	bool unified = g->bases[g->base_of[GT_CGROUP_MEMORY]].unified;
	char text[32];
	int r;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	r = leaf_write(g, GT_CGROUP_MEMORY, leaf, unified ? "memory.max" : "memory.limit_in_bytes",
		       text, err);
	/* No swap: a function that swaps is slower than one that is told. Kernels may lack these.
	 */
	if (unified) {
		leaf_write(g, GT_CGROUP_MEMORY, leaf, "memory.swap.max", "0", NULL);
		leaf_write(g, GT_CGROUP_MEMORY, leaf, "memory.oom.group", "1", NULL);
	} else {
		leaf_write(g, GT_CGROUP_MEMORY, leaf, "memory.memsw.limit_in_bytes", text, NULL);
	}
	return r;
}

static int limit_cpu(const struct gt_cgroups *g, const char *leaf, uint32_t milli,
		     struct gt_err *err)
{
	uint64_t quota_us = (uint64_t)milli * CPU_PERIOD_US / 1000;
	char text[48];

	quota_us = GT_MAX(quota_us, 1000); /* the least that the kernel takes */
	if (g->bases[g->base_of[GT_CGROUP_CPU]].unified) {
		snprintf(text, sizeof(text), "%llu %d", (unsigned long long)quota_us,
			 CPU_PERIOD_US);
		return leaf_write(g, GT_CGROUP_CPU, leaf, "cpu.max", text, err);
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)quota_us);
	return leaf_write(g, GT_CGROUP_CPU, leaf, "cpu.cfs_quota_us", text, err);
}

int gt_cgroup_limit(const struct gt_cgroups *g, const char *leaf,
		    const struct gt_cgroup_limits *limits, struct gt_err *err)
{
	char text[32];
	int r = 0;

	if (limits->memory_bytes && g->base_of[GT_CGROUP_MEMORY] >= 0)
		r = limit_memory(g, leaf, limits->memory_bytes, err);
	if (r == 0 && limits->cpu_milli && g->base_of[GT_CGROUP_CPU] >= 0)
		r = limit_cpu(g, leaf, limits->cpu_milli, err);
	if (r == 0 && limits->pids && g->base_of[GT_CGROUP_PIDS] >= 0) {
		snprintf(text, sizeof(text), "%u", limits->pids);
		r = leaf_write(g, GT_CGROUP_PIDS, leaf, "pids.max", text, err);
	}
	return r;
}

uint64_t gt_cgroup_oom_kills(const struct gt_cgroups *g, const char *leaf)
{
	int base = g->base_of[GT_CGROUP_MEMORY];
	char path[FILE_SIZE], text[1024];
	const char *at;

	if (base < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", leaf,
		 g->bases[base].unified ? "memory.events" : "memory.oom_control");
	if (gt_os_read_at(g->bases[base].fd, path, text, sizeof(text), NULL) < 0)
		return 0;
	/* "oom_kill 3"; the version 1 file also has "oom_kill_disable 0". */
	at = strstr(text, "oom_kill ");
	return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

static void kill_listed(int base_fd, const char *leaf)
{
	char path[FILE_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", leaf);
	fd = openat(base_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	gt_auto(file) FILE *f = fdopen(fd, "r");
	gt_auto(free) char *line = NULL;
	size_t size = 0;

	if (!f) {
		gt_close(fd);
		return;
	}
	while (getline(&line, &size, f) > 0) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		/* 0 stands for a process of another pid namespace. */
		if (pid > 1 && pid != getpid())
			kill(pid, SIGKILL);
	}
}

void gt_cgroup_kill(const struct gt_cgroups *g, const char *leaf)
{
	for (size_t i = 0; i < g->n_bases; i++) {
		char path[FILE_SIZE];

		snprintf(path, sizeof(path), "%s/cgroup.kill", leaf);
		if (!g->bases[i].unified || gt_os_write_at(g->bases[i].fd, path, "1", NULL) < 0)
			kill_listed(g->bases[i].fd, leaf);
	}
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
