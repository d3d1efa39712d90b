/* dial.c - the client of the node's broker, which makes connections inside replicas' networks.
 * Questions are pipelined; answers come in their order. */
#include "calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/model/dial.h>

struct gt_dial {
	struct gt_dial *prev, *next;
	struct gt_call *call; /* NULL: cancelled; its answer is closed */
	struct gt_dial_ask *ask;
	bool sent;
};

static void fail_all(struct gt_gateway *gw, int error);

void gt_dialer_close(struct gt_gateway *gw)
{
	gt_timer_clear(gw->loop, &gw->dialer.timer);
	gt_sock_close(&gw->dialer.sock);
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
			gt_relay_no_broker(call, error);
		}
	}
}

/* It answers at once, as it does not wait for a connection to come about. */
static void silent(void *arg)
{
	gt_warn("gateway: the node's agent has not answered for %d ms", GT_GW_REACH_MS);
	broken(arg, ETIMEDOUT);
}

static void expect_answer(struct gt_gateway *gw)
{
	if (gw->dialer.asks)
		gt_timer_set(gw->loop, &gw->dialer.timer, GT_GW_REACH_MS, silent, gw);
	else
		gt_timer_clear(gw->loop, &gw->dialer.timer);
}

static void send_asks(struct gt_gateway *gw)
{
	struct gt_sock *sock = &gw->dialer.sock;
	struct gt_dial *d;

	DL_FOREACH (gw->dialer.asks, d) {
		if (d->sent)
			continue;
		const struct iovec whole = { d->ask, sizeof(*d->ask) };
		ssize_t n = sock->ops->write(sock, &whole, 1);

		if (n == -EAGAIN)
			return; /* the next writable edge sends the rest */
		if (n < 0) {
			broken(gw, (int)-n);
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
		gt_sock_drop(gw->port->sock, fd);
		broken(gw, EPROTO);
		return;
	}
	struct gt_call *call = d->call;

	dial_free(gw, d);
	expect_answer(gw);
	if (!call) {
		gt_sock_drop(gw->port->sock, fd);
		return;
	}
	call->dial = NULL;
	struct gt_up *up = a->error ? NULL : gt_up_open(gw, fd, call->target);

	if (up)
		gt_relay_attach(call, up);
	else if (a->error)
		gt_relay_dial_failed(call, a->error);
	else
		gt_relay_no_broker(call, ENOMEM);
}

/* One answer; false when there is none. */
static bool read_answer(struct gt_gateway *gw)
{
	struct gt_sock *sock = &gw->dialer.sock;
	struct gt_dial_answer a;
	int fd = -1;
	ssize_t n = sock->ops->receive(sock, &a, sizeof(a), &fd);

	if (n == -EAGAIN)
		return false;
	if (n != sizeof(a)) {
		gt_sock_drop(gw->port->sock, fd);
		broken(gw, n < 0 ? (int)-n : ECONNRESET);
		return false;
	}
	answered(gw, &a, fd);
	return sock->fd >= 0;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;

	(void)w;
	if (events & (GT_EV_READ | GT_EV_HANGUP))
		while (read_answer(gw))
			;
	if (gw->dialer.sock.fd >= 0 && (events & GT_EV_WRITE))
		send_asks(gw);
}

static int connect_broker(struct gt_gateway *gw)
{
	int fd = gw->port->connect(gw->cfg.dial_path, SOCK_SEQPACKET);

	return fd < 0 ? fd
		      : gt_sock_open(&gw->dialer.sock, gw->port->sock, gw->loop, fd, on_event, gw,
				     NULL);
}

void gt_dialer_ask(struct gt_call *call, const char *replica)
{
	struct gt_gateway *gw = call->gw;
	int r = gw->dialer.sock.fd < 0 ? connect_broker(gw) : 0;

	if (r < 0) {
		gt_relay_no_broker(call, -r);
		return;
	}
	struct gt_dial *d = gt_alloc(sizeof(*d));

	d->ask = gt_alloc(sizeof(*d->ask));
	d->call = call;
	d->ask->tag = ++gw->dialer.tag;
	gt_strcopy(d->ask->replica, sizeof(d->ask->replica), replica);
	DL_APPEND(gw->dialer.asks, d);
	call->dial = d;
	if (gw->dialer.asks == d)
		expect_answer(gw);
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
