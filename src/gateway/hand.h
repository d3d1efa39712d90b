/* hand.h - what a gateway knows of the one before it and the one after it: handover.c; and of those
 * of other daemons. Only shard 0 talks to them, but for idle connections, which any shard gives
 * away. */
#ifndef GANTRY_GATEWAY_HAND_H
#define GANTRY_GATEWAY_HAND_H

#include <gantry/base/buf.h>
#include <gantry/loop/loop.h>
#include <gantry/wire/leader.h>

struct gt_asks;
struct gt_held;
struct gt_hold;
struct gt_tell;

struct gt_hand_peer {
	int fd;
	struct gt_watch *watch; /* NULL: there is none */
	struct gt_buf pending;  /* messages that did not fit into the socket */
};

struct gt_handover {
	struct gt_hand_peer before, after; /* shard 0's */
	struct gt_timer timer;
	bool preceded;          /* the one before has slots that it may be lent */
	bool asked;             /* the one before to give way */
	bool yielding;          /* to the one after; it takes what is idle */
	bool done;              /* and was told that nobody accepts here any more */
	bool handing;           /* idle connections may go */
	char led[GT_DOOR_SIZE]; /* what has come of an address from the one before */
};

struct gt_others {
	struct gt_held *held;  /* hash: slots that calls of other gateways have; held.c */
	bool shut;             /* no slot is given out: who led before has not told yet */
	struct gt_asks *asks;  /* shard 0's: who led before; NULL = nobody. holds.c */
	struct gt_tell *tells; /* shard 0's: who asked this one; tells.c */
};

#endif
