/* inject.c - see the header. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEN(a)    (sizeof(a) / sizeof((a)[0]))
#define ERRNOS    5
#define SEEN_PIDS 4096

static const struct call {
	int nr;
	const char *name;
	enum call_kind kind;
	int errors[ERRNOS]; /* until 0 */
} calls[] = {
#define CALL(name, kind, ...) { SYS_##name, #name, kind, { __VA_ARGS__ } },
#include "calls.tbl"
#undef CALL
};

/* ---- the filter ---- */

#define NR      offsetof(struct seccomp_data, nr)
#define ARG(n)  (offsetof(struct seccomp_data, args) + 8 * (n)) /* low half */
#define LOAD(x) *at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, x)
#define SKIP_UNLESS(value, n) \
	*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), 0, n)
#define RETURN(x) *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, x)

int inject_filter(int spare_fd)
{
	struct sock_filter code[3 * LEN(calls) + 32], *at = code;
	struct sock_fprog program;

	LOAD(offsetof(struct seccomp_data, arch));
	SKIP_UNLESS(AUDIT_ARCH_X86_64, 1);
	*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0);
	RETURN(SECCOMP_RET_ALLOW);
	LOAD(NR);
	/* Of a few, only some uses can fail for want of anything. */
	SKIP_UNLESS(SYS_sendmsg, 4);
	LOAD(ARG(0));
	SKIP_UNLESS(spare_fd, 1);
	RETURN(SECCOMP_RET_ALLOW);
	LOAD(NR);
	SKIP_UNLESS(SYS_fcntl, 6);
	LOAD(ARG(1));
	SKIP_UNLESS(F_DUPFD_CLOEXEC, 1);
	RETURN(SECCOMP_RET_USER_NOTIF);
	SKIP_UNLESS(F_DUPFD, 1);
	RETURN(SECCOMP_RET_USER_NOTIF);
	RETURN(SECCOMP_RET_ALLOW);
	SKIP_UNLESS(SYS_epoll_ctl, 4);
	LOAD(ARG(1));
	SKIP_UNLESS(1, 1); /* EPOLL_CTL_ADD */
	RETURN(SECCOMP_RET_USER_NOTIF);
	RETURN(SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < LEN(calls); i++) {
		if (calls[i].nr == SYS_fcntl || calls[i].nr == SYS_epoll_ctl)
			continue;
		SKIP_UNLESS(calls[i].nr, 1);
		RETURN(SECCOMP_RET_USER_NOTIF);
	}
	RETURN(SECCOMP_RET_ALLOW);
	if (geteuid() != 0)
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	program = (struct sock_fprog){ (unsigned short)(at - code), code };
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &program);
}

/* ---- who asks ---- */

/* What a container's program or a tool does is none of ours: a process that has executed a program
 * by path is somebody else's. The daemon's own are executed by /proc/self/exe or by descriptor. */
static struct {
	pid_t pid;
	bool foreign, known;
	char role[32];
} seen[SEEN_PIDS];

static void role_of(pid_t pid, char *out, size_t size)
{
	char path[64], text[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	size_t first = strlen(text);

	if (strcmp(text, "gantry-init") != 0 && n > 0 && first + 1 < (size_t)n)
		snprintf(out, size, "%s", text + first + 1);
	else
		snprintf(out, size, "%s", strrchr(text, '/') ? strrchr(text, '/') + 1 : text);
}

static void read_text(pid_t pid, uint64_t address, char *out, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, out, size - 1, (off_t)address);
	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
}

static pid_t parent_of(pid_t pid)
{
	char path[64], text[512], *rest;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	rest = strrchr(text, ')'); /* ") S 123" */
	return rest && strlen(rest) > 4 ? atoi(rest + 4) : 0;
}

static bool is_ours(const struct seccomp_notif *q, const char *role)
{
	size_t at = (size_t)q->pid % SEEN_PIDS;
	char path[64];

	if (seen[at].pid != (pid_t)q->pid) {
		pid_t parent = parent_of((pid_t)q->pid);
		bool foreign = seen[(size_t)parent % SEEN_PIDS].pid == parent &&
			       seen[(size_t)parent % SEEN_PIDS].foreign;

		memset(&seen[at], 0, sizeof(seen[at]));
		seen[at].pid = (pid_t)q->pid;
		seen[at].foreign = foreign;
	}
	if (q->data.nr == SYS_execve) {
		read_text((pid_t)q->pid, q->data.args[0], path, sizeof(path));
		seen[at].foreign = strcmp(path, "/proc/self/exe") != 0 && !strstr(path, "/gantry");
		seen[at].known = false;
		return true;
	}
	if (q->data.nr == SYS_execveat)
		seen[at].known = false;
	if (seen[at].foreign)
		return false;
	if (!role[0])
		return true;
	if (!seen[at].known)
		role_of((pid_t)q->pid, seen[at].role, sizeof(seen[at].role));
	seen[at].known = q->data.nr != SYS_execveat && q->data.nr != SYS_execve;
	return strcmp(seen[at].role, role) == 0;
}

/* ---- what it is about ---- */

/* Reads and writes: 0 when this descriptor is none that can fail. */
static int data_error(const struct seccomp_notif *q, const struct call *c, unsigned pick,
		      char *file, size_t size)
{
	char path[64];
	ssize_t n;
	int fd = (int)q->data.args[0];
	bool writes = strstr(c->name, "write") != NULL;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)q->pid, fd);
	n = readlink(path, file, size - 1);
	file[n > 0 ? n : 0] = '\0';
	if (writes && fd <= 2)
		return 0;
	if (strncmp(file, "socket:", 7) == 0)
		return writes ? (pick % 2 ? EPIPE : ENOBUFS) : ECONNRESET;
	if (file[0] != '/' || strncmp(file, "/dev/", 5) == 0 || strncmp(file, "/memfd:", 7) == 0)
		return 0;
	if (strncmp(file, "/proc/", 6) == 0 || strncmp(file, "/sys/", 5) == 0)
		return writes ? (pick % 2 ? EBUSY : ENOMEM) : ENOMEM;
	return writes && pick % 2 == 0 ? ENOSPC : EIO;
}

static int error_of(const struct seccomp_notif *q, const struct call *c, unsigned pick,
		    struct hit *hit)
{
	unsigned n = 0;

	hit->file[0] = '\0';
	if (c->kind == DATA)
		return data_error(q, c, pick, hit->file, sizeof(hit->file));
	if (q->data.nr == SYS_prctl && q->data.args[0] != PR_SET_NO_NEW_PRIVS &&
	    q->data.args[0] != PR_CAPBSET_DROP && q->data.args[0] != PR_SET_PDEATHSIG &&
	    q->data.args[0] != PR_SET_SECUREBITS && q->data.args[0] != PR_SET_KEEPCAPS &&
	    q->data.args[0] != PR_CAP_AMBIENT)
		return 0;
	/* libseccomp asks once what the kernel can do, and believes the answer for good. */
	if (q->data.nr == SYS_seccomp && q->data.args[0] != SECCOMP_SET_MODE_FILTER)
		return 0;
	while (n < ERRNOS && c->errors[n])
		n++;
	if (q->data.nr == SYS_openat || q->data.nr == SYS_newfstatat ||
	    q->data.nr == SYS_unlinkat || q->data.nr == SYS_mkdirat || q->data.nr == SYS_statx ||
	    q->data.nr == SYS_readlinkat || q->data.nr == SYS_renameat2)
		read_text((pid_t)q->pid, q->data.args[1], hit->file, sizeof(hit->file));
	else if (q->data.nr == SYS_open || q->data.nr == SYS_unlink || q->data.nr == SYS_rmdir ||
		 q->data.nr == SYS_mkdir || q->data.nr == SYS_rename || q->data.nr == SYS_execve ||
		 q->data.nr == SYS_readlink)
		read_text((pid_t)q->pid, q->data.args[0], hit->file, sizeof(hit->file));
	return c->errors[pick % n];
}

static int decide(const struct seccomp_notif *q, struct plan *plan)
{
	const struct call *c = NULL;
	struct hit hit = { .pid = (pid_t)q->pid };

	if (!is_ours(q, plan->role) || !atomic_load(&plan->on))
		return 0;
	for (size_t i = 0; i < LEN(calls) && !c; i++)
		c = calls[i].nr == q->data.nr ? &calls[i] : NULL;
	if (!c)
		return 0;
	unsigned n = atomic_load(&plan->calls) + 1;

	hit.error = error_of(q, c, n + atomic_load(&plan->seed), &hit);
	if (hit.error == 0)
		return 0;
	atomic_store(&plan->calls, n);
	if (n != atomic_load(&plan->call_at))
		return 0;
	hit.kind = c->kind;
	snprintf(hit.call, sizeof(hit.call), "%s", c->name);
	role_of((pid_t)q->pid, hit.role, sizeof(hit.role));
	plan->hit = hit;
	atomic_store(&plan->is_hit, 1);
	return hit.error;
}

int inject_answer(int listener, struct plan *plan)
{
	struct seccomp_notif q = { 0 };
	struct seccomp_notif_resp a = { 0 };
	int error;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &q) < 0)
		return errno == EINTR || errno == ENOENT ? 0 : -1;
	error = decide(&q, plan);
	a.id = q.id;
	if (error)
		a.error = -error;
	else
		a.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	/* Who asked may be gone: there is nobody to answer then. */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &a) < 0 && errno != ENOENT && errno != EINTR)
		return -1;
	return 0;
}

const char *inject_error(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}
