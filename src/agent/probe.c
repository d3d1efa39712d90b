/* probe.c - is it ready? A connection that is accepted, or with ready.path an answer 2xx. Fast at
 * first, when most programs are a few milliseconds away, then with patience. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_impl.h"

#define FIRST_UNTIL_MS  10 /* a small program is there in less than one */
#define FAST_UNTIL_MS   1000
#define STEADY_UNTIL_MS 10000
#define FIRST_NS        200000
#define FAST_MS         1
#define STEADY_MS       5
#define SLOW_MS         20
#define TRY_MS          2000 /* for one try, connection and answer */

static void on_timer(void *arg);

static void end_try(struct probe *p)
{
	gt_watch_close(p->watch);
	p->watch = NULL;
	p->fd = gt_close(p->fd);
}

static void try_later(struct probe *p)
{
	struct gt_loop *loop = p->r->agent->loop;
	uint64_t now_ns = gt_loop_clock_ns(loop), ms = (now_ns - p->began_ns) / GT_NS_PER_MS;

	end_try(p);
	if (ms < FIRST_UNTIL_MS) {
		gt_timer_set_at(loop, &p->timer, now_ns + FIRST_NS, on_timer, p);
		return;
	}
	gt_timer_set(loop, &p->timer,
		     ms < FAST_UNTIL_MS     ? FAST_MS
		     : ms < STEADY_UNTIL_MS ? STEADY_MS
					    : SLOW_MS,
		     on_timer, p);
}

static void ready(struct probe *p)
{
	gt_probe_stop(p->r);
	gt_replica_is_ready(p->r);
}

/* "HTTP/1.1 204 ...": all that matters is the status. */
bool gt_probe_is_good(const char *answer)
{
	int major, minor, status;

	return sscanf(answer, "HTTP/%1d.%1d %3d", &major, &minor, &status) == 3 &&
	       status / 100 == 2;
}

static void on_answer(struct probe *p)
{
	ssize_t n = recv(p->fd, p->answer + p->len, sizeof(p->answer) - 1 - p->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		p->len += (size_t)n;
		p->answer[p->len] = '\0';
	}
	if (n > 0 && p->len < strlen("HTTP/1.1 200"))
		return;
	if (n > 0 && gt_probe_is_good(p->answer))
		ready(p);
	else
		try_later(p);
}

static void on_connected(struct probe *p)
{
	const struct gt_spec *spec = p->r->spec;
	char request[GT_TEXT_MAX + 128], host[32] = "localhost";
	socklen_t size = sizeof(int);
	int error = 0, n;

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0) {
		try_later(p);
		return;
	}
	if (!spec->ready.path) {
		ready(p);
		return;
	}
	if (!spec->socket)
		snprintf(host, sizeof(host), "127.0.0.1:%u", spec->port);
	n = snprintf(request, sizeof(request),
		     "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: gantry-probe\r\n"
		     "Connection: close\r\n\r\n",
		     spec->ready.path, host);
	if (send(p->fd, request, (size_t)n, MSG_NOSIGNAL) != n ||
	    gt_watch_set(p->watch, GT_EV_READ, NULL) < 0)
		try_later(p);
}

static void on_socket(struct gt_watch *w, unsigned events, void *arg)
{
	struct probe *p = arg;

	(void)w;
	if (events & GT_EV_WRITE)
		on_connected(p);
	else
		on_answer(p);
}

static void begin_try(struct probe *p)
{
	struct replica *r = p->r;
	struct gt_loop *loop = r->agent->loop;

	p->len = 0;
	if (gt_replica_dial(r, &p->fd, NULL) < 0 ||
	    gt_loop_watch(loop, p->fd, GT_EV_WRITE, on_socket, p, &p->watch, NULL) < 0) {
		try_later(p);
		return;
	}
	gt_timer_set(loop, &p->timer, TRY_MS, on_timer, p);
}

/* Due for the next try, or this one took too long. */
static void on_timer(void *arg)
{
	struct probe *p = arg;

	if (p->fd >= 0)
		try_later(p);
	else
		begin_try(p);
}

void gt_probe_start(struct replica *r)
{
	r->probe.r = r;
	r->probe.began_ns = gt_loop_clock_ns(r->agent->loop);
	begin_try(&r->probe);
}

void gt_probe_stop(struct replica *r)
{
	gt_timer_clear(r->agent->loop, &r->probe.timer);
	end_try(&r->probe);
}
