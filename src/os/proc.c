/* proc.c - processes by descriptor. */
#include <gantry/os/os.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PF_EXITING 0x4 /* in the flags of proc(5)'s stat, as in the kernel's sched.h */

int gt_os_pidfd_open(pid_t pid, int *ret, struct gt_err *err)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return gt_err_errno(err, errno, "pidfd of process %d", (int)pid);
	*ret = fd;
	return 0;
}

int gt_os_pidfd_signal(int pidfd, int signo, struct gt_err *err)
{
	if (pidfd_send_signal(pidfd, signo, NULL, 0) < 0)
		return gt_err_errno(err, errno, "send signal %d", signo);
	return 0;
}

bool gt_os_pidfd_ended(int pidfd)
{
	struct pollfd p = { pidfd, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

int gt_os_pidfd_reap(int pidfd, struct gt_err *err)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0)
		return gt_err_errno(err, errno, "reap a child");
	return 0;
}

/* A number of /proc/PID/stat, by its place in proc(5). */
static int stat_field(pid_t pid, int number, uint64_t *ret, struct gt_err *err)
{
	char path[32], text[1024];
	unsigned long long value;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (gt_os_read_at(-1, path, text, sizeof(text), err) < 0)
		return err ? -err->code : -ESRCH;
	/* The name in the second field may hold blanks and brackets: count from the last one. */
	at = strrchr(text, ')');
	for (int field = 2; at && field < number; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &value) != 1)
		return gt_err_set(err, EPROTO, "system_error", "%s has an unknown form", path);
	*ret = value;
	return 0;
}

int gt_os_start_time(pid_t pid, uint64_t *ret, struct gt_err *err)
{
	return stat_field(pid, 22, ret, err);
}

bool gt_os_pid_ending(pid_t pid)
{
	uint64_t flags;
	int r = stat_field(pid, 9, &flags, NULL);

	return r == 0 ? flags & PF_EXITING : r != -EPROTO;
}
