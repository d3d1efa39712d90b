/* namespaces.c - all of them the container's own, none can be made, entered or left. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEWTIME 0x80

static const struct {
	const char *name;
	long flag;
} kinds[] = {
	{ "mnt", CLONE_NEWNS },        { "pid", CLONE_NEWPID }, { "net", CLONE_NEWNET },
	{ "ipc", CLONE_NEWIPC },       { "uts", CLONE_NEWUTS }, { "user", CLONE_NEWUSER },
	{ "cgroup", CLONE_NEWCGROUP }, { "time", NEWTIME },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void differs(struct result *r, const char *kind, long nr)
{
	char name[40], path[40], link[64];
	const char *host;
	ssize_t n;

	(void)nr;
	snprintf(name, sizeof(name), "HOST_NS_%s", kind);
	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	host = host_fact(r, name);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0) {
		say(r, ESCAPED, "%s: %s", path, error_name(errno));
		return;
	}
	link[n] = '\0';
	say(r, host && strcmp(host, link) == 0 ? ESCAPED : CONTAINED, "own %s, the host's %s", link,
	    host);
}

/* One line, beginning at 0, of at most 64 Ki ids that are nobody's on the host. */
static void id_map(struct result *r, const char *path, long nr)
{
	unsigned long inside = 1, outside = 0, count = 0;
	char text[400];
	int end = 0;

	(void)nr;
	if (slurp(path, text, sizeof(text)) < 0 ||
	    sscanf(text, "%lu %lu %lu %n", &inside, &outside, &count, &end) != 3)
		say(r, ESCAPED, "%s can not be read", path);
	else
		say(r,
		    inside == 0 && outside >= 65536 && count <= 65536 && !text[end] ? CONTAINED
										    : ESCAPED,
		    "%s: %lu %lu %lu", path, inside, outside, count);
}

/* nr: 1 for the offsets of clocks, which have another form. */
static void write_map(struct result *r, const char *path, long nr)
{
	const char *text = nr == 1 ? "monotonic 100 0\n" : "0 0 1\n";
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	must_fail(r, path, fd < 0 ? -1 : write(fd, text, strlen(text)));
}

static void unshare_each(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (size_t i = 0; i < N_KINDS; i++)
		must_fail(r, kinds[i].name, syscall(SYS_unshare, kinds[i].flag));
}

static void clone_each(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (size_t i = 0; i < N_KINDS; i++) {
		/* The time flag of clone collides with the exit signal's bits: clone3 has it. */
		long pid = kinds[i].flag == NEWTIME
				   ? (errno = EPERM, -1)
				   : syscall(SYS_clone, kinds[i].flag | SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			_exit(0);
		must_fail(r, kinds[i].name, pid);
	}
}

static void clone3_each(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (size_t i = 0; i < N_KINDS; i++) {
		unsigned long long args[11] = { (unsigned long long)kinds[i].flag };
		long pid = syscall(SYS_clone3, args, sizeof(args));

		if (pid == 0)
			_exit(0);
		must_fail(r, kinds[i].name, pid);
	}
}

/* Its own ones, which it holds descriptors of: a filter that lets them through lets all through. */
static void enter(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (size_t i = 0; i < N_KINDS; i++) {
		char path[40];
		int fd;

		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must_fail(r, path, fd < 0 ? -1 : syscall(SYS_setns, fd, 0));
	}
}

static void enter_by_pidfd(struct result *r, const char *arg, long nr)
{
	int fd = (int)syscall(SYS_pidfd_open, 1, 0);

	(void)arg;
	(void)nr;
	must_fail(r, "setns by a pidfd of process 1", syscall(SYS_setns, fd, CLONE_NEWUTS));
}

/* From a namespace to the one that owns it, which is the host's. */
static void owner(struct result *r, const char *arg, long request)
{
	int fd = open(arg, O_RDONLY | O_CLOEXEC);

	must_fail(r, arg, fd < 0 ? -1 : ioctl(fd, (unsigned long)request));
}

static void host_name(struct result *r, const char *arg, long nr)
{
	(void)arg;
	must_fail(r, nr == SYS_sethostname ? "sethostname" : "setdomainname",
		  syscall(nr, "escaped", 7));
}

static const struct probe table[] = {
	{ "ns_mnt", differs, "mnt", 0, BARE, PLAIN },
	{ "ns_pid", differs, "pid", 0, BARE, PLAIN },
	{ "ns_net", differs, "net", 0, BARE, PLAIN },
	{ "ns_ipc", differs, "ipc", 0, BARE, PLAIN },
	{ "ns_uts", differs, "uts", 0, BARE, PLAIN },
	{ "ns_user", differs, "user", 0, BARE, PLAIN },
	{ "ns_cgroup", differs, "cgroup", 0, BARE, PLAIN },
	{ "ns_uid_map", id_map, "/proc/self/uid_map", 0, BARE, PLAIN },
	{ "ns_gid_map", id_map, "/proc/self/gid_map", 0, BARE, PLAIN },
	{ "ns_uid_map_write", write_map, "/proc/self/uid_map", 0, NOWHERE, PLAIN },
	{ "ns_unshare", unshare_each, NULL, 0, UNSHARED, PLAIN },
	{ "ns_clone", clone_each, NULL, 0, UNSHARED, PLAIN },
	{ "ns_clone3", clone3_each, NULL, 0, UNSHARED, PLAIN },
	{ "ns_setns", enter, NULL, 0, UNSHARED, PLAIN },
	{ "ns_setns_pidfd", enter_by_pidfd, NULL, 0, UNSHARED, PLAIN },
	{ "ns_owner", owner, "/proc/self/ns/mnt", NS_GET_USERNS, BARE, PLAIN },
	{ "ns_parent", owner, "/proc/self/ns/user", NS_GET_PARENT, NOWHERE, PLAIN },
	{ "ns_time_offsets", write_map, "/proc/self/timens_offsets", 1, NOWHERE, PLAIN },
	{ "ns_sethostname", host_name, NULL, SYS_sethostname, UNSHARED, PLAIN },
	{ "ns_setdomainname", host_name, NULL, SYS_setdomainname, UNSHARED, PLAIN },
};
const struct probes namespace_probes = PROBES(table);
