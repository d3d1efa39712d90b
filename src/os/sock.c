/* sock.c - packets with descriptors between processes of this machine; connections between hosts.
 */
#include <gantry/os/os.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

int gt_os_socketpair(int ret[2], struct gt_err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
		return gt_err_errno(err, errno, "socketpair");
	return 0;
}

int gt_os_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds,
	       struct gt_err *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(GT_OS_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > GT_OS_FDS_MAX)
		return gt_err_errno(err, E2BIG, "send %zu descriptors", n_fds);
	if (n_fds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	while (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno != EINTR)
			return gt_err_errno(err, errno, "send a packet of %zu bytes", len);
	}
	return 0;
}

/* Keeps what fits, closes the rest: a peer must not be able to fill our descriptor table. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t max_fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t got;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < got; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < max_fds)
				fds[n++] = fd;
			else
				gt_close(fd);
		}
	}
	return n;
}

static ssize_t receive(int sock, struct msghdr *msg)
{
	ssize_t n;

	do
		n = recvmsg(sock, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n;
}

int gt_os_recv(int sock, void *data, size_t size, size_t *ret_len, int *fds, size_t max_fds,
	       size_t *ret_n_fds, struct gt_err *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(GT_OS_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	size_t n_fds;
	ssize_t n = receive(sock, &msg);

	/* A peer that ended without having read all we sent: told once, before its last words. */
	if (n < 0 && errno == ECONNRESET)
		n = receive(sock, &msg);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n < 0)
		return gt_err_errno(err, errno, "receive a packet");
	n_fds = take_fds(&msg, fds, max_fds);
	if (n == 0) {
		while (n_fds > 0)
			gt_close(fds[--n_fds]);
		return gt_err_errno(err, ECONNRESET, "receive a packet");
	}
	*ret_len = (size_t)n;
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return 0;
}

int gt_os_tcp_guard(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, GT_OS_TCP_UNACKED_MS },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 1 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 1 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 2 },
	};

	for (size_t i = 0; i < GT_LEN(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(options[i].value)) < 0)
			return -errno;
	return 0;
}

bool gt_os_tcp_silent(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_unacked > 0 &&
	       info.tcpi_last_ack_recv >= GT_OS_TCP_SILENT_MS;
}

int gt_os_tcp_patience(int fd, bool patient)
{
	const int ms = patient ? 0 : GT_OS_TCP_UNACKED_MS;

	return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)) < 0 ? -errno : 0;
}
