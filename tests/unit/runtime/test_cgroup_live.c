/* test_cgroup_live.c - control groups of the kernel that runs the test: those that the daemon would
 * use on this machine, and, where that is version 1, also what version 2 has without controllers.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/clock.h>
#include <gantry/os/os.h>

#include "cgroup_impl.h"

#define NAME           "gantry-unit-test"
#define CGROUP2_MAGIC  0x63677270
#define WAIT_MS        5000
#define NOBODYS_MAJOR  60 /* for local use: no driver, so an open that is let through is ENXIO */
#define BOMBS          100
#define BOMB_KILLS_MAX 4   /* one is meant to do; the machine may be busy */
#define BOMB_MS        500 /* for who was killed to be gone */

static struct gt_cgroups g;
static int fds[GT_CGROUP_CTL_N];
static size_t n_fds;

static bool passed_ms(uint64_t since_ns, uint64_t ms)
{
	return gt_mono_ns(&gt_clock_system) - since_ns > ms * GT_NS_PER_MS;
}

/* ---- fixtures ---- */

static int make_leaf(void)
{
	struct gt_err err = { 0 };

	n_fds = 0;
	if (gt_cgroup_make(&g, "leaf", fds, &n_fds, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int machine_setup(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	if (geteuid() != 0)
		return 0;
	if (gt_cgroups_open("/proc", NAME, NULL, &g, &err) < 0)
		fail_msg("%s", err.text);
	return make_leaf();
}

static const char *unified_mount(void)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs st;

	for (size_t i = 0; i < 2; i++) {
		if (statfs(places[i], &st) == 0 && st.f_type == CGROUP2_MAGIC)
			return places[i];
	}
	return NULL;
}

/* A base as gt_cgroups_open makes it, but in a hierarchy that may have no controllers. */
static int unified_setup(void **state)
{
	const char *mount = unified_mount();
	struct gt_err err = { 0 };

	(void)state;
	g.n_bases = 0;
	if (geteuid() != 0 || !mount)
		return 0;
	g = (struct gt_cgroups){ .n_bases = 1, .unified = true };
	snprintf(g.bases[0].path, sizeof(g.bases[0].path), "%s/" NAME, mount);
	g.bases[0].unified = true;
	for (int c = 0; c < GT_CGROUP_CTL_N; c++)
		g.base_of[c] = -1;
	g.base_of[GT_CGROUP_DEVICES] = g.base_of[GT_CGROUP_FREEZER] = g.base_of[GT_CGROUP_CPUACCT] =
		0;
	assert_int_equal(gt_os_mkdir_at(AT_FDCWD, g.bases[0].path, 0755, &err), 0);
	assert_int_equal(gt_os_open_dir(AT_FDCWD, g.bases[0].path, &g.bases[0].fd, &err), 0);
	if (gt_cgroup_device_base(g.bases[0].fd, &err) < 0) {
		print_message("%s\n", err.text);
		g.base_of[GT_CGROUP_DEVICES] = -1;
	}
	return make_leaf();
}

/* Whatever a failed test left in the leaf goes with it. */
static int teardown(void **state)
{
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);

	(void)state;
	while (g.n_bases > 0 && gt_cgroup_remove(&g, "leaf") == -EBUSY) {
		gt_cgroup_kill(&g, "leaf");
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (passed_ms(since_ns, WAIT_MS))
			return -1;
	}
	while (n_fds > 0)
		gt_close(fds[--n_fds]);
	gt_cgroups_close(&g);
	return 0;
}

#define NEEDS_GROUPS()                                           \
	do {                                                     \
		(void)state;                                     \
		if (geteuid() != 0 || g.n_bases == 0) {          \
			print_message("skipped: needs root and " \
				      "control groups\n");       \
			skip();                                  \
		}                                                \
	} while (0)

/* ---- processes ---- */

static void join(void)
{
	for (size_t i = 0; i < n_fds; i++) {
		if (write(fds[i], "0", 1) != 1)
			_exit(99);
	}
}

/* Runs fn in the leaf and returns its answer. */
static int inside(int (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		join();
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 99);
	return WEXITSTATUS(status);
}

static bool lists(size_t base, pid_t pid)
{
	char path[GT_CGROUP_PATH_SIZE + 32], line[32];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/leaf/cgroup.procs", g.bases[base].path);
	f = fopen(path, "r");
	while (f && !found && fgets(line, sizeof(line), f))
		found = atoi(line) == pid;
	if (f)
		fclose(f);
	return found;
}

/* A process in the leaf that counts as long as it runs. */
static pid_t counter(volatile uint64_t **ret)
{
	volatile uint64_t *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				    -1, 0);
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	pid_t pid;

	assert_true(n != MAP_FAILED);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		join();
		mmap(NULL, GT_MIB, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0); /* to be charged for */
		for (;;)
			(*n)++;
	}
	while (*n == 0 && !passed_ms(since_ns, WAIT_MS))
		poll(NULL, 0, 1);
	assert_true(*n > 0);
	*ret = n;
	return pid;
}

static void remove_leaf(void)
{
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);

	while (gt_cgroup_remove(&g, "leaf") == -EBUSY)
		assert_false(passed_ms(since_ns, WAIT_MS));
}

/* ---- membership and limits ---- */

static void joined_killed_removed(void **state)
{
	volatile uint64_t *n;
	pid_t pid;
	int status;

	NEEDS_GROUPS();
	pid = counter(&n);
	for (size_t i = 0; i < g.n_bases; i++)
		assert_true(lists(i, pid));
	assert_int_equal(gt_cgroup_remove(&g, "leaf"), -EBUSY); /* somebody is in it */
	gt_cgroup_kill(&g, "leaf");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	remove_leaf();
	assert_int_equal(gt_cgroup_remove(&g, "leaf"), 0);
	assert_int_equal(gt_cgroup_oom_kills(&g, "leaf"), 0);
	munmap((void *)n, 4096);
}

static void limits_are_taken(void **state)
{
	const struct gt_cgroup_limits limits = { .memory_bytes = 64 * GT_MIB,
						 .cpu_milli = 1500,
						 .pids = 100 };
	struct gt_err err = { 0 };

	NEEDS_GROUPS();
	if (gt_cgroup_limit(&g, "leaf", &limits, &err) < 0)
		fail_msg("%s", err.text);
}

static int eats_some(void *arg)
{
	const size_t size = 8 * GT_MIB + 128 * GT_KIB; /* a trifle: the kernel is slow */
	char *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	for (size_t i = 0; i < size; i += 4096)
		room[i] = 1;
	return 0;
}

/* Any disk will do, also one without a medium: nothing is read. */
static bool find_disk(struct gt_cgroup_limits *limits)
{
	DIR *d = opendir("/sys/block");
	struct gt_cgroup_disk *disk = &limits->disks[0];
	const struct dirent *e;
	char path[300], text[32];

	while (d && limits->n_disks == 0 && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/sys/block/%s/dev", e->d_name);
		if (e->d_name[0] != '.' &&
		    gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) >= 0)
			limits->n_disks = sscanf(text, "%u:%u", &disk->major, &disk->minor) == 2;
	}
	if (d)
		closedir(d);
	return limits->n_disks > 0;
}

static void a_disk_is_limited(void **state)
{
	struct gt_cgroup_limits limits = { .io = { .read_bps = 1048576, .write_iops = 77 } };
	char text[4096], wanted[64];
	struct gt_err err = { 0 };
	bool unified;

	NEEDS_GROUPS();
	if (!gt_cgroup_has(&g, GT_CGROUP_IO) || !find_disk(&limits) ||
	    gt_cgroups_can(&g, &limits, &err) < 0) {
		print_message("skipped: no disk, or none that can be limited: %s\n", err.text);
		skip();
	}
	unified = gt_cgroup_is_unified(&g, GT_CGROUP_IO);
	if (gt_cgroup_limit(&g, "leaf", &limits, &err) < 0)
		fail_msg("%s", err.text);
	/* The kernel's own word on it. */
	assert_true(gt_cgroup_read(&g, GT_CGROUP_IO, "leaf",
				   unified ? "io.max" : "blkio.throttle.read_bps_device", text,
				   sizeof(text), &err) >= 0);
	snprintf(wanted, sizeof(wanted),
		 unified ? "%u:%u rbps=1048576 wbps=max riops=max wiops=77" : "%u:%u 1048576",
		 limits.disks[0].major, limits.disks[0].minor);
	assert_non_null(strstr(text, wanted));
	limits.disks[0] = (struct gt_cgroup_disk){ 4000, 4000 };
	assert_true(gt_cgroup_limit(&g, "leaf", &limits, &err) < 0);
	assert_string_equal(err.slug, "limit_unsupported");
}

static void memory_is_slowed_before_its_end(void **state)
{
	const struct gt_cgroup_limits limits = { .memory_bytes = 64 * GT_MIB,
						 .memory_high_bytes = 8 * GT_MIB };
	char text[4096];
	struct gt_err err = { 0 };

	NEEDS_GROUPS();
	if (!gt_cgroup_is_unified(&g, GT_CGROUP_MEMORY)) {
		assert_int_equal(gt_cgroup_limit(&g, "leaf", &limits, &err), -EOPNOTSUPP);
		assert_string_equal(err.slug, "limit_unsupported");
		return;
	}
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &limits, &err), 0);
	assert_int_equal(inside(eats_some, NULL), 0); /* it is not killed for it */
	assert_true(gt_cgroup_read(&g, GT_CGROUP_MEMORY, "leaf", "memory.events", text,
				   sizeof(text), &err) >= 0);
	assert_null(strstr(text, "\nhigh 0\n"));
	assert_int_equal(gt_cgroup_oom_kills(&g, "leaf"), 0);
}

static int eats_memory(void *arg)
{
	char *room = mmap(NULL, 64 * GT_MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	(void)arg;
	for (size_t i = 0; i < 64 * GT_MIB; i += 4096)
		room[i] = 1;
	return 0;
}

static void memory_ends_at_the_limit(void **state)
{
	const struct gt_cgroup_limits limits = { .memory_bytes = 16 * GT_MIB };
	struct gt_err err = { 0 };
	struct gt_usage u;
	int status;
	pid_t pid;

	NEEDS_GROUPS();
	if (!gt_cgroup_has(&g, GT_CGROUP_MEMORY))
		skip();
	assert_int_equal(gt_cgroup_limit(&g, "leaf", &limits, &err), 0);
	pid = fork();
	if (pid == 0) {
		join();
		_exit(eats_memory(NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(gt_cgroup_oom_kills(&g, "leaf") > 0);
	gt_cgroup_usage(&g, "leaf", &u);
	assert_true(u.has & GT_USAGE_OOM && u.oom_kills > 0);
}

static void other_daemons_leaf(const char *leaf, void *arg)
{
	(void)arg;
	fail_msg("%s is somebody else's", leaf);
}

static void two_daemons_do_not_meet(void **state)
{
	struct gt_err err = { 0 };
	struct gt_cgroups other;

	NEEDS_GROUPS();
	assert_int_equal(gt_cgroups_open("/proc", NAME "-other", NULL, &other, &err), 0);
	gt_cgroups_each(&other, other_daemons_leaf, NULL);
	gt_cgroups_close(&other);
	assert_int_equal(access(g.bases[0].path, F_OK), 0);
}

static void cloned_into_it(void **state)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	struct gt_err err = { 0 };
	int dir, ready[2];
	char byte;
	pid_t pid;

	NEEDS_GROUPS();
	assert_int_equal(gt_cgroup_dir(&g, "leaf", &dir, &err), 0);
	assert_int_equal(pipe(ready), 0);
	args.cgroup = (uint64_t)dir;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ready[1]);
		_exit((int)read(ready[0], &byte, 1));
	}
	assert_true(lists(0, pid));
	gt_close(ready[0]);
	gt_close(ready[1]);
	gt_close(dir);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- devices ---- */

struct node {
	char path[64];
	unsigned major;
	int flags;
};

static int opens(void *arg)
{
	const struct node *n = arg;

	return open(n->path, n->flags) >= 0 ? 0 : errno;
}

static int makes(void *arg)
{
	const struct node *n = arg;

	return mknod(n->path, S_IFCHR | 0600, makedev(n->major, 3)) == 0 ? 0 : errno;
}

static int makes_block(void *arg)
{
	const struct node *n = arg;

	return mknod(n->path, S_IFBLK | 0600, makedev(n->major, 3)) == 0 ? 0 : errno;
}

static void only_harmless_devices(void **state)
{
	const struct gt_cgroup_device extra = { 'c', NOBODYS_MAJOR, GT_CGROUP_ANY, GT_CGROUP_READ };
	struct node nobodys = { "", NOBODYS_MAJOR, O_RDONLY }, null = { "", 1, O_RDWR };
	char dir[] = "/tmp/gantry-nodes-XXXXXX";
	struct gt_err err = { 0 };

	NEEDS_GROUPS();
	if (!gt_cgroup_has(&g, GT_CGROUP_DEVICES)) {
		print_message("skipped: no control of devices\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	snprintf(nobodys.path, sizeof(nobodys.path), "%s/nobodys", dir);
	snprintf(null.path, sizeof(null.path), "%s/null", dir);
	/* The very process that holds all rights: only the group can be what refuses. */
	assert_int_equal(inside(makes, &nobodys), EPERM);
	assert_int_equal(inside(makes_block, &nobodys), EPERM);
	assert_int_equal(makes(&nobodys), 0);
	assert_int_equal(opens(&nobodys), ENXIO);
	assert_int_equal(inside(opens, &nobodys), EPERM);
	assert_int_equal(inside(makes, &null), 0);
	assert_int_equal(inside(opens, &null), 0);
	assert_int_equal(inside(opens, &(struct node){ "/dev/ptmx", 0, O_RDWR | O_NOCTTY }), 0);
	if (gt_cgroup_device_allow(&g, "leaf", &extra, 1, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(inside(opens, &nobodys), ENXIO); /* let through; no driver behind it */
	nobodys.flags = O_RDWR;
	assert_int_equal(inside(opens, &nobodys), EPERM); /* to read only */
	assert_int_equal(inside(opens, &null), 0);
	unlink(nobodys.path);
	unlink(null.path);
	assert_int_equal(rmdir(dir), 0);
}

/* A program that allows all, attached as a service manager does it; -errno when that is refused. */
static int attach_allow_all(uint32_t flags)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static const char license[] = "GPL";
	gt_auto(fd) int prog = -EBADF, dir = -EBADF;
	struct gt_err err = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = GT_LEN(insns);
	attr.license = (uintptr_t)license;
	prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	assert_true(prog >= 0);
	assert_int_equal(gt_cgroup_dir(&g, "leaf", &dir, &err), 0);
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = flags;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* "Failed to initialize NVML" after a reload of the service manager, or the opposite: whatever
 * another program does with the rules, they neither end nor get wider. */
static void nobody_widens_the_rules(void **state)
{
	const struct gt_cgroup_device mine = { 'c', NOBODYS_MAJOR, 3, GT_CGROUP_READ };
	struct node given = { "", NOBODYS_MAJOR, O_RDONLY },
		    other = { "", NOBODYS_MAJOR + 1, O_RDONLY };
	char dir[] = "/tmp/gantry-nodes-XXXXXX";
	struct gt_err err = { 0 };

	NEEDS_GROUPS();
	if (!gt_cgroup_is_unified(&g, GT_CGROUP_DEVICES)) {
		print_message("skipped: no programs for devices\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	snprintf(given.path, sizeof(given.path), "%s/given", dir);
	snprintf(other.path, sizeof(other.path), "%s/other", dir);
	assert_int_equal(makes(&given), 0);
	assert_int_equal(makes(&other), 0);
	if (gt_cgroup_device_allow(&g, "leaf", &mine, 1, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(attach_allow_all(BPF_F_ALLOW_OVERRIDE), -EPERM);
	assert_int_equal(attach_allow_all(0), -EPERM);
	assert_int_equal(attach_allow_all(BPF_F_ALLOW_MULTI), 0);
	assert_int_equal(inside(opens, &given), ENXIO);
	assert_int_equal(inside(opens, &other), EPERM);
	unlink(given.path);
	unlink(other.path);
	assert_int_equal(rmdir(dir), 0);
}

/* ---- freezing ---- */

static void freeze_leaf(void)
{
	struct gt_err err = { 0 };
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	int r;

	/* On a busy machine one wait may not be enough. */
	while ((r = gt_cgroup_freeze(&g, "leaf", &err)) == -EAGAIN && !passed_ms(since_ns, WAIT_MS))
		;
	if (r < 0)
		fail_msg("%s", err.text);
}

static void frozen_and_thawed(void **state)
{
	struct gt_err err = { 0 };
	struct gt_cgroups again;
	volatile uint64_t *n;
	uint64_t before, since_ns;
	pid_t pid;

	NEEDS_GROUPS();
	if (!gt_cgroup_has(&g, GT_CGROUP_FREEZER))
		skip();
	pid = counter(&n);
	assert_int_equal(gt_cgroup_frozen(&g, "leaf", &err), 0);
	freeze_leaf();
	before = *n;
	since_ns = gt_mono_ns(&gt_clock_system);
	while (!passed_ms(since_ns, 20))
		assert_int_equal(*n, before);
	/* A daemon that starts now finds it as it is. */
	again = g;
	assert_int_equal(gt_cgroup_frozen(&again, "leaf", &err), 1);
	assert_int_equal(gt_cgroup_thaw(&g, "leaf", &err), 0);
	assert_int_equal(gt_cgroup_frozen(&g, "leaf", &err), 0);
	since_ns = gt_mono_ns(&gt_clock_system);
	while (*n == before && !passed_ms(since_ns, WAIT_MS))
		poll(NULL, 0, 1);
	assert_true(*n > before);
	gt_cgroup_kill(&g, "leaf");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	munmap((void *)n, 4096);
}

static void killed_while_frozen(void **state)
{
	volatile uint64_t *n;
	int status;
	pid_t pid;

	NEEDS_GROUPS();
	if (!gt_cgroup_has(&g, GT_CGROUP_FREEZER))
		skip();
	pid = counter(&n);
	freeze_leaf();
	gt_cgroup_kill(&g, "leaf");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	remove_leaf();
	munmap((void *)n, 4096);
}

/* ---- stopping ---- */

struct bomb {
	unsigned joined;
	uint64_t born;
};

/* Each starts the next one and ends: no list of them is true by the time that it was read. */
static _Noreturn void explode(struct bomb *b)
{
	for (;;) {
		pid_t pid = fork();

		if (pid > 0)
			_exit(0);
		if (pid == 0)
			__atomic_add_fetch(&b->born, 1, __ATOMIC_RELAXED);
	}
}

static bool nobody_left(uint64_t within_ms)
{
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);

	while (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD) {
		if (passed_ms(since_ns, within_ms))
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

static void fork_bomb_is_gone(void **state)
{
	volatile struct bomb *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned kills = 0;
	uint64_t since_ns;

	NEEDS_GROUPS();
	assert_true(b != MAP_FAILED);
	signal(SIGCHLD, SIG_IGN); /* the dead need no burial */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < BOMBS; i++) {
		if (fork() == 0) {
			join();
			__atomic_add_fetch(&b->joined, 1, __ATOMIC_RELAXED);
			explode((struct bomb *)b);
		}
	}
	since_ns = gt_mono_ns(&gt_clock_system);
	while (b->joined < BOMBS || b->born < 10 * BOMBS) {
		poll(NULL, 0, 1);
		assert_false(passed_ms(since_ns, 4 * WAIT_MS));
	}
	since_ns = gt_mono_ns(&gt_clock_system);
	do {
		gt_cgroup_kill(&g, "leaf");
		kills++;
	} while (!nobody_left(BOMB_MS) && kills < BOMB_KILLS_MAX);
	print_message("%llu processes gone after %u kills, %llu us\n", (unsigned long long)b->born,
		      kills,
		      (unsigned long long)((gt_mono_ns(&gt_clock_system) - since_ns) / 1000));
	assert_true(nobody_left(0));
	remove_leaf();
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	munmap((void *)b, 4096);
}

/* ---- usage ---- */

static void usage_is_told(void **state)
{
	volatile uint64_t *n;
	struct gt_usage u;
	uint64_t since_ns;
	pid_t pid;

	NEEDS_GROUPS();
	pid = counter(&n);
	since_ns = gt_mono_ns(&gt_clock_system);
	do {
		gt_cgroup_usage(&g, "leaf", &u);
	} while (u.cpu_us < 1000 && u.has & GT_USAGE_CPU && !passed_ms(since_ns, WAIT_MS));
	if (gt_cgroup_has(&g, GT_CGROUP_CPUACCT))
		assert_true(u.has & GT_USAGE_CPU && u.cpu_us >= 1000);
	if (gt_cgroup_has(&g, GT_CGROUP_MEMORY))
		assert_true(u.has & GT_USAGE_MEMORY && u.memory_bytes > 0);
	if (gt_cgroup_has(&g, GT_CGROUP_PIDS))
		assert_true(u.has & GT_USAGE_PIDS && u.pids == 1);
	/* Kernels may be built or started without it; version 1 never has it. */
	if (g.unified && access("/proc/pressure", F_OK) == 0)
		assert_true(u.has & GT_USAGE_CPU_PRESSURE && u.has & GT_USAGE_MEMORY_PRESSURE);
	else
		assert_false(u.has & (GT_USAGE_CPU_PRESSURE | GT_USAGE_MEMORY_PRESSURE |
				      GT_USAGE_IO_PRESSURE));
	gt_cgroup_kill(&g, "leaf");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	munmap((void *)n, 4096);
}

#define ON_MACHINE(f)                                           \
	{                                                       \
		"machine_" #f, f, machine_setup, teardown, NULL \
	}
#define ON_UNIFIED(f)                                           \
	{                                                       \
		"unified_" #f, f, unified_setup, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_MACHINE(joined_killed_removed),   ON_UNIFIED(joined_killed_removed),
		ON_MACHINE(limits_are_taken),        ON_MACHINE(memory_ends_at_the_limit),
		ON_MACHINE(a_disk_is_limited),       ON_MACHINE(memory_is_slowed_before_its_end),
		ON_MACHINE(two_daemons_do_not_meet), ON_UNIFIED(cloned_into_it),
		ON_MACHINE(only_harmless_devices),   ON_UNIFIED(only_harmless_devices),
		ON_UNIFIED(nobody_widens_the_rules), ON_MACHINE(frozen_and_thawed),
		ON_UNIFIED(frozen_and_thawed),       ON_MACHINE(killed_while_frozen),
		ON_UNIFIED(killed_while_frozen),     ON_MACHINE(fork_bomb_is_gone),
		ON_UNIFIED(fork_bomb_is_gone),       ON_MACHINE(usage_is_told),
		ON_UNIFIED(usage_is_told),
	};

	return cmocka_run_group_tests_name("cgroup_live", tests, NULL, NULL);
}
