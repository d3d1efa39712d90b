/* cgroup_usage.c - what the kernel has counted for a leaf. What a file does not tell stays unknown,
 * it is never given as 0. */
#include "cgroup_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/os/os.h>

/* The number after `name` at the beginning of a line: "oom_kill 3"; name "" = of the only line. */
static bool number_of(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, name, len) == 0 && text[len] >= '0' && text[len] <= '9') {
			/* A report could not carry more. */
			*ret = GT_MIN(strtoull(text + len, NULL, 10),
				      (unsigned long long)INT64_MAX);
			return true;
		}
	}
	return false;
}

static bool read_number(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *leaf,
			const char *file, const char *name, uint64_t *ret)
{
	char text[4096];

	return gt_cgroup_has(g, ctl) &&
	       gt_cgroup_read(g, ctl, leaf, file, text, sizeof(text), NULL) >= 0 &&
	       number_of(text, name, ret);
}

/* The version 1 file also has "oom_kill_disable 0". */
static bool oom_kills(const struct gt_cgroups *g, const char *leaf, uint64_t *ret)
{
	return read_number(g, GT_CGROUP_MEMORY, leaf,
			   gt_cgroup_is_unified(g, GT_CGROUP_MEMORY) ? "memory.events"
								     : "memory.oom_control",
			   "oom_kill ", ret);
}

static bool memory_used(const struct gt_cgroups *g, const char *leaf, uint64_t *ret)
{
	return read_number(g, GT_CGROUP_MEMORY, leaf,
			   gt_cgroup_is_unified(g, GT_CGROUP_MEMORY) ? "memory.current"
								     : "memory.usage_in_bytes",
			   "", ret);
}

uint64_t gt_cgroup_oom_kills(const struct gt_cgroups *g, const char *leaf)
{
	uint64_t n = 0;

	oom_kills(g, leaf, &n);
	return n;
}

/* What the kernel still has on its way back to the machine, and the pages of the image's files. */
#define FRESH_BYTES (4 * GT_MIB)

bool gt_cgroup_is_fresh(const struct gt_cgroups *g, const char *leaf)
{
	uint64_t pids, bytes = 0, kills = 0;

	return read_number(g, GT_CGROUP_PIDS, leaf, "pids.current", "", &pids) && pids == 0 &&
	       (!gt_cgroup_has(g, GT_CGROUP_MEMORY) ||
		(oom_kills(g, leaf, &kills) && kills == 0 && memory_used(g, leaf, &bytes) &&
		 bytes <= FRESH_BYTES));
}

static void cpu_unified(const struct gt_cgroups *g, const char *leaf, struct gt_usage *u)
{
	char text[4096];

	if (gt_cgroup_read(g, GT_CGROUP_CPUACCT, leaf, "cpu.stat", text, sizeof(text), NULL) < 0)
		return;
	if (number_of(text, "usage_usec ", &u->cpu_us))
		u->has |= GT_USAGE_CPU;
	if (number_of(text, "throttled_usec ", &u->throttled_us))
		u->has |= GT_USAGE_THROTTLED;
}

static void cpu(const struct gt_cgroups *g, const char *leaf, struct gt_usage *u)
{
	if (gt_cgroup_is_unified(g, GT_CGROUP_CPUACCT)) {
		cpu_unified(g, leaf, u);
		return;
	}
	if (read_number(g, GT_CGROUP_CPUACCT, leaf, "cpuacct.usage", "", &u->cpu_us)) {
		u->cpu_us /= 1000;
		u->has |= GT_USAGE_CPU;
	}
	if (read_number(g, GT_CGROUP_CPU, leaf, "cpu.stat", "throttled_time ", &u->throttled_us)) {
		u->throttled_us /= 1000;
		u->has |= GT_USAGE_THROTTLED;
	}
}

static uint64_t sum_of(const char *text, const char *name)
{
	uint64_t sum = 0;

	for (const char *at = text; (at = strstr(at, name));) {
		at += strlen(name);
		sum += strtoull(at, NULL, 10);
	}
	return GT_MIN(sum, (uint64_t)INT64_MAX);
}

/* Each device has a line: "8:0 rbytes=1 wbytes=2 rios=3 ..." in version 2, in version 1 one a kind:
 * "8:0 Read 1". A group that has not touched a disk has none. */
static void io(const struct gt_cgroups *g, const char *leaf, struct gt_usage *u)
{
	char bytes[16384], ops[16384];
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_IO);

	if (!gt_cgroup_has(g, GT_CGROUP_IO) ||
	    gt_cgroup_read(g, GT_CGROUP_IO, leaf,
			   unified ? "io.stat" : "blkio.throttle.io_service_bytes", bytes,
			   sizeof(bytes), NULL) < 0 ||
	    (!unified && gt_cgroup_read(g, GT_CGROUP_IO, leaf, "blkio.throttle.io_serviced", ops,
					sizeof(ops), NULL) < 0))
		return;
	u->io_read_bytes = sum_of(bytes, unified ? " rbytes=" : " Read ");
	u->io_write_bytes = sum_of(bytes, unified ? " wbytes=" : " Write ");
	u->io_reads = sum_of(unified ? bytes : ops, unified ? " rios=" : " Read ");
	u->io_writes = sum_of(unified ? bytes : ops, unified ? " wios=" : " Write ");
	u->has |= GT_USAGE_IO;
}

/* "some avg10=0.12 avg60=0.00 avg300=0.00 total=345", then the same of "full", which older kernels
 * do not have for the processor. */
static bool pressure(const struct gt_cgroups *g, const char *leaf, const char *file,
		     struct gt_pressure *ret)
{
	struct gt_pressure p = { 0 };
	unsigned whole, part;
	unsigned long long total;
	char path[GT_CGROUP_LEAF_SIZE + 48], text[512];
	const char *full;

	snprintf(path, sizeof(path), "%s/%s", leaf, file);
	if (!g->unified || gt_os_read_at(g->bases[0].fd, path, text, sizeof(text), NULL) < 0 ||
	    sscanf(text, "some avg10=%u.%u avg60=%*s avg300=%*s total=%llu", &whole, &part,
		   &total) != 3)
		return false;
	p.some_avg10_centi = whole * 100 + part;
	p.some_us = total;
	full = strstr(text, "full ");
	if (full && sscanf(full, "full avg10=%u.%u avg60=%*s avg300=%*s total=%llu", &whole, &part,
			   &total) == 3) {
		p.full_avg10_centi = whole * 100 + part;
		p.full_us = total;
	}
	*ret = p;
	return true;
}

void gt_cgroup_usage(const struct gt_cgroups *g, const char *leaf, struct gt_usage *ret)
{
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_MEMORY);
	struct gt_usage u = { 0 };

	if (memory_used(g, leaf, &u.memory_bytes))
		u.has |= GT_USAGE_MEMORY;
	if (read_number(g, GT_CGROUP_MEMORY, leaf,
			unified ? "memory.peak" : "memory.max_usage_in_bytes", "",
			&u.memory_peak_bytes))
		u.has |= GT_USAGE_MEMORY_PEAK;
	if (oom_kills(g, leaf, &u.oom_kills))
		u.has |= GT_USAGE_OOM;
	cpu(g, leaf, &u);
	if (read_number(g, GT_CGROUP_PIDS, leaf, "pids.current", "", &u.pids))
		u.has |= GT_USAGE_PIDS;
	io(g, leaf, &u);
	if (pressure(g, leaf, "cpu.pressure", &u.cpu))
		u.has |= GT_USAGE_CPU_PRESSURE;
	if (pressure(g, leaf, "memory.pressure", &u.memory))
		u.has |= GT_USAGE_MEMORY_PRESSURE;
	if (pressure(g, leaf, "io.pressure", &u.io))
		u.has |= GT_USAGE_IO_PRESSURE;
	*ret = u;
}
