/* ns.c - namespaces: making a mapped user namespace, and sockets inside a network namespace. */
#include <gantry/os/os.h>

#include <fcntl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/log.h>

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

struct userns_birth {
	uint32_t owner;
	int code;
};

/* In our memory: raw system calls only. The rights are kept over the change of user, as some
 * machines let nobody else make a user namespace. */
static void make_userns(void *arg)
{
	struct userns_birth *b = arg;

	if (syscall(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ||
	    syscall(SYS_setresuid, b->owner, b->owner, b->owner) < 0 ||
	    syscall(SYS_unshare, CLONE_NEWUSER) < 0)
		b->code = errno;
}

int gt_os_userns_new(uint32_t base, uint32_t count, int *ret, struct gt_err *err)
{
	struct userns_birth birth = { base, 0 };
	const struct gt_os_spawn spawn = { .cgroup = -EBADF, .fn = make_userns, .arg = &birth };
	int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), fd = -EBADF, r;
	gt_auto(fd) int pidfd = -EBADF;
	pid_t pid;

	r = gt_os_spawn(&spawn, &pid, &pidfd, err);
	if (r < 0)
		return r;
	/* The memory is ours, and a change of user may have opened or closed it. */
	prctl(PR_SET_DUMPABLE, dumpable == 1, 0, 0, 0);
	/* The child has ended, but keeps its namespace until it is reaped. */
	r = birth.code ? gt_err_errno(err, birth.code, "make a user namespace") : 0;
	if (r == 0)
		r = userns_map(pid, base, count, err);
	if (r == 0)
		r = gt_os_ns_open(pid, "user", &fd, err);
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
	if (setns(home, CLONE_NEWNET) < 0) {
		gt_error("leave a network namespace: %s", strerror(errno));
		abort();
	}
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
