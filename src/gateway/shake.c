/* shake.c - how a connection begins: handshakes of TLS, and no more of them at once than may be. */
#include "calls.h"
#include "cluster.h"
#include "tls.h"

#include <utlist.h>

/* It is no longer in its handshake. */
void gt_conn_shaken(struct gt_conn *c, bool well)
{
	struct gt_gateway *gw = c->gw;

	DL_DELETE2(gw->handshakes, c, x->shake_prev, x->shake_next);
	gw->n_handshakes--;
	c->state = GT_CONN_HEAD;
	gw->stats.tls_handshakes += well;
	gw->stats.tls_failed += !well;
	gw->stats.tls_resumed += well && gt_tls_resumed(&c->sock);
	gt_demander_counted(gw);
}

/* A flood of clients that never finish takes the places of its own: the oldest goes. */
static void shake(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;

	if (gw->n_handshakes == gw->handshakes_max)
		gt_conn_close(gw->handshakes);
	c->state = GT_CONN_HANDSHAKE;
	DL_APPEND2(gw->handshakes, c, x->shake_prev, x->shake_next);
	gw->n_handshakes++;
	gt_conn_arm(c, GT_GW_HEAD_MS);
}

/* What a fresh connection begins with, behind a PROXY header if there was one. */
void gt_conn_begin(struct gt_conn *c)
{
	c->state = GT_CONN_HEAD;
	gt_conn_arm(c, GT_GW_IDLE_MS);
	if (!c->tls)
		return;
	gt_tls_begin(&c->sock, c->gw->tls, &c->gw->link_tls);
	shake(c);
}

/* A request can not begin so: a node speaks TLS to a plain port. */
void gt_conn_greeted(struct gt_conn *c, const char *greeting, size_t len)
{
	c->tls = true;
	shake(c);
	if (gt_buf_add(&c->x->in, greeting, len) < 0)
		gt_conn_close(c);
}

/* With the identity that it asks for: there is one now? */
static bool may_shake(struct gt_conn *c)
{
	struct gt_gateway *gw = c->gw;

	if (!gw->link_tls && (!c->sock.layer || gt_tls_is_link(&c->sock))) {
		gt_identity_want(gw);
		return false;
	}
	if (!c->sock.layer) {
		gt_tls_begin(&c->sock, NULL, &gw->link_tls);
		gt_tls_unread(&c->sock, c->x->in.data, c->x->in.len);
		gt_buf_fini(&c->x->in);
	}
	return true;
}

void gt_conns_shake(struct gt_gateway *gw)
{
	struct gt_conn *c;

	DL_FOREACH2(gw->handshakes, c, x->shake_next)
	{
		c->sock.can_read = true;
		gt_conn_kick(c);
	}
}

/* Returns whether there may be more to do. */
bool gt_conn_shake(struct gt_conn *c)
{
	struct gt_refusal why = GT_REFUSAL("malformed_request",
					   "this port speaks TLS: use an https:// address");

	if ((!c->sock.can_read && c->sock.layer) || !may_shake(c))
		return false;
	switch (gt_tls_handshake(&c->sock)) {
	case GT_TLS_MORE:
		if (gt_tls_is_link(&c->sock) && !c->gw->link_tls)
			gt_identity_want(c->gw);
		return false;
	case GT_TLS_FAILED:
		gt_conn_close(c);
		return false;
	case GT_TLS_PLAIN:
		gt_conn_shaken(c, false);
		c->tls = false;
		gt_conn_refuse(c, &why);
		return !c->closed;
	default:
		gt_conn_shaken(c, true);
		gt_conn_arm(c, GT_GW_IDLE_MS);
		if (gt_tls_is_link(&c->sock) && !gt_cluster_greet(c)) {
			gt_conn_close(c);
			return false;
		}
		return true;
	}
}
