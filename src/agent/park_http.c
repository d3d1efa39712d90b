/* park_http.c - asks a program to sleep, or to wake: one POST inside its network, an answer of 2xx,
 * and an end to the waiting. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "agent_impl.h"

#define ANSWER_MS 60000 /* what it moves is many GiB */

void gt_park_post_stop(struct replica *r)
{
	struct park_http *h = &r->parking.http;

	gt_timer_clear(r->agent->loop, &h->timer);
	gt_watch_close(h->watch);
	h->watch = NULL;
	h->fd = gt_close(h->fd);
}

static void ended(struct park_http *h, bool good)
{
	struct replica *r = h->r;

	gt_park_post_stop(r);
	gt_park_done(r, good ? PARK_OK : PARK_ERROR);
}

static void on_late(void *arg)
{
	ended(arg, false);
}

static void on_answer(struct park_http *h)
{
	ssize_t n = recv(h->fd, h->answer + h->len, sizeof(h->answer) - 1 - h->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		h->len += (size_t)n;
		h->answer[h->len] = '\0';
	}
	if (n > 0 && h->len < strlen("HTTP/1.1 200"))
		return;
	ended(h, n > 0 && gt_probe_is_good(h->answer));
}

static void on_connected(struct park_http *h)
{
	char request[GT_TEXT_MAX + 160];
	socklen_t size = sizeof(int);
	int error = 0, n;

	n = snprintf(request, sizeof(request),
		     "POST %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: gantry-park\r\n"
		     "Content-Length: 0\r\nConnection: close\r\n\r\n",
		     h->target);
	if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0 ||
	    send(h->fd, request, (size_t)n, MSG_NOSIGNAL) != n ||
	    gt_watch_set(h->watch, GT_EV_READ, NULL) < 0)
		ended(h, false);
}

static void on_socket(struct gt_watch *w, unsigned events, void *arg)
{
	(void)w;
	if (events & GT_EV_WRITE)
		on_connected(arg);
	else
		on_answer(arg);
}

void gt_park_post(struct replica *r, const char *target)
{
	struct park_http *h = &r->parking.http;
	struct gt_loop *loop = r->agent->loop;

	h->r = r;
	h->target = target;
	h->len = 0;
	gt_timer_set(loop, &h->timer, ANSWER_MS, on_late, h);
	if (gt_replica_dial(r, &h->fd, NULL) < 0 ||
	    gt_loop_watch(loop, h->fd, GT_EV_WRITE, on_socket, h, &h->watch, NULL) < 0)
		gt_timer_set(loop, &h->timer, 0, on_late, h);
}
