/* holds.h - slots across a change of who leads. A gateway that led before finishes what it had
 *begun: the next one asks it what that is, and counts it as taken.
 *
 *	-> GET /link/v1/nodes/NODE/holds	Upgrade: gantry-holds, Gantry-Epoch: N, Gantry-Door:
 *URL
 *	<- 101, and lines from then on:
 *	<- held N REPLICA	calls here have so many slots of that replica
 *	<- all			that was all
 *	<- given N REPLICA	so many of them have ended
 *
 * and the end, when none is left. To ask is to say who leads, and since when: one that still takes
 * itself for the leader, as its own control hangs, follows from then on.
 *
 * The asker gives out no slot before it has heard "all", or that nobody is there, or GT_HOLDS_MS
 *are over. What a gateway holds whose connection breaks is counted until it has told anew, or is
 *found to be gone, or GT_HOLDS_MS are over. */
#ifndef GANTRY_GATEWAY_HOLDS_H
#define GANTRY_GATEWAY_HOLDS_H

#include <gantry/model/limits.h>

#include "gw.h"

#define GT_HOLDS_MS   1000
#define GT_HOLDS_MAX  15 /* gateways that are asked, and that ask */
#define GT_HOLDS_LINE 512

/* A line without its newline. -EPROTO: it is none; ret is untouched. */
enum gt_hold_word { GT_HOLD_HELD, GT_HOLD_GIVEN, GT_HOLD_ALL };
struct gt_hold_line {
	enum gt_hold_word word;
	uint32_t n; /* HELD, GIVEN: 1..65535 */
	char replica[GT_REPLICA_ID_SIZE];
};
int gt_hold_read(const char *text, size_t len, struct gt_hold_line *ret); /* cluster_path.c */

/* What an upstream connection is to either side. */
struct gt_hold {
	void (*heard)(struct gt_hold *h);
	void (*gone)(struct gt_hold *h); /* it is being closed */
};

/* ---- who asks: shard 0 ---- */
/* That one led before this one: it is asked when this one leads. */
void gt_holds_note(struct gt_gateway *gw, const char *door);
bool gt_holds_awaits(const struct gt_gateway *gw); /* one will be asked, or has not told yet */
void gt_holds_ask(struct gt_gateway *gw);          /* this one leads */
/* For the gateway that takes the place of this one, which has to ask them itself. */
void gt_holds_each(struct gt_gateway *gw,
		   void (*fn)(struct gt_gateway *gw, const char *door, bool counts));
/* That is known from the one before this one. counts: what it has is counted there, or would be:
 * where this one leads it gives out no slot before it has been told the same. */
void gt_holds_inherit(struct gt_gateway *gw, const char *door, bool counts);
void gt_holds_stop(struct gt_gateway *gw); /* and does not any more */
void gt_holds_free(struct gt_gateway *gw);

/* ---- who is asked: tells.c ---- */
void gt_tells_begin(struct gt_call *call); /* on shard 0 */
/* Any shard. Calls of before have given back so many slots of that replica. */
void gt_tells_given(struct gt_gateway *gw, const char *replica, uint32_t n);
void gt_tells_stop(struct gt_gateway *gw); /* shard 0: it leads again, or ends */

#endif
