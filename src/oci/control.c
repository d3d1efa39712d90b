/* control.c - a container's unix socket: whoever knows the directory may ask its monitor. The
 * address goes through a descriptor of the directory, because a socket's path is short. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci.h"

#define BACKLOG  16
#define SIGNAL_S 5 /* a monitor passes a signal on at once, unless it runs a hook */

static void address(const struct oci_dir *d, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/control", d->fd);
}

int oci_control_listen(const struct oci_dir *d, int *ret, struct gt_err *err)
{
	struct sockaddr_un at;
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address(d, &at);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0)
		return gt_err_errno(err, errno, "control socket of %s", d->path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

/* Connected. Nothing waits for ever for a signal to be passed on; a start has hooks to run. */
static int dial(const struct oci_dir *d, int request, int *ret, struct gt_err *err)
{
	const struct timeval most = { .tv_sec = request == OCI_REQUEST_START ? 0 : SIGNAL_S };
	struct sockaddr_un at;
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	address(d, &at);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0)
		return gt_err_errno(err, errno, "a socket for the monitor of %s", d->path);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return errno == EAGAIN
			       ? gt_err_set(err, ETIMEDOUT, "busy",
					    "others wait for the monitor of %s already", d->path)
			       : gt_err_errno(err, errno, "ask the monitor of %s", d->path);
	*ret = gt_steal_fd(&fd);
	return 0;
}

static int silent(const struct oci_dir *d, int fd, struct gt_err *err)
{
	struct ucred monitor = { 0 };
	socklen_t size = sizeof(monitor);

	(void)!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &monitor, &size);
	return gt_err_set(
		err, ETIMEDOUT, "busy",
		"the monitor of %s, process %d, has not answered for %d s: it is stopped, "
		"or runs a hook; it passes the signal on when it goes on. KILL needs no "
		"monitor",
		d->path, (int)monitor.pid, SIGNAL_S);
}

/* The answer comes when the request is done: for a start, when the program was executed. */
int oci_control_ask(const struct oci_dir *d, int request, struct gt_err *err)
{
	struct gt_err answer = { 0 };
	gt_auto(fd) int fd = -EBADF;
	ssize_t n;
	int r = dial(d, request, &fd, err);

	if (r < 0)
		return r;
	if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		return gt_err_errno(err, errno, "ask the monitor of %s", d->path);
	do {
		n = recv(fd, &answer, sizeof(answer), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return silent(d, fd, err);
	if (n != sizeof(answer))
		return gt_err_set(err, EPIPE, "system_error", "the monitor of %s ended", d->path);
	if (answer.code == 0)
		return 0;
	if (err)
		*err = answer;
	return -answer.code;
}

int oci_control_accept(int listener, int *ret, int *ret_request)
{
	gt_auto(fd) int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int request;

	if (conn < 0)
		return -EAGAIN;
	if (recv(conn, &request, sizeof(request), 0) != sizeof(request))
		return -EAGAIN; /* it left again */
	*ret_request = request;
	*ret = gt_steal_fd(&conn);
	return 0;
}

void oci_control_answer(int conn, const struct gt_err *refusal)
{
	struct gt_err done = { 0 };

	/* An asker that left does not matter. */
	(void)!send(conn, refusal ? refusal : &done, sizeof(done), MSG_NOSIGNAL);
}
