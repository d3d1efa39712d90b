/* test_cgroup.c - control groups on a tree of plain files that looks like each version. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/base.h>
#include <gantry/base/cleanup.h>

#include "cgroup.h"

static char root[64];

static void put(const char *text, const char *fmt, ...)
{
	char name[256], path[400];
	va_list args;
	FILE *f;

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void expect(const char *name, const char *text)
{
	char path[400], got[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s is missing", path);
	assert_true(fgets(got, sizeof(got), f) || !*text);
	fclose(f);
	assert_string_equal(got, text);
}

static int make_root(void **state)
{
	(void)state;
	gt_strcopy(root, sizeof(root), "/tmp/gantry-cg-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int remove_root(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct gt_cgroup_limits limits = { .memory_bytes = 64 * GT_MIB,
						.cpu_milli = 1500,
						.pids = 100 };

/* What the kernel would put into a new group. */
static void fill_leaf(const char *base, const char *const *files)
{
	for (; *files; files++)
		put("", "%s/leaf/%s", base, *files);
}

static void usage_of_version_2(const struct gt_cgroups *g)
{
	struct gt_usage u;

	put("4096\n", "fs/mine/leaf/memory.current");
	put("usage_usec 1234\nuser_usec 1000\nnr_throttled 2\nthrottled_usec 55\n",
	    "fs/mine/leaf/cpu.stat");
	put("7\n", "fs/mine/leaf/pids.current");
	put("8:0 rbytes=10 wbytes=20 rios=1 wios=3 dbytes=5 dios=0\n"
	    "8:16 rbytes=1 wbytes=2 rios=1 wios=4 dbytes=0 dios=0\n",
	    "fs/mine/leaf/io.stat");
	put("some avg10=1.25 avg60=0.00 avg300=0.00 total=77\n"
	    "full avg10=0.50 avg60=0.00 avg300=0.00 total=33\n",
	    "fs/mine/leaf/memory.pressure");
	put("some avg10=99.00 avg60=0.00 avg300=0.00 total=5\n", "fs/mine/leaf/cpu.pressure");
	put("nonsense\n", "fs/mine/leaf/io.pressure");
	gt_cgroup_usage(g, "leaf", &u);
	/* memory.peak and io.pressure are not there: not known is not 0. */
	assert_int_equal(u.has, GT_USAGE_MEMORY | GT_USAGE_OOM | GT_USAGE_CPU | GT_USAGE_PIDS |
					GT_USAGE_THROTTLED | GT_USAGE_IO | GT_USAGE_CPU_PRESSURE |
					GT_USAGE_MEMORY_PRESSURE);
	assert_int_equal(u.memory_bytes, 4096);
	assert_int_equal(u.oom_kills, 3);
	assert_int_equal(u.cpu_us, 1234);
	assert_int_equal(u.pids, 7);
	assert_int_equal(u.io_read_bytes, 11);
	assert_int_equal(u.io_write_bytes, 22);
	assert_int_equal(u.io_reads, 2);
	assert_int_equal(u.io_writes, 7);
	assert_int_equal(u.throttled_us, 55);
	assert_int_equal(u.memory.some_avg10_centi, 125);
	assert_int_equal(u.memory.full_avg10_centi, 50);
	assert_int_equal(u.memory.some_us, 77);
	assert_int_equal(u.memory.full_us, 33);
	assert_int_equal(u.cpu.some_avg10_centi, 9900);
}

/* What a node may lack is refused, where it would only seem to be kept. */
static void limits_that_are_asked_for(void **state)
{
	struct gt_cgroup_limits asked = { .memory_high_bytes = 5 * GT_MIB };
	struct gt_cgroups g;
	struct gt_err err = { 0 };
	char line[256], proc[80];
	int fds[GT_CGROUP_CTL_N];
	size_t n;

	(void)state;
	snprintf(line, sizeof(line), "30 20 0:27 / %s/fs rw - cgroup2 cgroup2 rw\n", root);
	put(line, "proc/self/mountinfo");
	put("0::/\n", "proc/self/cgroup");
	put("io memory\n", "fs/cgroup.controllers");
	put("", "fs/cgroup.subtree_control");
	put("", "fs/mine/cgroup.subtree_control");
	snprintf(proc, sizeof(proc), "%s/proc", root);
	assert_int_equal(gt_cgroups_open(proc, "mine", NULL, &g, &err), 0);
	fill_leaf("fs/mine",
		  (const char *const[]){ "cgroup.procs", "memory.high", "io.max", NULL });
	assert_int_equal(gt_cgroup_make(&g, "leaf", fds, &n, &err), 0);
	gt_close(fds[0]);
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &asked, &err), -EOPNOTSUPP);
	assert_string_equal(err.slug, "limit_unsupported");
	assert_non_null(strstr(err.text, "resources.memory_high"));
	put("max\n", "fs/mine/memory.high");
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &asked, &err), 0);
	expect("fs/mine/leaf/memory.high", "5242880");

	asked.io = (struct gt_io_limits){ .read_bps = GT_MIB, .write_iops = 100 };
	assert_int_equal(gt_cgroups_can(&g, &asked, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "throttles"));
	put("", "fs/mine/io.max");
	assert_int_equal(gt_cgroups_can(&g, &asked, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "block device"));
	asked.disks[asked.n_disks++] = (struct gt_cgroup_disk){ 8, 16 };
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &asked, &err), 0);
	expect("fs/mine/leaf/io.max", "8:16 rbps=1048576 wiops=100");
	gt_cgroups_close(&g);
}

static void a_partition_is_limited_by_its_disk(void **state)
{
	struct gt_cgroup_limits limits_of = { 0 };
	char sys[80], link[128];

	(void)state;
	put("8:0\n", "sys/devices/sda/dev");
	put("8:2\n", "sys/devices/sda/sda2/dev");
	put("2\n", "sys/devices/sda/sda2/partition");
	put("253:1\n", "sys/devices/virtual/dm-1/dev");
	put("", "sys/dev/block/some");
	snprintf(sys, sizeof(sys), "%s/sys", root);
	snprintf(link, sizeof(link), "%s/dev/block/8:2", sys);
	assert_int_equal(symlink("../../devices/sda/sda2", link), 0);
	snprintf(link, sizeof(link), "%s/dev/block/253:1", sys);
	assert_int_equal(symlink("../../devices/virtual/dm-1", link), 0);
	gt_cgroup_disk_add(sys, makedev(0, 44), &limits_of); /* tmpfs, btrfs, nfs */
	assert_int_equal(limits_of.n_disks, 0);
	gt_cgroup_disk_add(sys, makedev(8, 2), &limits_of);
	gt_cgroup_disk_add(sys, makedev(253, 1), &limits_of);
	gt_cgroup_disk_add(sys, makedev(8, 2), &limits_of);
	assert_int_equal(limits_of.n_disks, 2);
	assert_int_equal(limits_of.disks[0].major, 8);
	assert_int_equal(limits_of.disks[0].minor, 0);
	assert_int_equal(limits_of.disks[1].major, 253);
	assert_int_equal(limits_of.disks[1].minor, 1);
}

static void version_2(void **state)
{
	struct gt_cgroups g;
	struct gt_err err = { 0 };
	char line[256];
	int fds[GT_CGROUP_CTL_N];
	size_t n;

	(void)state;
	snprintf(line, sizeof(line), "30 20 0:27 / %s/fs rw - cgroup2 cgroup2 rw\n", root);
	put(line, "proc/self/mountinfo");
	put("0::/user.slice/some.scope\n", "proc/self/cgroup");
	put("cpuset cpu io memory hugetlb pids\n", "fs/cgroup.controllers");
	put("", "fs/cgroup.subtree_control");
	put("", "fs/mine/cgroup.subtree_control");
	put("9", "fs/mine/hugetlb.2MB.max");
	put("9", "fs/mine/hugetlb.2MB.rsvd.max");
	put("0", "fs/mine/hugetlb.2MB.current");
	char proc[80];
	snprintf(proc, sizeof(proc), "%s/proc", root);
	if (gt_cgroups_open(proc, "mine", NULL, &g, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(g.unified);
	assert_int_equal(g.n_bases, 1);
	assert_int_equal(g.base_of[GT_CGROUP_DEVICES], -1); /* plain files take no program */
	expect("fs/mine/hugetlb.2MB.max", "0");
	expect("fs/mine/hugetlb.2MB.rsvd.max", "0");
	fill_leaf("fs/mine", (const char *const[]){ "cgroup.procs", "memory.max", "memory.swap.max",
						    "memory.oom.group", "cpu.max", "cpu.weight",
						    "pids.max", "cgroup.freeze", NULL });
	assert_int_equal(gt_cgroup_make(&g, "leaf", fds, &n, &err), 0);
	assert_int_equal(n, 1);
	gt_close(fds[0]);
	assert_int_equal(gt_cgroup_dir(&g, "leaf", &fds[0], &err), 0);
	gt_close(fds[0]);
	if (gt_cgroup_limit(&g, "leaf", &limits, &err) < 0)
		fail_msg("%s", err.text);
	expect("fs/mine/leaf/memory.max", "67108864");
	expect("fs/mine/leaf/memory.swap.max", "0");
	expect("fs/mine/leaf/memory.oom.group", "1");
	expect("fs/mine/leaf/cpu.max", "150000 100000");
	expect("fs/mine/leaf/cpu.weight", "150");
	expect("fs/mine/leaf/pids.max", "100");
	put("low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\n", "fs/mine/leaf/memory.events");
	assert_int_equal(gt_cgroup_oom_kills(&g, "leaf"), 3);
	put("", "fs/mine/leaf/cgroup.kill");
	gt_cgroup_kill(&g, "leaf");
	expect("fs/mine/leaf/cgroup.kill", "1");
	put("populated 1\nfrozen 1\n", "fs/mine/leaf/cgroup.events");
	assert_int_equal(gt_cgroup_freeze(&g, "leaf", &err), 0);
	expect("fs/mine/leaf/cgroup.freeze", "1");
	assert_int_equal(gt_cgroup_frozen(&g, "leaf", &err), 1);
	assert_int_equal(gt_cgroup_thaw(&g, "leaf", &err), 0);
	expect("fs/mine/leaf/cgroup.freeze", "0");
	put("populated 1\nfrozen 0\n", "fs/mine/leaf/cgroup.events");
	assert_int_equal(gt_cgroup_frozen(&g, "leaf", &err), 0);
	assert_int_equal(gt_cgroup_freeze(&g, "leaf", &err), -EAGAIN); /* and does not hang */
	usage_of_version_2(&g);
	gt_cgroups_close(&g);
}

static void read_only_is_survived(void **state)
{
	struct gt_cgroups g;
	struct gt_err err = { 0 };
	char line[256], proc[80];

	(void)state;
	/* A place where nothing can be made, whoever asks. */
	snprintf(line, sizeof(line), "30 20 0:27 / /sys rw - cgroup cgroup rw,memory\n");
	put(line, "proc/self/mountinfo");
	put("4:memory:/\n", "proc/self/cgroup");
	snprintf(proc, sizeof(proc), "%s/proc", root);
	assert_int_equal(gt_cgroups_open(proc, "mine", NULL, &g, &err), 0);
	assert_int_equal(g.n_bases, 0);
}

/* Opens as a process of the group would, and returns where the memory base came to be. */
static void open_from(const char *group, const char *keep, struct gt_cgroups *g)
{
	struct gt_err err = { 0 };
	char line[256], proc[80];

	snprintf(line, sizeof(line), "30 20 0:27 / %s/m rw - cgroup cgroup rw,memory\n", root);
	put(line, "proc/self/mountinfo");
	snprintf(line, sizeof(line), "4:memory:%s\n", group);
	put(line, "proc/self/cgroup");
	put("", "m%s/cgroup.procs", group);
	snprintf(proc, sizeof(proc), "%s/proc", root);
	if (gt_cgroups_open(proc, "mine", keep, g, &err) < 0)
		fail_msg("%s", err.text);
}

static void a_start_from_another_group_finds_what_was_left(void **state)
{
	struct gt_cgroups g;
	char first[160], second[160];

	(void)state;
	snprintf(first, sizeof(first), "%s/m/first/mine", root);
	snprintf(second, sizeof(second), "%s/m/second/mine", root);
	open_from("/first", root, &g);
	assert_string_equal(g.bases[g.base_of[GT_CGROUP_MEMORY]].path, first);
	put("", "m/first/mine/leaf/cgroup.procs"); /* killed while a replica ran */
	open_from("/second", root, &g);
	assert_string_equal(g.bases[g.base_of[GT_CGROUP_MEMORY]].path, first);
	assert_int_equal(access(second, F_OK), -1);
	char leaf[200];
	snprintf(leaf, sizeof(leaf), "%s/leaf/cgroup.procs", first);
	unlink(leaf);
	*strrchr(leaf, '/') = '\0';
	rmdir(leaf);
	open_from("/second", root, &g);
	assert_string_equal(g.bases[g.base_of[GT_CGROUP_MEMORY]].path, second);
	assert_int_equal(access(first, F_OK), -1);
	gt_cgroups_close(&g);
}

static int access_of(const char *name)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return access(path, F_OK);
}

static void version_1_with_a_controller_missing(void **state)
{
	struct gt_cgroups g;
	struct gt_err err = { 0 };
	struct gt_cgroup_limits asked;
	struct gt_usage usage;
	char text[768], proc[80];
	int fds[GT_CGROUP_CTL_N];
	size_t n;

	(void)state;
	snprintf(text, sizeof(text),
		 "30 20 0:27 / %s/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
		 "31 20 0:28 /outer %s/memory rw - cgroup cgroup rw,memory\n"
		 "32 20 0:29 / %s/unified rw - cgroup2 cgroup2 rw\n"
		 "33 20 0:30 / %s/devices rw - cgroup cgroup rw,devices\n"
		 "34 20 0:31 / %s/blkio rw - cgroup cgroup rw,blkio\n",
		 root, root, root, root, root);
	put(text, "proc/self/mountinfo");
	put("6:blkio:/\n5:devices:/\n4:memory:/outer/me\n1:cpu,cpuacct:/\n0::/\n",
	    "proc/self/cgroup");
	put("hugetlb\n", "unified/cgroup.controllers");
	put("", "memory/me/cgroup.procs");
	put("", "cpu/cgroup.procs");
	put("", "devices/cgroup.procs");
	put("", "blkio/cgroup.procs");
	snprintf(proc, sizeof(proc), "%s/proc", root);
	if (gt_cgroups_open(proc, "mine", NULL, &g, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(g.unified);
	assert_int_equal(g.base_of[GT_CGROUP_PIDS], -1); /* warned of, not fatal */
	assert_int_equal(g.n_bases, 4);
	assert_int_equal(g.base_of[GT_CGROUP_CPU], g.base_of[GT_CGROUP_CPUACCT]);
	assert_int_equal(access_of("unified/cgroup.subtree_control"), -1); /* left alone */
	/* Below our own group, also when the mount shows only a part of the hierarchy. */
	fill_leaf("memory/me/mine", (const char *const[]){ "tasks", "memory.limit_in_bytes",
							   "memory.oom_control", NULL });
	fill_leaf("blkio/mine", (const char *const[]){ "tasks", "blkio.throttle.read_bps_device",
						       "blkio.throttle.write_bps_device",
						       "blkio.throttle.write_iops_device", NULL });
	fill_leaf("cpu/mine",
		  (const char *const[]){ "tasks", "cpu.cfs_quota_us", "cpu.shares", NULL });
	fill_leaf("devices/mine",
		  (const char *const[]){ "tasks", "devices.deny", "devices.allow", NULL });
	assert_int_equal(gt_cgroup_make(&g, "leaf", fds, &n, &err), 0);
	assert_int_equal(n, 4);
	expect("devices/mine/leaf/devices.deny", "a");
	expect("devices/mine/leaf/devices.allow", "c 136:* rw"); /* the last of them */
	assert_int_equal(gt_cgroup_dir(&g, "leaf", &fds[n], &err), -ENOENT);
	assert_int_equal(gt_cgroup_freeze(&g, "leaf", &err), -EOPNOTSUPP);
	while (n > 0)
		gt_close(fds[--n]);
	if (gt_cgroup_limit(&g, "leaf", &limits, &err) < 0)
		fail_msg("%s", err.text);
	expect("memory/me/mine/leaf/memory.limit_in_bytes", "67108864");
	expect("cpu/mine/leaf/cpu.cfs_quota_us", "150000");
	expect("cpu/mine/leaf/cpu.shares", "1536");
	asked = (struct gt_cgroup_limits){ .memory_high_bytes = GT_MIB };
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &asked, &err), -EOPNOTSUPP);
	asked = (struct gt_cgroup_limits){ .io = { .read_bps = 65536, .write_iops = 99 },
					   .disks = { { 8, 0 } },
					   .n_disks = 1 };
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &asked, &err), -EOPNOTSUPP); /* too old */
	put("", "blkio/mine/blkio.throttle.read_bps_device");
	if (gt_cgroup_limit(&g, "leaf", &asked, &err) < 0)
		fail_msg("%s", err.text);
	expect("blkio/mine/leaf/blkio.throttle.read_bps_device", "8:0 65536");
	expect("blkio/mine/leaf/blkio.throttle.write_iops_device", "8:0 99");
	expect("blkio/mine/leaf/blkio.throttle.write_bps_device", "");
	put("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
	    "memory/me/mine/leaf/memory.oom_control");
	assert_int_equal(gt_cgroup_oom_kills(&g, "leaf"), 2);
	put("5000000\n", "cpu/mine/leaf/cpuacct.usage");
	put("nr_periods 9\nnr_throttled 2\nthrottled_time 7000\n", "cpu/mine/leaf/cpu.stat");
	gt_cgroup_usage(&g, "leaf", &usage);
	/* and no pressure */
	assert_int_equal(usage.has, GT_USAGE_OOM | GT_USAGE_CPU | GT_USAGE_THROTTLED);
	assert_int_equal(usage.cpu_us, 5000);
	assert_int_equal(usage.throttled_us, 7);
	gt_cgroups_close(&g);
}

static void nothing_at_all(void **state)
{
	struct gt_cgroups g;
	struct gt_err err = { 0 };
	int fds[GT_CGROUP_CTL_N];
	char proc[80];
	size_t n = 9;

	(void)state;
	put("30 20 0:27 / /tmp rw - tmpfs tmpfs rw\n", "proc/self/mountinfo");
	put("0::/\n", "proc/self/cgroup");
	snprintf(proc, sizeof(proc), "%s/proc", root);
	assert_int_equal(gt_cgroups_open(proc, "mine", NULL, &g, &err), 0);
	assert_int_equal(gt_cgroup_make(&g, "leaf", fds, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &limits, &err), 0);
	assert_int_equal(gt_cgroup_remove(&g, "leaf"), 0);
	gt_cgroups_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(version_2, make_root, remove_root),
		cmocka_unit_test_setup_teardown(limits_that_are_asked_for, make_root, remove_root),
		cmocka_unit_test_setup_teardown(a_partition_is_limited_by_its_disk, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(a_start_from_another_group_finds_what_was_left,
						make_root, remove_root),
		cmocka_unit_test_setup_teardown(version_1_with_a_controller_missing, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(read_only_is_survived, make_root, remove_root),
		cmocka_unit_test_setup_teardown(nothing_at_all, make_root, remove_root),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
