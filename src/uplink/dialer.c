/* dialer.c - the node's broker makes connections inside replicas' networks. Questions are
 * pipelined, answers come in their order; when the agent ended in between they are asked again. */
#include "uplink_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>
#include <gantry/model/dial.h>
#include <gantry/os/os.h>

#define REACH_MS 2500 /* the gateway waits for 3 s: it shall hear the reason */
#define AGAIN_MS 20

struct dial {
	struct dialer *d;
	struct dial *prev, *next;
	struct gt_dial_ask ask;
	uint64_t late_ns;
	bool sent;
	dial_fn *fn; /* NULL: cancelled, its answer is closed */
	void *arg;
};

struct dialer {
	struct uplink *u;
	int fd;
	struct gt_watch *watch;
	struct gt_timer late, again;
	struct dial *asks;
	uint32_t tag;
};

static void step(struct dialer *d);

static void disconnect(struct dialer *d)
{
	struct dial *ask;

	gt_watch_close(d->watch);
	d->watch = NULL;
	d->fd = gt_close(d->fd);
	DL_FOREACH (d->asks, ask)
		ask->sent = false;
}

static void end(struct dial *ask, int sock, int error)
{
	dial_fn *fn = ask->fn;
	void *arg = ask->arg;

	DL_DELETE(ask->d->asks, ask);
	free(ask);
	if (fn)
		fn(sock, error, arg);
	else
		gt_close(sock);
}

static void on_late(void *arg)
{
	struct dialer *d = arg;

	/* An answer that comes later would be taken for another's. */
	disconnect(d);
	while (d->asks && d->asks->late_ns <= gt_loop_now_ns(d->u->loop))
		end(d->asks, -EBADF, ETIMEDOUT);
	step(d);
}

static void on_again(void *arg)
{
	step(arg);
}

/* The agent is not there, or not any more: its socket is, and waits for the next one. */
static void lost(struct dialer *d)
{
	disconnect(d);
	gt_timer_set(d->u->loop, &d->again, AGAIN_MS, on_again, d);
}

static void take_answers(struct dialer *d)
{
	struct gt_dial_answer a;
	size_t len, n_fds;
	int r = 0;

	while (d->fd >= 0) {
		int sock = -EBADF;

		r = gt_os_recv(d->fd, &a, sizeof(a), &len, &sock, 1, &n_fds, NULL);
		if (r < 0)
			break;
		if (n_fds == 0)
			sock = -EBADF;
		if (len != sizeof(a) || !d->asks || d->asks->ask.tag != a.tag ||
		    (a.error == 0) != (sock >= 0)) {
			gt_close(sock);
			r = -EBADMSG;
			break;
		}
		end(d->asks, sock, a.error);
	}
	if (r < 0 && r != -EAGAIN)
		lost(d);
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	(void)events;
	take_answers(arg);
	step(arg);
}

static int connect_broker(struct dialer *d)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || !gt_strcopy(to.sun_path, sizeof(to.sun_path), d->u->config.dial_path) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -EIO;
	if (gt_loop_watch(d->u->loop, fd, GT_EV_READ | GT_EV_WRITE | GT_EV_HANGUP | GT_EV_EDGE,
			  on_event, d, &d->watch, NULL) < 0)
		return -EIO;
	d->fd = gt_steal_fd(&fd);
	return 0;
}

static void step(struct dialer *d)
{
	struct dial *ask;

	if (!d->asks) {
		gt_timer_clear(d->u->loop, &d->late);
		return;
	}
	gt_timer_set_at(d->u->loop, &d->late, d->asks->late_ns, on_late, d);
	if (gt_timer_is_set(&d->again))
		return;
	if (d->fd < 0 && connect_broker(d) < 0) {
		lost(d);
		return;
	}
	DL_FOREACH (d->asks, ask) {
		int r = ask->sent ? 0
				  : gt_os_send(d->fd, &ask->ask, sizeof(ask->ask), NULL, 0, NULL);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			lost(d);
			return;
		}
		ask->sent = true;
	}
}

struct dialer *dialer_new(struct uplink *u)
{
	struct dialer *d = gt_alloc(sizeof(*d));

	d->u = u;
	d->fd = -EBADF;
	return d;
}

void dialer_free(struct dialer *d)
{
	if (!d)
		return;
	disconnect(d);
	gt_timer_clear(d->u->loop, &d->late);
	gt_timer_clear(d->u->loop, &d->again);
	while (d->asks)
		end(d->asks, -EBADF, ECANCELED);
	free(d);
}

static void on_step(void *arg)
{
	step(arg);
}

struct dial *dial_ask(struct dialer *d, const char *replica, dial_fn *fn, void *arg)
{
	struct dial *ask = gt_alloc(sizeof(*ask));

	ask->d = d;
	ask->fn = fn;
	ask->arg = arg;
	ask->ask.tag = ++d->tag;
	ask->late_ns = gt_loop_clock_ns(d->u->loop) + REACH_MS * GT_NS_PER_MS;
	gt_strcopy(ask->ask.replica, sizeof(ask->ask.replica), replica);
	DL_APPEND(d->asks, ask);
	gt_timer_set(d->u->loop, &d->late, 0, on_step, d); /* never calls back before it returned */
	return ask;
}

void dial_cancel(struct dial *ask)
{
	if (ask)
		ask->fn = NULL;
}
