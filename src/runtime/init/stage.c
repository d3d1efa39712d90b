/* stage.c - the part of a sandbox that is the same for every container, made ahead of demand:
 * control groups, network (net.c), /dev, /proc and /sys, the scratch file system of the writable
 * layer. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "init.h"

#define HARD (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Here and not in the agent's clone, which would stand still for it: a network takes long. */
static void namespaces(uint32_t net_flags, int made)
{
	int network = net_flags & (GT_INIT_NET_HOST | GT_INIT_NET_MADE) ? 0 : CLONE_NEWNET;

	if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | network) < 0)
		init_fail(GT_INIT_STEP_NAMESPACES, errno, 0);
	if (net_flags & GT_INIT_NET_MADE) {
		if (setns(made, CLONE_NEWNET) < 0)
			init_fail(GT_INIT_STEP_NAMESPACES, errno, 1);
		close(made);
	}
}

/* A write of "0" moves the writer, on cgroup v1 its one thread. It may take milliseconds: a reason
 * for staging. */
static void join_cgroups(const int *cgroups, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (write(cgroups[i], "0", 1) != 1)
			init_fail(GT_INIT_STEP_CGROUP, errno, (unsigned)i);
		close(cgroups[i]);
	}
	/* Only now: the namespace's root is the group of the process that makes it. */
	if (unshare(CLONE_NEWCGROUP) < 0)
		init_fail(GT_INIT_STEP_CGROUP, errno, (unsigned)n);
}

/* A daemon that the kernel should spare does not make its containers precious. */
static void ordinary_oom_score(void)
{
	int fd = open("proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "0", 1) == 1)
		close(fd);
}

/* 1 and not 0: a handler that the host's core_pattern pipes into runs as the host's root, and the
 * kernel starts it whatever the limit is, but for this value. Here, because with a hard limit of 0
 * a right is needed that is gone later; soft, as other limits are. */
static void no_core_dumps(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 });
}

/* One tmpfs holds the writable layer and the mount points; it gets its size with START. */
static void scratch(uint32_t id_base)
{
	static const char *const dirs[] = { "up", "work", "lower", "root", "dev", "proc", "sys" };
	int fs, mnt;

	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		init_fail(GT_INIT_STEP_SCRATCH, errno, 1);
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0 ||
	    move_mount(mnt, "", AT_FDCWD, GT_INIT_SCRATCH, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(mnt) < 0)
		init_fail(GT_INIT_STEP_SCRATCH, errno, 2);
	close(mnt);
	close(fs);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		if (mkdir(dirs[i], 0755) < 0)
			init_fail(GT_INIT_STEP_SCRATCH, errno, 3);
	}
	/* "up" gives the root directory its owner: the container's root may write there. */
	if (chown("up", id_base, id_base) < 0)
		init_fail(GT_INIT_STEP_SCRATCH, errno, 4);
	/* Before /dev: conformance programs want the kernel's list of mounts to begin like a
	 * bundle's does. */
	if (mount("proc", "proc", "proc", HARD, NULL) < 0)
		init_fail(GT_INIT_STEP_PROC, errno, 0);
}

static void dev_nodes(uint32_t id_base)
{
	static const struct {
		const char *path;
		unsigned major, minor;
	} nodes[] = {
		{ "dev/null", 1, 3 },   { "dev/zero", 1, 5 },    { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	static const struct {
		const char *path, *to;
	} links[] = {
		{ "dev/fd", "/proc/self/fd" },       { "dev/stdin", "/proc/self/fd/0" },
		{ "dev/stdout", "/proc/self/fd/1" }, { "dev/stderr", "/proc/self/fd/2" },
		{ "dev/ptmx", "pts/ptmx" },
	};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) <
			    0 ||
		    chmod(nodes[i].path, 0666) < 0 || chown(nodes[i].path, id_base, id_base) < 0)
			init_fail(GT_INIT_STEP_DEV, errno, (unsigned)i);
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (symlink(links[i].to, links[i].path) < 0)
			init_fail(GT_INIT_STEP_DEV, errno, 20);
	}
}

static void dev(uint32_t id_base)
{
	char pts[96];

	if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC,
		  "mode=0755,size=64k,nr_inodes=192") < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 30);
	dev_nodes(id_base);
	if (mkdir("dev/pts", 0755) < 0 || mkdir("dev/shm", 0755) < 0 ||
	    mkdir("dev/mqueue", 0755) < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 31);
	snprintf(pts, sizeof(pts), "newinstance,ptmxmode=0666,mode=0620,gid=%u", id_base + 5);
	if (mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, pts) < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 32);
	/* Inodes are bounded by the size, too: see overlay() in root.c. */
	if (mount("shm", "dev/shm", "tmpfs", HARD, "mode=1777,size=64m,nr_inodes=17408") < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 33);
	/* Kernels may lack message queues; nothing we start needs them. */
	mount("mqueue", "dev/mqueue", "mqueue", HARD, NULL);
	if (mount(NULL, "dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC,
		  NULL) < 0)
		init_fail(GT_INIT_STEP_DEV, errno, 34);
}

/* Hides a path behind an empty, unwritable thing of its kind. What does not exist needs no mask.
 * The source is the host's own device node, never one that an image could have prepared. */
void init_mask(const char *path, enum gt_init_step step)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		if (mount("tmpfs", path, "tmpfs", MS_RDONLY | HARD, "size=0,nr_inodes=2") < 0)
			init_fail(step, errno, 50);
	} else if (mount("dev/null", path, NULL, MS_BIND, NULL) < 0) {
		init_fail(step, errno, 51);
	}
}

static void proc_paths(void)
{
	/* Of driver, those who have devices get their part back (inject.c). */
	static const char *const masked[] = {
		"proc/acpi",        "proc/asound",        "proc/interrupts", "proc/kcore",
		"proc/keys",        "proc/latency_stats", "proc/timer_list", "proc/timer_stats",
		"proc/sched_debug", "proc/scsi",          "proc/driver",
	};
	static const char *const readonly[] = {
		"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger",
	};
	struct stat st;

	for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
		init_mask(masked[i], GT_INIT_STEP_PROC);
	for (size_t i = 0; i < sizeof(readonly) / sizeof(readonly[0]); i++) {
		if (lstat(readonly[i], &st) < 0)
			continue;
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0 ||
		    mount(NULL, readonly[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARD, NULL) <
			    0)
			init_fail(GT_INIT_STEP_PROC, errno, (unsigned)i);
	}
}

/* How warm the machine gets tells what its other containers do. */
static void mask_thermal(void)
{
	char path[80];
	struct stat st;

	for (unsigned cpu = 0;; cpu++) {
		snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u", cpu);
		if (lstat(path, &st) < 0)
			return;
		snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/thermal_throttle", cpu);
		init_mask(path, GT_INIT_STEP_SYS);
	}
}

static void sys(bool cgroup2)
{
	if (mount("sysfs", "sys", "sysfs", MS_RDONLY | HARD, NULL) < 0)
		init_fail(GT_INIT_STEP_SYS, errno, 0);
	init_mask("sys/firmware", GT_INIT_STEP_SYS);
	init_mask("sys/devices/virtual/powercap", GT_INIT_STEP_SYS);
	mask_thermal();
	/* Language runtimes size themselves by the limits they find here. */
	if (cgroup2 && mount("cgroup2", "sys/fs/cgroup", "cgroup2", MS_RDONLY | HARD, NULL) < 0)
		init_fail(GT_INIT_STEP_SYS, errno, 1);
}

void init_stage(const struct gt_init_stage *stage, const int *fds, size_t n_fds)
{
	int other_net = -1;

	if (stage->net.flags & (GT_INIT_NET_EGRESS | GT_INIT_NET_MADE)) {
		if (n_fds == 0)
			init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
		other_net = fds[--n_fds];
	}
	namespaces(stage->net.flags, other_net);
	join_cgroups(fds, n_fds);
	scratch(stage->id_base);
	ordinary_oom_score();
	no_core_dumps();
	init_net(&stage->net, other_net);
	dev(stage->id_base);
	proc_paths();
	sys(stage->cgroup2 != 0);
}
