/* dial.c - the broker: hands the gateway connections into replicas (model/dial.h). Only this
 * process may enter their network namespaces. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include <gantry/model/dial.h>
#include <gantry/os/os.h>

#include "agent_impl.h"

#define PEERS_MAX    64
#define ASKS_AT_ONCE 64 /* then others get their turn */

struct peer {
	struct dial *dial;
	struct peer *prev, *next;
	struct gt_watch *watch;
	int fd;
	struct gt_dial_answer late; /* did not fit into the socket: goes first */
	int late_fd;
	bool is_late;
};

struct dial {
	struct agent *agent;
	struct gt_watch *watch;
	int listen_fd;
	struct peer *peers;
	unsigned n_peers;
};

static void peer_close(struct peer *p)
{
	gt_watch_close(p->watch);
	gt_close(p->fd);
	gt_close(p->late_fd);
	DL_DELETE(p->dial->peers, p);
	p->dial->n_peers--;
	free(p);
}

/* 0, -EAGAIN when the peer does not read, or an error. Takes sock unless it is -EAGAIN. */
static int answer(struct peer *p, const struct gt_dial_answer *a, int sock)
{
	int r = gt_os_send(p->fd, a, sizeof(*a), &sock, sock >= 0, NULL);

	if (r != -EAGAIN)
		gt_close(sock);
	return r;
}

int gt_replica_dial(struct replica *r, int *ret, struct gt_err *err)
{
	return r->spec->socket ? gt_container_dial_path(r->container, r->spec->socket, ret, err)
			       : gt_container_dial(r->container, r->spec->port, ret, err);
}

static int serve(struct peer *p, const struct gt_dial_ask *ask)
{
	struct gt_dial_answer a = { .tag = ask->tag };
	struct gt_err err = { 0 };
	struct replica *r = NULL;
	int sock = -EBADF, res;

	if (memchr(ask->replica, '\0', sizeof(ask->replica)))
		r = gt_replica_find(p->dial->agent, ask->replica);
	if (!r || !r->container)
		a.error = ENOENT;
	else if (r->state >= GT_REPLICA_PARKING && r->state <= GT_REPLICA_UNPARKING)
		a.error = ECONNREFUSED; /* nobody would answer; its route is on its way out */
	else if (gt_replica_dial(r, &sock, &err) < 0)
		a.error = err.code;
	res = answer(p, &a, sock);
	if (res == -EAGAIN) {
		p->late = a;
		p->late_fd = sock;
		p->is_late = true;
		res = gt_watch_set(p->watch, GT_EV_WRITE, NULL);
	}
	return res;
}

static int send_late(struct peer *p)
{
	int r = answer(p, &p->late, p->late_fd);

	if (r == -EAGAIN)
		return 0;
	p->late_fd = -EBADF;
	p->is_late = false;
	return r == 0 ? gt_watch_set(p->watch, GT_EV_READ, NULL) : r;
}

static void on_peer(struct gt_watch *w, unsigned events, void *arg)
{
	struct peer *p = arg;
	struct gt_dial_ask ask;
	int r = 0;

	(void)w;
	(void)events;
	if (p->is_late)
		r = send_late(p);
	for (int i = 0; r == 0 && !p->is_late && i < ASKS_AT_ONCE; i++) {
		size_t len;

		r = gt_os_recv(p->fd, &ask, sizeof(ask), &len, NULL, 0, NULL, NULL);
		if (r == 0)
			r = len == sizeof(ask) ? serve(p, &ask) : -EBADMSG;
	}
	if (r < 0 && r != -EAGAIN)
		peer_close(p);
}

static void on_connect(struct gt_watch *w, unsigned events, void *arg)
{
	struct dial *d = arg;
	struct peer *p;
	int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)w;
	(void)events;
	if (fd < 0)
		return;
	if (d->n_peers == PEERS_MAX) {
		gt_close(fd);
		return;
	}
	p = gt_alloc(sizeof(*p));
	p->dial = d;
	p->fd = fd;
	p->late_fd = -EBADF;
	DL_APPEND(d->peers, p);
	d->n_peers++;
	if (gt_loop_watch(d->agent->loop, fd, GT_EV_READ, on_peer, p, &p->watch, NULL) < 0)
		peer_close(p);
}

int gt_dial_new(struct agent *a, int listen_fd, struct dial **ret, struct gt_err *err)
{
	struct dial *d = gt_alloc(sizeof(*d));
	int r;

	d->agent = a;
	d->listen_fd = listen_fd;
	/* Whoever connected may be gone again before we accept. */
	fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
	r = gt_loop_watch(a->loop, listen_fd, GT_EV_READ, on_connect, d, &d->watch, err);
	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void gt_dial_free(struct dial *d)
{
	if (!d)
		return;
	while (d->peers)
		peer_close(d->peers);
	gt_watch_close(d->watch);
	free(d);
}
