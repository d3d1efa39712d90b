/* dial.c - connections into a container. Either way nothing of a packet filter, a bridge or an
 * address is between the two ends. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/os/os.h>

#include "runtime_impl.h"

int gt_container_dial(struct gt_container *c, uint16_t port, int *ret, struct gt_err *err)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	gt_auto(fd) int fd = -EBADF;
	int r = gt_container_running(c, err);

	if (r < 0)
		return r;
	r = gt_os_socket_in(c->box->netns, c->rt->netns, &fd, err);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return gt_err_errno(err, errno, "connect to port %u of the container", port);
	*ret = gt_steal_fd(&fd);
	return 0;
}

/* The path leads nowhere but to what lies on the container's own root: no link out of it is
 * followed, and no mount entered, whose server may be slow or somebody else's. The descriptor keeps
 * what was looked at. */
static int open_socket(const struct gt_container *c, const char *path, int *ret, struct gt_err *err)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	gt_auto(fd) int root = -EBADF, fd = -EBADF;
	char name[32];
	struct stat st;

	snprintf(name, sizeof(name), "/proc/%d/root", (int)c->box->where.pid);
	root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Another process may have the number by now. */
	if (root < 0 || gt_os_pidfd_ended(c->box->pidfd))
		return gt_err_errno(err, root < 0 ? errno : ESRCH, "open the container's root");
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0)
		return gt_err_errno(err, errno, "open %s in the container", path);
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return gt_err_errno(err, ENOTSOCK, "%s in the container", path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

int gt_container_dial_path(struct gt_container *c, const char *path, int *ret, struct gt_err *err)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	gt_auto(fd) int at = -EBADF, fd = -EBADF;
	int r = gt_container_running(c, err);

	if (r == 0)
		r = open_socket(c, path, &at, err);
	if (r < 0)
		return r;
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d", at);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return gt_err_errno(err, errno, "connect to %s in the container", path);
	*ret = gt_steal_fd(&fd);
	return 0;
}
