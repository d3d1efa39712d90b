/* rights.c - capabilities, identities, limits and priorities: what the program has, and no way to
 * more. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CAP(name) (1ull << CAP_##name)
/* Stated here a second time: a set that grows must be decided twice. */
#define KEPT                                                                                    \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | CAP(SETGID) | \
	 CAP(SETUID) | CAP(SETPCAP) | CAP(NET_BIND_SERVICE))

static const char *status_field(const char *name)
{
	static char text[8192];
	char *at;

	if (slurp("/proc/self/status", text, sizeof(text)) < 0)
		return "";
	at = strstr(text, name);
	at = at ? strchr(at, ':') : NULL;
	if (!at)
		return "";
	at += strspn(at, ": \t");
	at[strcspn(at, "\n")] = '\0';
	return at;
}

static void status_is(struct result *r, const char *name, long wanted)
{
	const char *text = status_field(name);
	unsigned long long value = strtoull(text, NULL, strncmp(name, "\nCap", 4) == 0 ? 16 : 10);

	say(r, *text && value == (unsigned long long)wanted ? CONTAINED : ESCAPED, "%s is %s",
	    name + 1, text);
}

static int capset_both(unsigned long long permitted, unsigned long long inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (unsigned)permitted, (unsigned)permitted, (unsigned)inheritable },
		{ (unsigned)(permitted >> 32), (unsigned)(permitted >> 32),
		  (unsigned)(inheritable >> 32) },
	};

	return (int)syscall(SYS_capset, &head, data);
}

static void cap_raise(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (KEPT >> cap & 1)
			continue;
		must_fail(r, "one more permitted", capset_both(KEPT | 1ull << cap, 0));
		must_fail(r, "one more inheritable", capset_both(KEPT, 1ull << cap));
	}
}

/* Rights that would pass to programs of another user. */
static void cap_ambient(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	capset_both(KEPT, KEPT);
	must_fail(r, "an ambient capability",
		  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
}

static void secure_bits(struct result *r, const char *arg, long nr)
{
	const int locked = SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	int bits = prctl(PR_GET_SECUREBITS);

	(void)arg;
	(void)nr;
	if (bits < 0 || (bits & locked) != locked)
		say(r, ESCAPED, "the securebits are %#x", bits);
	must_fail(r, "other securebits", prctl(PR_SET_SECUREBITS, 0));
}

static void no_new_privileges(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		say(r, ESCAPED, "new privileges are possible");
	if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
		say(r, ESCAPED, "it can be taken back");
	say(r, CONTAINED, "set for good");
}

/* As somebody else, through a program of the image that is set-uid root or carries capabilities. */
static void gain(struct result *r, const char *path, long nr)
{
	int ends[2], uid = -1, euid = -1;
	unsigned caps = 0;
	char text[64] = "";
	pid_t pid;

	(void)nr;
	if (pipe(ends) < 0 || (pid = fork()) < 0)
		return;
	if (pid == 0) {
		char *argv[] = { (char *)path, "--ids", NULL }, *envp[] = { NULL };

		if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0 ||
		    dup2(ends[1], 1) < 0)
			_exit(1);
		execve(path, argv, envp);
		_exit(1);
	}
	close(ends[1]);
	if (read(ends[0], text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%d %d %x", &uid, &euid, &caps) != 3)
		say(r, ESCAPED, "%s did not tell who it is", path);
	say(r, uid == 1000 && euid == 1000 && caps == 0 ? CONTAINED : ESCAPED,
	    "%s runs as %d, capabilities %#x", path, euid, caps);
}

/* An ordinary user of the container stays one. */
static void back_to_root(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0)
		say(r, ESCAPED, "no ordinary user can be become");
	must_fail(r, "setuid", setuid(0));
	must_fail(r, "setgid", setgid(0));
	must_fail(r, "capset", capset_both(CAP(CHOWN), 0));
}

/* Names by which the writable layer's file system steers itself. */
static void trusted_xattr(struct result *r, const char *name, long nr)
{
	int fd = open("xattr-here", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	(void)nr;
	must_fail(r, name, fsetxattr(fd, name, "/etc", 4, 0));
	unlink("xattr-here");
}

static void raise_limits(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (int which = 0; which < RLIM_NLIMITS; which++) {
		struct rlimit old, more;

		if (getrlimit((__rlimit_resource_t)which, &old) < 0 ||
		    old.rlim_max == RLIM_INFINITY)
			continue;
		more = (struct rlimit){ old.rlim_cur, old.rlim_max + 1 };
		must_fail(r, "a hard limit", setrlimit((__rlimit_resource_t)which, &more));
	}
}

/* With 1, neither a file nor a pipe in core_pattern gets anything; 0 would not stop a pipe. */
static void core_limit(struct result *r, const char *arg, long nr)
{
	struct rlimit core = { 9, 9 };

	(void)arg;
	(void)nr;
	getrlimit(RLIMIT_CORE, &core);
	say(r, core.rlim_cur == 1 && core.rlim_max == 1 ? CONTAINED : ESCAPED,
	    "the limits are %llu and %llu", (unsigned long long)core.rlim_cur,
	    (unsigned long long)core.rlim_max);
}

static void core_dump(struct result *r, const char *arg, long nr)
{
	int status = 0;
	pid_t pid = fork();

	(void)arg;
	(void)nr;
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	waitpid(pid, &status, 0);
	say(r, WIFSIGNALED(status) && !WCOREDUMP(status) ? CONTAINED : ESCAPED, "wait status %#x",
	    status);
}

static void oom_score(struct result *r, const char *text, long nr)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	(void)nr;
	must_fail(r, "a lower oom_score_adj", fd < 0 ? -1 : write(fd, text, strlen(text)));
}

static void real_time(struct result *r, const char *arg, long nr)
{
	struct sched_param one = { .sched_priority = 1 };
	unsigned deadline[12] = {
		48, SCHED_DEADLINE, 0, 0, 0, 0, 10000000, 0, 20000000, 0, 20000000
	};

	(void)arg;
	(void)nr;
	must_fail(r, "SCHED_FIFO", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &one));
	must_fail(r, "SCHED_RR", syscall(SYS_sched_setscheduler, 0, SCHED_RR, &one));
	must_fail(r, "SCHED_DEADLINE", syscall(SYS_sched_setattr, 0, deadline, 0));
}

static void nice_up(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "a higher priority", setpriority(PRIO_PROCESS, 0, -5));
}

static void io_real_time(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "real-time I/O", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
}

static const struct probe table[] = {
	{ "cap_effective", status_is, "\nCapEff", (long)KEPT, BARE, PLAIN },
	{ "cap_permitted", status_is, "\nCapPrm", (long)KEPT, BARE, PLAIN },
	{ "cap_bounding", status_is, "\nCapBnd", (long)KEPT, BARE, PLAIN },
	{ "cap_inheritable", status_is, "\nCapInh", 0, NOWHERE, PLAIN },
	{ "cap_ambient", status_is, "\nCapAmb", 0, NOWHERE, PLAIN },
	{ "cap_raise", cap_raise, NULL, 0, BARE, PLAIN },
	{ "cap_ambient_raise", cap_ambient, NULL, 0, BARE, PLAIN },
	{ "cap_securebits", secure_bits, NULL, 0, BARE, PLAIN },
	{ "no_new_privs", no_new_privileges, NULL, 0, BARE, PLAIN },
	{ "seccomp_mode", status_is, "\nSeccomp", 2, BARE, PLAIN },
	{ "gain_set_uid", gain, "./set-uid", 0, BARE, PLAIN },
	{ "gain_file_caps", gain, "./file-caps", 0, BARE, PLAIN },
	{ "gain_root_again", back_to_root, NULL, 0, NOWHERE, PLAIN },
	{ "xattr_overlay_redirect", trusted_xattr, "trusted.overlay.redirect", 0, BARE, PLAIN },
	{ "xattr_overlay_metacopy", trusted_xattr, "trusted.overlay.metacopy", 0, BARE, PLAIN },
	{ "limit_raise", raise_limits, NULL, 0, NOWHERE, PLAIN },
	{ "core_limit", core_limit, NULL, 0, BARE, PLAIN },
	{ "core_dump", core_dump, NULL, 0, NOWHERE, PLAIN },
	{ "oom_score_lower", oom_score, "-1000", 0, NOWHERE, PLAIN },
	{ "sched_real_time", real_time, NULL, 0, NOWHERE, PLAIN },
	{ "sched_nice", nice_up, NULL, 0, BARE, PLAIN },
	{ "sched_io", io_real_time, NULL, 0, BARE, PLAIN },
};
const struct probes right_probes = PROBES(table);
