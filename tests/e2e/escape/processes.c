/* processes.c - the host's processes are not there, and process 1 can not be looked into. */
#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* Every process that can be seen descends from process 1 of this container: a handful. */
static void visible(struct result *r, const char *arg, long nr)
{
	DIR *d = opendir("/proc");
	int n = 0;

	(void)arg;
	(void)nr;
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		n += e->d_name[0] >= '0' && e->d_name[0] <= '9';
	say(r, n > 0 && n < 16 ? CONTAINED : ESCAPED, "%d processes can be seen", n);
	if (d)
		closedir(d);
}

/* The number of a process of the host's: here it is nobody's. */
static void signal_host(struct result *r, const char *arg, long nr)
{
	const char *pid = host_fact(r, "HOST_PID");

	(void)arg;
	(void)nr;
	if (!pid)
		return;
	if (kill(atoi(pid), 0) == 0 || errno != ESRCH)
		say(r, ESCAPED, "process %s of the host is there", pid);
	else
		say(r, CONTAINED, "process %s: ESRCH", pid);
}

/* To everybody that it may signal. The test outside looks whether one of its own heard it. */
static void signal_all(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	if (kill(-1, SIGUSR2) < 0 && errno != ESRCH && errno != EPERM)
		say(r, ESCAPED, "kill: %s", error_name(errno));
	say(r, CONTAINED, "sent to everybody");
}

static void kill_init(struct result *r, const char *arg, long nr)
{
	/* Not those that process 1 passes on: they would come back to the program. */
	static const int signals[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGABRT, SIGTRAP };
	char stat[400];

	(void)arg;
	(void)nr;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		kill(1, signals[i]);
	if (slurp("/proc/1/stat", stat, sizeof(stat)) < 0 || !strchr(stat, ')') ||
	    strchr("ZXTt", strrchr(stat, ')')[2]))
		say(r, ESCAPED, "process 1 is hit");
	say(r, CONTAINED, "process 1 goes on");
}

/* A link, a file to read, or a directory whose entries are links. */
static void init_entry(struct result *r, const char *arg, long nr)
{
	char path[64], text[400];
	struct stat st;
	DIR *d;

	(void)nr;
	snprintf(path, sizeof(path), "/proc/1/%s", arg);
	if (lstat(path, &st) < 0) {
		must_fail(r, path, -1);
	} else if (S_ISLNK(st.st_mode)) {
		must_fail(r, path, readlink(path, text, sizeof(text)));
		must_fail(r, path, open(path, O_PATH | O_CLOEXEC));
	} else if (S_ISREG(st.st_mode)) {
		must_fail(r, path, slurp(path, text, sizeof(text)));
	} else {
		size_t n = 0;

		d = opendir(path);
		if (!d)
			must_fail(r, path, -1);
		for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
			char entry[400];

			if (e->d_name[0] == '.')
				continue;
			n++;
			snprintf(entry, sizeof(entry), "%s/%s", path, e->d_name);
			must_fail(r, entry, readlink(entry, text, sizeof(text)));
		}
		say(r, n ? NOTHING : CONTAINED, "%s shows nothing", path);
	}
}

/* CVE-2019-5736: the runtime's program, opened for writing through a process that runs it. */
static void overwrite_exe(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "/proc/1/exe for writing", open("/proc/1/exe", O_WRONLY | O_CLOEXEC));
	must_fail(r, "/proc/1/exe to cut", truncate("/proc/1/exe", 0));
}

static void trace_init(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	must_fail(r, "PTRACE_SEIZE", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
}

static void init_memory(struct result *r, const char *arg, long nr)
{
	char here[16];
	struct iovec local = { here, sizeof(here) }, remote = { (void *)here, sizeof(here) };

	(void)arg;
	must_fail(r, nr == SYS_process_vm_readv ? "read" : "write",
		  syscall(nr, 1, &local, 1, &remote, 1, 0));
}

static void init_descriptor(struct result *r, const char *arg, long nr)
{
	int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);

	(void)arg;
	(void)nr;
	for (int fd = 0; fd < 32; fd++)
		must_fail(r, "pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

static void init_limits(struct result *r, const char *arg, long nr)
{
	unsigned long long old[2];

	(void)arg;
	(void)nr;
	must_fail(r, "limits of process 1", syscall(SYS_prlimit64, 1, 7, NULL, old));
}

/* ---- descriptors ---- */

static void leaked(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	say(r, started_with_fds == 7 ? CONTAINED : ESCAPED, "the program began with %#llx",
	    started_with_fds);
}

/* CVE-2024-21626: from any descriptor upwards. */
static void walk_up(struct result *r, const char *arg, long nr)
{
	struct stat root, st;

	(void)arg;
	(void)nr;
	stat("/", &root);
	for (int fd = 0; fd < 64; fd++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d/../../../../../..", fd);
		if (started_with_fds >> fd & 1 && stat(path, &st) == 0)
			say(r, ESCAPED, "%s leads somewhere", path);
	}
	if (stat("../../../../../../../..", &st) < 0 || st.st_ino != root.st_ino ||
	    st.st_dev != root.st_dev)
		say(r, ESCAPED, "the working directory is not below the root");
	say(r, CONTAINED, "no descriptor leads anywhere");
}

/* Standard output is a pipe that the program may open again (/dev/stdout), and no way to where it
 * lies on the host. */
static void stdio(struct result *r, const char *arg, long nr)
{
	struct stat st;

	(void)arg;
	(void)nr;
	for (int fd = 1; fd <= 2; fd++) {
		if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
			say(r, ESCAPED, "descriptor %d is no pipe", fd);
		if (openat(fd, "..", O_PATH | O_CLOEXEC) >= 0)
			say(r, ESCAPED, "a way up from descriptor %d", fd);
		if (linkat(fd, "", AT_FDCWD, "log-link", AT_EMPTY_PATH) == 0)
			say(r, ESCAPED, "the log can be linked to");
	}
	say(r, CONTAINED, "pipes");
}

/* Debian's crun 1.8 gave the host's /dev/null to the container. */
static void input(struct result *r, const char *arg, long nr)
{
	struct stat st;

	(void)arg;
	(void)nr;
	if (fstat(0, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		say(r, ESCAPED, "standard input is not the null device");
	must_fail(r, "owning the null device", fchown(0, 0, 0));
	must_fail(r, "its mode", fchmod(0, 0777));
}

/* No terminal to push bytes into (TIOCSTI), be it the controlling one or an inherited one. */
static void terminal(struct result *r, const char *arg, long nr)
{
	(void)arg;
	(void)nr;
	for (int fd = 0; fd <= 2; fd++) {
		if (isatty(fd))
			say(r, ESCAPED, "descriptor %d is a terminal", fd);
	}
	if (open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0 || errno != ENXIO)
		say(r, ESCAPED, "there is a controlling terminal");
	must_fail(r, "/dev/console", open("/dev/console", O_RDWR | O_CLOEXEC));
	must_fail(r, "/dev/tty0", open("/dev/tty0", O_RDWR | O_CLOEXEC));
}

static const struct probe table[] = {
	{ "proc_visible", visible, NULL, 0, NOWHERE, PLAIN },
	{ "proc_signal_host", signal_host, NULL, 0, BARE, PLAIN },
	{ "proc_signal_all", signal_all, NULL, 0, NOWHERE, PLAIN },
	{ "init_kill", kill_init, NULL, 0, NOWHERE, PLAIN },
	{ "init_root", init_entry, "root", 0, UNSHARED, PLAIN },
	{ "init_exe", init_entry, "exe", 0, UNSHARED, PLAIN },
	{ "init_cwd", init_entry, "cwd", 0, UNSHARED, PLAIN },
	{ "init_fd", init_entry, "fd", 0, UNSHARED, PLAIN },
	{ "init_ns", init_entry, "ns", 0, UNSHARED, PLAIN },
	{ "init_map_files", init_entry, "map_files", 0, UNSHARED, PLAIN },
	{ "init_environ", init_entry, "environ", 0, UNSHARED, PLAIN },
	{ "init_maps", init_entry, "maps", 0, UNSHARED, PLAIN },
	{ "init_mem", init_entry, "mem", 0, NOWHERE, PLAIN },
	{ "init_syscall", init_entry, "syscall", 0, UNSHARED, PLAIN },
	{ "init_stack", init_entry, "stack", 0, NOWHERE, PLAIN },
	{ "init_exe_overwrite", overwrite_exe, NULL, 0, UNSHARED, PLAIN },
	{ "init_ptrace", trace_init, NULL, 0, UNSHARED, PLAIN },
	{ "init_vm_read", init_memory, NULL, SYS_process_vm_readv, UNSHARED, PLAIN },
	{ "init_vm_write", init_memory, NULL, SYS_process_vm_writev, UNSHARED, PLAIN },
	{ "init_getfd", init_descriptor, NULL, 0, UNSHARED, PLAIN },
	{ "init_prlimit", init_limits, NULL, 0, UNSHARED, PLAIN },
	{ "fd_leaked", leaked, NULL, 0, NOWHERE, PLAIN },
	{ "fd_walk_up", walk_up, NULL, 0, NOWHERE, PLAIN },
	{ "fd_stdio", stdio, NULL, 0, NOWHERE, PLAIN },
	{ "fd_stdin", input, NULL, 0, NOWHERE, PLAIN },
	{ "fd_terminal", terminal, NULL, 0, NOWHERE, PLAIN },
};
const struct probes process_probes = PROBES(table);
