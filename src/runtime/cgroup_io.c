/* cgroup_io.c - limits that a kernel, or a place, may not be able to keep: traffic with disks, and
 * memory that is slowed down before it meets its end. */
#include "cgroup_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gantry/os/os.h>

#define SLUG "limit_unsupported"

/* Version 1 has a file for each. */
static const struct io_row {
	const char *v1, *v2; /* v2: name in io.max */
	bool ops;
	size_t offset; /* in struct gt_io_limits */
} io_rows[] = {
#define AT(member) offsetof(struct gt_io_limits, member)
	{ "blkio.throttle.read_bps_device", "rbps", false, AT(read_bps) },
	{ "blkio.throttle.write_bps_device", "wbps", false, AT(write_bps) },
	{ "blkio.throttle.read_iops_device", "riops", true, AT(read_iops) },
	{ "blkio.throttle.write_iops_device", "wiops", true, AT(write_iops) },
#undef AT
};

static uint64_t value_of(const struct gt_io_limits *io, const struct io_row *row)
{
	const char *at = (const char *)io + row->offset;

	return row->ops ? *(const uint32_t *)(const void *)at : *(const uint64_t *)(const void *)at;
}

/* The base is a group like its leaves: what file it has they will have. */
static bool offers(const struct gt_cgroups *g, enum gt_cgroup_ctl ctl, const char *file)
{
	return gt_cgroup_has(g, ctl) && faccessat(g->bases[g->base_of[ctl]].fd, file, F_OK, 0) == 0;
}

static int can_limit_io(const struct gt_cgroups *g, const struct gt_cgroup_limits *limits,
			struct gt_err *err)
{
	if (!offers(g, GT_CGROUP_IO,
		    gt_cgroup_is_unified(g, GT_CGROUP_IO) ? "io.max" : io_rows[0].v1))
		return gt_err_set(err, EOPNOTSUPP, SLUG,
				  "resources.io can not be kept on this node: its kernel has no io "
				  "control group that throttles; leave it out");
	if (limits->n_disks == 0)
		return gt_err_set(err, EOPNOTSUPP, SLUG,
				  "resources.io can not be kept on this node: neither its state "
				  "directory nor the image or a volume is on a block device; leave "
				  "it out");
	return 0;
}

int gt_cgroups_can(const struct gt_cgroups *g, const struct gt_cgroup_limits *limits,
		   struct gt_err *err)
{
	/* Version 1's soft limit is another thing: it counts only when the whole machine is short.
	 */
	if (limits->memory_high_bytes && !offers(g, GT_CGROUP_MEMORY, "memory.high"))
		return gt_err_set(err, EOPNOTSUPP, SLUG,
				  "resources.memory_high can not be kept on this node: it needs "
				  "control groups of version 2; leave it out");
	return gt_io_is_limited(&limits->io) ? can_limit_io(g, limits, err) : 0;
}

void gt_cgroup_disk_add(const char *sys, dev_t dev, struct gt_cgroup_limits *limits)
{
	struct gt_cgroup_disk disk = { major(dev), minor(dev) };
	char path[256], text[32];

	if (disk.major == 0)
		return;
	/* The directory of a partition is in that of its disk. */
	snprintf(path, sizeof(path), "%s/dev/block/%u:%u/partition", sys, disk.major, disk.minor);
	if (access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "%s/dev/block/%u:%u/../dev", sys, disk.major,
			 disk.minor);
		if (gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) < 0 ||
		    sscanf(text, "%u:%u", &disk.major, &disk.minor) != 2)
			return;
	}
	for (size_t i = 0; i < limits->n_disks; i++) {
		if (limits->disks[i].major == disk.major && limits->disks[i].minor == disk.minor)
			return;
	}
	if (limits->n_disks < GT_CGROUP_DISKS_MAX)
		limits->disks[limits->n_disks++] = disk;
}

static int limit_disk(const struct gt_cgroups *g, const char *leaf, const struct gt_io_limits *io,
		      const struct gt_cgroup_disk *disk, struct gt_err *err)
{
	bool unified = gt_cgroup_is_unified(g, GT_CGROUP_IO);
	char text[160];
	int len = snprintf(text, sizeof(text), "%u:%u", disk->major, disk->minor), start = len;
	int r = 0;

	for (size_t i = 0; r == 0 && i < GT_LEN(io_rows); i++) {
		unsigned long long value = value_of(io, &io_rows[i]);

		if (!value)
			continue;
		if (unified) {
			len += snprintf(text + len, sizeof(text) - (size_t)len, " %s=%llu",
					io_rows[i].v2, value);
			continue;
		}
		snprintf(text + start, sizeof(text) - (size_t)start, " %llu", value);
		r = gt_cgroup_write(g, GT_CGROUP_IO, leaf, io_rows[i].v1, text, err);
	}
	return unified ? gt_cgroup_write(g, GT_CGROUP_IO, leaf, "io.max", text, err) : r;
}

int gt_cgroup_limit_io(const struct gt_cgroups *g, const char *leaf,
		       const struct gt_cgroup_limits *limits, struct gt_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < limits->n_disks; i++) {
		r = limit_disk(g, leaf, &limits->io, &limits->disks[i], err);
		if (r < 0)
			gt_err_set(
				err, -r, SLUG,
				"resources.io can not be kept on this node: its disk %u:%u takes "
				"no limit: %s",
				limits->disks[i].major, limits->disks[i].minor, strerror(-r));
	}
	return r;
}
