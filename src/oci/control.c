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

#define BACKLOG 16

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

/* The answer comes when the request is done: for a start, when the program was executed. */
int oci_control_ask(const struct oci_dir *d, int request, struct gt_err *err)
{
	struct sockaddr_un at;
	struct gt_err answer = { 0 };
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ssize_t n;

	address(d, &at);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    send(fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		return gt_err_errno(err, errno, "ask the monitor of %s", d->path);
	do {
		n = recv(fd, &answer, sizeof(answer), 0);
	} while (n < 0 && errno == EINTR);
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
