/* ns.c - namespaces: making a mapped user namespace, and sockets inside a network namespace. */
#include <gantry/os/os.h>

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int gt_os_ns_open(pid_t pid, const char *name, int *ret, struct gt_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

static int userns_map(pid_t pid, uint32_t base, uint32_t count, struct gt_err *err)
{
	static const char *const files[] = { "uid_map", "gid_map" };
	char path[64], map[64];

	snprintf(map, sizeof(map), "0 %u %u", base, count);
	for (size_t i = 0; i < GT_LEN(files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, files[i]);
		if (gt_os_write_at(-1, path, map, err) < 0)
			return gt_err_wrap(err, "user namespace for ids %u..%u", base,
					   base + count - 1);
	}
	return 0;
}

int gt_os_userns_new(uint32_t base, uint32_t count, int *ret, struct gt_err *err)
{
	gt_auto(fd) int pidfd = -EBADF;
	int fd = -EBADF, r;
	pid_t pid;

	/* A namespace needs a member until somebody holds a descriptor of it. */
	r = gt_os_clone(CLONE_NEWUSER, &pid, &pidfd, err);
	if (r < 0)
		return r;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	r = userns_map(pid, base, count, err);
	if (r == 0)
		r = gt_os_ns_open(pid, "user", &fd, err);
	gt_os_pidfd_signal(pidfd, SIGKILL, NULL);
	waitpid(pid, NULL, 0);
	if (r == 0)
		*ret = fd;
	return r;
}

static int enter_net(int netns, struct gt_err *err)
{
	if (setns(netns, CLONE_NEWNET) < 0)
		return gt_err_errno(err, errno, "enter a network namespace");
	return 0;
}

/* Nothing of this process may go on in a stranger's network. */
static void leave_net(int home)
{
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
}

int gt_os_read_in(int netns, int home, const char *path, char *buf, size_t size, struct gt_err *err)
{
	int r = enter_net(netns, err);

	if (r < 0)
		return r;
	r = gt_os_read_at(AT_FDCWD, path, buf, size, err);
	leave_net(home);
	return r;
}

int gt_os_socket_in(int netns, int home, int *ret, struct gt_err *err)
{
	int fd, code = 0, r = enter_net(netns, err);

	if (r < 0)
		return r;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		code = errno;
	leave_net(home);
	if (fd < 0)
		return gt_err_errno(err, code, "socket in a network namespace");
	*ret = fd;
	return 0;
}
