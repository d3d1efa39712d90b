/* handover.h - from one gateway to the next on the same listening socket, over a packet socket that
 * both inherit.
 *
 *	new -> old	READY	  the new one knows the routes
 *	old -> new	LED	  a part of the address of another daemon's gateway, which led
 *	old -> new	HELD	  slots of a replica that the old one's calls have
 *	old -> new	DONE	  it accepts no more: the new one does
 *	old -> new	CLIENT	  an idle connection, with its descriptor
 *	old -> new	REPLICA	  the same to a replica
 *	old -> new	GIVE	  slots that it needs no more
 *	old -> new	WANT	  how many of its calls wait for a slot of a function
 *	new -> old	LEND	  one for them; they came first. REPLICA and this one also carry the
 *			  hash of the function's name, which says whose it is
 *
 * Until READY the old one goes on as if nothing were: a new one that can not start costs nothing.
 * Then it ends its calls, and each connection goes over when it is between two requests. A replica
 * never has more calls of both than its limit. When either dies the other one has all slots. Those
 * of another daemon's gateway that led before the old one the new one asks for itself (holds.h).
 *
 * Both may have several shards, more or fewer than the other: what is said of a replica goes to all
 * of them, as nobody else knows whose function it serves. */
#ifndef GANTRY_GATEWAY_HANDOVER_H
#define GANTRY_GATEWAY_HANDOVER_H

#include "conn.h"

/* Watches the sockets that the configuration names. */
GT_MUST_USE int gt_handover_open(struct gt_gateway *gw, struct gt_err *err);
void gt_handover_close(struct gt_gateway *gw);
/* The routes are known. True: the one before was told, and gt_gw_accept follows when it has given
 * way; false: there is none. */
bool gt_handover_begin(struct gt_gateway *gw);
/* Before who waits here: a successor's predecessor has the older calls. */
void gt_handover_lend(struct gt_gateway *gw, struct gt_fn *fn);
/* The calls of a function, its replicas or their slots changed, and who could run here runs. */
void gt_handover_settle(struct gt_gateway *gw, struct gt_fn *fn);

/* Shard 0: no shard accepts any more. */
void gt_handover_quiet(struct gt_gateway *gw);

/* Of an idle connection, while the successor takes them. */
enum gt_handed {
	GT_HANDED,     /* and closed here */
	GT_HAND_LATER, /* all idle ones are kicked when it can go */
	GT_HAND_NOT,   /* nobody takes it */
};
enum gt_handed gt_handover_client(struct gt_conn *c);

#endif
