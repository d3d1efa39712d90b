/* shake.c - how a connection begins: handshakes of TLS, and no more of them at once than may be. */
#include "calls.h"
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
	gt_tls_begin(&c->sock, gw->tls);
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
	if (c->tls)
		shake(c);
}

/* Returns whether there may be more to do. */
bool gt_conn_shake(struct gt_conn *c)
{
	struct gt_refusal why = GT_REFUSAL("malformed_request",
					   "this port speaks TLS: use an https:// address");
	char subject[GT_TLS_SUBJECT_SIZE];

	if (!c->sock.can_read)
		return false;
	switch (gt_tls_handshake(&c->sock)) {
	case GT_TLS_MORE:
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
		if (gt_tls_subject(&c->sock, subject))
			c->subject = gt_strdup(subject);
		gt_conn_arm(c, GT_GW_IDLE_MS);
		return true;
	}
}
