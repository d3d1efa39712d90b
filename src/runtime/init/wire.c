/* wire.c - packets between the agent and process 1. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

#define SAY_TRIES 10000

void init_answer(const struct gt_init_answer *a)
{
	unsigned tries = 0;

	/* What is not said is waited for: for want of memory too it is said again. */
	while (send(GT_INIT_SOCKET, a, sizeof(*a), MSG_NOSIGNAL) < 0 &&
	       (errno == EINTR || errno == ENOMEM || errno == ENOBUFS) && tries++ < SAY_TRIES)
		;
}

void init_fail(enum gt_init_step step, int code, unsigned index)
{
	struct gt_init_answer a = {
		.type = GT_INIT_FAILED, .step = step, .code = code, .index = index
	};

	init_answer(&a);
	_exit(1);
}

/* The end of the socket means that the agent is gone or does not need this sandbox: it then ends
 * quietly. */
size_t init_receive(enum gt_init_type type, void *data, size_t size, int fds[GT_INIT_FDS_MAX])
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(GT_INIT_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;
	uint32_t got;
	size_t n_fds = 0;
	ssize_t n;

	do {
		n = recvmsg(GT_INIT_SOCKET, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		_exit(0);
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
	}
	memcpy(&got, data, sizeof(got));
	if ((size_t)n != size || got != type || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		init_fail(GT_INIT_STEP_PROTOCOL, EBADMSG, 0);
	return n_fds;
}
