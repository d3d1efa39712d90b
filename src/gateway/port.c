/* port.c - the gateway's way to the kernel: every system call on a connection is here. */
#include "port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/os/os.h>

#define QUIET (GT_EV_READ | GT_EV_HANGUP | GT_EV_EDGE)

/* A unix socket tells that it can be written each time its peer has read, full before or not: it is
 * asked only while it is full. */
static int sock_watch(struct gt_sock *s, struct gt_loop *loop, gt_watch_fn *fn, void *arg,
		      struct gt_err *err)
{
	socklen_t len = sizeof(int);
	int domain = AF_INET;

	getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	s->tells_room = domain != AF_UNIX;
	s->can_write = !s->tells_room;
	return gt_loop_watch(loop, s->fd, s->tells_room ? QUIET | GT_EV_WRITE : QUIET, fn, arg,
			     &s->watch, err);
}

static void sock_unwatch(struct gt_sock *s)
{
	gt_watch_close(s->watch);
	s->watch = NULL;
	s->asks_room = false;
}

/* Returns what the call did, and asks to be told of room, or no more. */
static ssize_t wrote(struct gt_sock *s, ssize_t n, size_t wanted)
{
	bool full = n == -EAGAIN || (n >= 0 && (size_t)n < wanted);

	if (!s->tells_room && s->asks_room != full &&
	    gt_watch_set(s->watch, full ? QUIET | GT_EV_WRITE : QUIET, NULL) == 0)
		s->asks_room = full;
	return n;
}

static ssize_t sock_read(struct gt_sock *s, void *buf, size_t len)
{
	ssize_t n;

	do
		n = recv(s->fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t sock_receive(struct gt_sock *s, void *buf, size_t len, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { buf, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

static ssize_t sock_write(struct gt_sock *s, const struct iovec *iov, size_t n)
{
	const struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	size_t wanted = 0;
	ssize_t took;

	do
		took = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, flags)
			      : sendmsg(s->fd, &msg, flags);
	while (took < 0 && errno == EINTR);
	for (size_t i = 0; i < n; i++)
		wanted += iov[i].iov_len;
	return wrote(s, took < 0 ? -errno : took, wanted);
}

static ssize_t move(int from, int to, size_t len)
{
	ssize_t n;

	do
		n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t sock_fill(struct gt_sock *s, const struct gt_pipe_ends *pipe, size_t len)
{
	return move(s->fd, pipe->in, len);
}

static ssize_t sock_drain(struct gt_sock *s, const struct gt_pipe_ends *pipe, size_t len)
{
	return wrote(s, move(pipe->out, s->fd, len), len);
}

static bool sock_silent(struct gt_sock *s)
{
	char c;

	return recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static bool sock_delivered(struct gt_sock *s)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	       info.tcpi_bytes_acked >= info.tcpi_bytes_sent;
}

static void sock_shut(struct gt_sock *s)
{
	shutdown(s->fd, SHUT_WR);
}

static void sock_reset(struct gt_sock *s)
{
	const struct linger none = { .l_onoff = 1 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

static void sock_close(struct gt_sock *s)
{
	gt_watch_close(s->watch);
	gt_close(s->fd);
}

static void peer_text(const struct sockaddr_storage *ss, char out[INET6_ADDRSTRLEN])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	out[0] = '\0';
	if (ss->ss_family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN);
	else if (ss->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN);
	else if (ss->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &v6->sin6_addr, out, INET6_ADDRSTRLEN);
}

static int system_accept(int listen_fd, char peer[INET6_ADDRSTRLEN])
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int one = 1;
	int fd = accept4(listen_fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	peer_text(&ss, peer);
	return fd;
}

static int system_connect(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	gt_auto(fd) int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!gt_strcopy(addr.sun_path, sizeof(addr.sun_path), path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return gt_steal_fd(&fd);
}

static int system_pipe(size_t size, struct gt_pipe_ends *ret)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	fcntl(fds[1], F_SETPIPE_SZ, (int)size); /* a smaller one works as well */
	*ret = (struct gt_pipe_ends){ .in = fds[1], .out = fds[0] };
	return 0;
}

/* One that is gone already tells so by itself. */
static void system_guard(int fd)
{
	(void)gt_os_tcp_guard(fd);
}

static void system_patience(int fd, bool patient)
{
	(void)gt_os_tcp_patience(fd, patient);
}

static const struct gt_sock_ops sock_ops = {
	.watch = sock_watch,
	.unwatch = sock_unwatch,
	.read = sock_read,
	.receive = sock_receive,
	.write = sock_write,
	.fill = sock_fill,
	.drain = sock_drain,
	.silent = sock_silent,
	.delivered = sock_delivered,
	.shut = sock_shut,
	.reset = sock_reset,
	.close = sock_close,
};

const struct gt_port gt_port_system = {
	.sock = &sock_ops,
	.accept = system_accept,
	.connect = system_connect,
	.pipe = system_pipe,
	.guard = system_guard,
	.patience = system_patience,
};
