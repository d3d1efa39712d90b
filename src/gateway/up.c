/* up.c - upstream connections: opened, idle in their replica's pool, closed. */
#include "up.h"
#include "holds.h"
#include "leader.h"
#include "nodes.h"

#include <stdlib.h>
#include <utlist.h>

#define IDLE_MAX 64
/* Servers close idle connections after a few seconds (5 s is common). A call that must not be sent
 * twice takes none that may be closing right now. */
#define IDLE_NS      GT_UP_IDLE_NS
#define IDLE_SURE_NS (1 * GT_NS_PER_S)

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_up *up = arg;

	(void)w;
	gt_sock_told(&up->sock, events);
	if (up->call)
		gt_conn_hear(up->call->conn);
	else if (up->pipe)
		gt_node_heard(up);
	else if (up->hold)
		up->hold->heard(up->hold);
	else if (up->forward)
		gt_forward_heard(up);
	else if (events & (GT_EV_READ | GT_EV_HANGUP))
		gt_up_close(up); /* closed, or speaks without being asked */
}

struct gt_up *gt_up_of_conn(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_up *up = gt_alloc(sizeof(*up));

	up->gw = gw;
	gt_conn_give(c, &up->sock);
	if (gw->port->sock->watch(&up->sock, gw->loop, on_event, up, NULL) < 0) {
		gt_sock_close(&up->sock);
		free(up);
		return NULL;
	}
	return up;
}

struct gt_up *gt_up_open(struct gt_gateway *gw, int fd GT_TAKES, struct gt_target *t)
{
	struct gt_up *up = gt_alloc(sizeof(*up));

	up->gw = gw;
	up->target = t;
	if (gt_sock_open(&up->sock, gw->port->sock, gw->loop, fd, on_event, up, NULL) < 0) {
		free(up);
		return NULL;
	}
	/* What was ready before the watch came is told by its first edge; a unix socket that is
	 * connected can be written at once. */
	up->sock.can_write = true;
	return up;
}

void gt_up_close(struct gt_up *up)
{
	if (up->closed)
		return;
	up->closed = true;
	if (up->pipe)
		gt_node_forget(up);
	if (up->forward)
		gt_forward_forget(up);
	if (up->hold)
		up->hold->gone(up->hold);
	up->hold = NULL;
	if (up->call)
		up->call->up = NULL;
	else if (up->target && up->idle_since_ns)
		gt_pool_leave(&up->target->idle, up);
	up->call = NULL;
	gt_sock_close(&up->sock);
	gt_gw_bury(up->gw, &up->grave);
}

void gt_up_park(struct gt_up *up)
{
	struct gt_target *t = up->target;

	/* No event will tell of what the layer holds already. */
	if ((up->sock.layer && !up->sock.ops->silent(&up->sock)) ||
	    (up->pipe && gt_node_retires(up))) {
		gt_up_close(up);
		return;
	}
	gt_pool_put(&t->idle, up);
	if (up->pipe)
		gt_node_parked(up);
}

/* ---- idle ones ---- */

void gt_pool_put(struct gt_up_pool *pool, struct gt_up *up)
{
	up->idle_since_ns = gt_gw_now(up->gw);
	DL_PREPEND(pool->first, up);
	if (++pool->n > IDLE_MAX)
		gt_up_close(pool->first->prev); /* the one unused for longest */
}

void gt_pool_leave(struct gt_up_pool *pool, struct gt_up *up)
{
	DL_DELETE(pool->first, up);
	pool->n--;
	up->idle_since_ns = 0;
}

static bool still_open(struct gt_up *up)
{
	return !up->sock.hup && up->sock.ops->silent(&up->sock);
}

struct gt_up *gt_pool_take(struct gt_up_pool *pool, bool idempotent, uint64_t now_ns)
{
	uint64_t most_ns = idempotent ? IDLE_NS : IDLE_SURE_NS;
	struct gt_up *up;

	while ((up = pool->first)) {
		/* An idempotent call finds out by itself, and is then sent again. */
		if (now_ns - up->idle_since_ns > IDLE_NS || (!idempotent && !still_open(up))) {
			gt_up_close(up);
			continue;
		}
		if (now_ns - up->idle_since_ns > most_ns)
			return NULL;
		gt_pool_leave(pool, up);
		up->reused = true;
		up->sock.can_read = false;
		return up;
	}
	return NULL;
}

void gt_pool_close(struct gt_up_pool *pool)
{
	while (pool->first)
		gt_up_close(pool->first);
}

void gt_up_retire(struct gt_target *t)
{
	gt_pool_close(&t->idle);
}
