/* move.c - a connection goes to the shard where its call is at home, with all that was read and all
 * that is not sent yet. Between two shards it belongs to nobody but the letter that it is in: what
 * happens to it meanwhile is told when it is watched again. */
#include "calls.h"
#include "tls.h"

#include <string.h>

bool gt_conn_bind(struct gt_conn *c, const char *function, size_t len)
{
	return gt_conn_bind_to(c, gt_shard_home(c->gw, function, len));
}

bool gt_conn_bind_to(struct gt_conn *c, unsigned shard)
{
	if (!c->gw->shards || shard == c->gw->shard)
		return false;
	c->x->bound = 1 + shard;
	return true;
}

static void call_goes(struct gt_call *call)
{
	bool beats = gt_timer_is_set(&call->beat);

	gt_timer_clear(call->gw->loop, &call->timer);
	gt_timer_clear(call->gw->loop, &call->beat);
	if (!beats)
		call->beat.fn = NULL;
}

static void call_comes(struct gt_call *call, struct gt_conn *c)
{
	struct gt_timer *beat = &call->beat;

	call->gw = c->gw;
	call->conn = c;
	if (beat->fn)
		gt_timer_set_at(c->gw->loop, beat, beat->due_ns, beat->fn, beat->arg);
}

static void arrive(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct gt_exchange *x = GT_CONTAINER(m, struct gt_exchange, mail);
	struct gt_conn *c = x->moved;

	c->gw = gw;
	x->bound = 0;
	x->out.store = &gw->queues;
	c->call->upq.store = &gw->queues;
	call_comes(c->call, c);
	gt_conn_come(c);
	if (c->closed)
		return;
	gt_call_resume(c->call);
	if (!c->closed)
		gt_conn_run(c);
}

/* What stays is a shell, as deferred calls may know of it. */
void gt_conn_move(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;
	struct gt_exchange *x = c->x;
	size_t size = offsetof(struct gt_conn, peer) + strlen(c->peer) + 1;
	struct gt_conn *to = gt_alloc(size);

	call_goes(c->call);
	gt_conn_go(c);
	memcpy(to, c, size);
	to->kicked = to->again = false;
	if (to->sock.layer)
		gt_tls_moved(&to->sock);
	c->closed = true;
	c->x = NULL;
	c->call = NULL;
	c->sock = (struct gt_sock){ .ops = c->sock.ops, .fd = -1 };
	gt_gw_bury(gw, &c->grave);
	x->moved = to;
	x->mail.fn = arrive;
	gt_shard_post(gw->shards, x->bound - 1, &x->mail);
	gt_demander_counted(gw);
}
