/* dial.c - the client of the node's broker, which makes connections inside replicas' networks.
 * Questions are pipelined; answers come in their order. */
#include "calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include <gantry/model/dial.h>

static void fail_all(struct gt_gateway *gw, int error);

void gt_dialer_close(struct gt_gateway *gw)
{
	gt_watch_close(gw->dialer.watch);
	gw->dialer.watch = NULL;
	gw->dialer.fd = gt_close(gw->dialer.fd);
}

static void dial_free(struct gt_gateway *gw, struct gt_dial *d)
{
	DL_DELETE(gw->dialer.asks, d);
	free(d->ask);
	free(d);
}

static void broken(struct gt_gateway *gw, int error)
{
	gt_dialer_close(gw);
	fail_all(gw, error);
}

/* The list is taken first: a failed call may ask again. */
static void fail_all(struct gt_gateway *gw, int error)
{
	struct gt_dial *asks = gw->dialer.asks, *d, *next;

	gw->dialer.asks = NULL;
	DL_FOREACH_SAFE (asks, d, next) {
		struct gt_call *call = d->call;

		free(d->ask);
		free(d);
		if (call) {
			call->dial = NULL;
			gt_relay_dial_failed(call, error);
		}
	}
}

static void send_asks(struct gt_gateway *gw)
{
	struct gt_dial *d;

	DL_FOREACH (gw->dialer.asks, d) {
		if (d->sent)
			continue;
		ssize_t n = send(gw->dialer.fd, d->ask, sizeof(*d->ask),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return; /* the next writable edge sends the rest */
		if (n < 0) {
			broken(gw, errno);
			return;
		}
		d->sent = true;
	}
}

/* The answer to the oldest question. */
static void answered(struct gt_gateway *gw, const struct gt_dial_answer *a, int fd GT_TAKES)
{
	struct gt_dial *d = gw->dialer.asks;

	if (!d || d->ask->tag != a->tag || (a->error == 0) != (fd >= 0)) {
		gt_close(fd);
		broken(gw, EPROTO);
		return;
	}
	struct gt_call *call = d->call;

	dial_free(gw, d);
	if (!call) {
		gt_close(fd);
		return;
	}
	call->dial = NULL;
	struct gt_up *up = a->error ? NULL : gt_up_open(gw, fd, call->target);

	if (up)
		gt_relay_attach(call, up);
	else
		gt_relay_dial_failed(call, a->error ? a->error : ENOMEM);
}

/* One answer; false when there is none. */
static bool read_answer(struct gt_gateway *gw)
{
	struct gt_dial_answer a;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { &a, sizeof(a) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	ssize_t n = recvmsg(gw->dialer.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fd = -1;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0) {
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	}
	if (n != sizeof(a)) {
		gt_close(fd);
		broken(gw, n < 0 ? errno : ECONNRESET);
		return false;
	}
	answered(gw, &a, fd);
	return gw->dialer.fd >= 0;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;

	(void)w;
	if (events & (GT_EV_READ | GT_EV_HANGUP))
		while (read_answer(gw))
			;
	if (gw->dialer.fd >= 0 && (events & GT_EV_WRITE))
		send_asks(gw);
}

static int connect_broker(struct gt_gateway *gw)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!gt_strcopy(addr.sun_path, sizeof(addr.sun_path), gw->cfg.dial_path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	int r = gt_loop_watch(gw->loop, fd, GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE,
			      on_event, gw, &gw->dialer.watch, NULL);

	if (r == 0)
		gw->dialer.fd = gt_steal_fd(&fd);
	return r;
}

void gt_dialer_ask(struct gt_call *call, const char *replica)
{
	struct gt_gateway *gw = call->gw;
	int r = gw->dialer.fd < 0 ? connect_broker(gw) : 0;

	if (r < 0) {
		gt_relay_dial_failed(call, -r);
		return;
	}
	struct gt_dial *d = gt_alloc(sizeof(*d));

	d->ask = gt_alloc(sizeof(*d->ask));
	d->call = call;
	d->ask->tag = ++gw->dialer.tag;
	gt_strcopy(d->ask->replica, sizeof(d->ask->replica), replica);
	DL_APPEND(gw->dialer.asks, d);
	call->dial = d;
	send_asks(gw);
}

void gt_dialer_cancel(struct gt_dial *dial)
{
	dial->call->dial = NULL;
	dial->call = NULL;
}

void gt_dialer_forget(struct gt_gateway *gw)
{
	while (gw->dialer.asks)
		dial_free(gw, gw->dialer.asks);
}
