#include "relay.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/model/problem.h>
#include <gantry/wire/wire.h>

#define BUF_SIZE  16384
#define PIPES_MAX 4096 /* more wait in the kernel's queue */
#define LAST_MS   5000 /* for the client to read a refusal */

enum { CLIENT, PEER, SIDES };

struct side {
	int fd; /* -1 = it is refused: nobody is on this side */
	struct gt_watch *watch;
	char buf[BUF_SIZE]; /* that came from here, and goes to the other side */
	size_t len;
	bool ended; /* nothing more comes from here */
	bool shut;  /* nothing more goes there */
};

struct pipe {
	struct gt_relay *relay;
	struct side side[SIDES];
	struct gt_timer late; /* of a refusal */
	struct gt_err why;    /* of a refusal that was not said yet */
	struct pipe *prev, *next;
};

struct gt_relay {
	struct gt_relay_config config;
	struct gt_watch *watch;
	struct pipe *pipes;
	size_t n_pipes;
};

static void pipe_free(struct pipe *p)
{
	struct gt_relay *r = p->relay;

	DL_DELETE(r->pipes, p);
	r->n_pipes--;
	gt_timer_clear(r->config.loop, &p->late);
	for (int i = 0; i < SIDES; i++) {
		gt_watch_close(p->side[i].watch);
		gt_close(p->side[i].fd);
	}
	free(p);
}

static void pipe_late(void *arg)
{
	pipe_free(arg);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* False: the connection has failed. */
static bool take(struct side *s)
{
	ssize_t n;

	if (s->fd < 0 || s->ended || s->len == sizeof(s->buf))
		return true;
	n = read(s->fd, s->buf + s->len, sizeof(s->buf) - s->len);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	s->ended = n == 0;
	s->len += (size_t)n;
	return true;
}

static bool give(struct side *from, struct side *to)
{
	ssize_t n;

	if (from->len > 0) {
		n = to->fd < 0 ? (ssize_t)from->len /* refused: it is dropped */
			       : send(to->fd, from->buf, from->len, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
		memmove(from->buf, from->buf + n, from->len - (size_t)n);
		from->len -= (size_t)n;
	}
	if (from->ended && from->len == 0 && !to->shut) {
		to->shut = true;
		if (to->fd >= 0 && shutdown(to->fd, SHUT_WR) < 0)
			return false;
	}
	return true;
}

/* The client has said something: it listens. */
static void refuse(struct pipe *p)
{
	struct gt_buf body = { 0 };
	struct gt_problem problem = { .kind = gt_problem_of(&p->why),
				      .detail = p->why.text,
				      .retry_after_s = 1 };
	struct side *peer = &p->side[PEER];
	int n;

	gt_problem_write(&problem, &body);
	n = snprintf(peer->buf, sizeof(peer->buf),
		     "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
		     "Content-Type: application/problem+json\r\nContent-Length: %zu\r\n"
		     "Connection: close\r\n\r\n%s",
		     body.len, gt_buf_str(&body));
	gt_buf_fini(&body);
	peer->len = GT_MIN((size_t)n, sizeof(peer->buf) - 1);
	peer->ended = true;
	p->why.code = 0;
	gt_timer_set(p->relay->config.loop, &p->late, LAST_MS, pipe_late, p);
}

static void pipe_run(struct pipe *p)
{
	struct side *client = &p->side[CLIENT], *peer = &p->side[PEER];
	struct gt_err err;

	if (!take(client) || !take(peer)) {
		pipe_free(p);
		return;
	}
	if (p->why.code && client->len > 0)
		refuse(p);
	if (!give(client, peer) || !give(peer, client) ||
	    (client->ended && (peer->shut && (peer->ended || p->why.code)) && !peer->len)) {
		pipe_free(p);
		return;
	}
	for (int i = 0; i < SIDES; i++) {
		struct side *s = &p->side[i], *other = &p->side[1 - i];
		unsigned events = (!s->ended && s->len < sizeof(s->buf) ? GT_EV_READ : 0) |
				  (other->len > 0 ? GT_EV_WRITE : 0);

		if (s->watch && gt_watch_set(s->watch, events, &err) < 0) {
			pipe_free(p);
			return;
		}
	}
}

static void on_side(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	(void)events;
	pipe_run(arg);
}

/* ---- connections ---------------------------------------------------------------------------- */

static int peer_open(const char *path, int *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (fd < 0)
		return gt_err_errno(err, errno, "socket");
	if (len >= sizeof(sa.sun_path))
		return gt_err_set(err, ENAMETOOLONG, "unavailable", "%s: too long", path);
	memcpy(sa.sun_path, path, len + 1);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	len += offsetof(struct sockaddr_un, sun_path) + (path[0] != '@');
	if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0)
		return gt_err_set(err, errno, "unavailable",
				  "the control that leads does not answer: %s", strerror(errno));
	*ret = gt_steal_fd(&fd);
	return 0;
}

static bool let_in(const struct gt_relay *r, int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (!r->config.own_users)
		return true;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == 0 || who.uid == geteuid());
}

static void pipe_begin(struct gt_relay *r, int fd)
{
	struct pipe *p = gt_alloc(sizeof(*p));
	struct gt_loop *loop = r->config.loop;
	char path[GT_RELAY_PATH];
	struct gt_err err;

	p->relay = r;
	p->side[CLIENT].fd = fd;
	p->side[PEER].fd = -1;
	DL_APPEND(r->pipes, p);
	r->n_pipes++;
	if (!r->config.where(r->config.arg, path, &p->why) ||
	    peer_open(path, &p->side[PEER].fd, &p->why) < 0)
		gt_err_wrap(&p->why, "control");
	else
		gt_err_clear(&p->why);
	for (int i = 0; i < SIDES; i++)
		if (p->side[i].fd >= 0 && gt_loop_watch(loop, p->side[i].fd, GT_EV_READ, on_side, p,
							&p->side[i].watch, &err) < 0) {
			pipe_free(p);
			return;
		}
}

static void on_connection(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_relay *r = arg;
	int fd;

	(void)events;
	while (r->n_pipes < PIPES_MAX &&
	       (fd = accept4(gt_watch_fd(w), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (let_in(r, fd))
			pipe_begin(r, fd);
		else
			close(fd);
	}
}

int gt_relay_new(const struct gt_relay_config *config, struct gt_relay **ret, struct gt_err *err)
{
	struct gt_relay *r = gt_alloc(sizeof(*r));

	r->config = *config;
	if (gt_loop_watch(config->loop, config->listen_fd, GT_EV_READ, on_connection, r, &r->watch,
			  err) < 0) {
		free(r);
		return -err->code;
	}
	*ret = r;
	return 0;
}

void gt_relay_free(struct gt_relay *r)
{
	struct pipe *p, *tmp;

	if (!r)
		return;
	gt_watch_close(r->watch);
	DL_FOREACH_SAFE (r->pipes, p, tmp)
		pipe_free(p);
	free(r);
}
