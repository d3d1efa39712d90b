/* handover.h - from one gateway to the next on the same listening socket, over a packet socket that
 * both inherit.
 *
 *	new -> old	READY	the new one knows the routes and accepts
 *	old -> new	CLIENT	an idle connection, with its descriptor
 *	old -> new	REPLICA	the same to a replica
 *
 * Until READY the old one goes on as if nothing were: a new one that can not start costs nothing.
 * Then it accepts no more, ends its calls, and each connection goes over when it is between two
 * requests. */
#ifndef GANTRY_GATEWAY_HANDOVER_H
#define GANTRY_GATEWAY_HANDOVER_H

#include "conn.h"

/* Watches the sockets that the configuration names. */
GT_MUST_USE int gt_handover_open(struct gt_gateway *gw, struct gt_err *err);
void gt_handover_close(struct gt_gateway *gw);
bool gt_handover_has_predecessor(const struct gt_gateway *gw);
void gt_handover_ready(struct gt_gateway *gw); /* tells the predecessor */

/* Of an idle connection, while the successor takes them. */
enum gt_handed {
	GT_HANDED,     /* and closed here */
	GT_HAND_LATER, /* all idle ones are kicked when it can go */
	GT_HAND_NOT,   /* nobody takes it */
};
enum gt_handed gt_handover_client(struct gt_conn *c);

#endif
