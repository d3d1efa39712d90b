/* leader.h - several daemons with one store: functions, queues and slots are at home on the gateway
 * of the one that leads, so that limits hold across all. The others pass on what comes to them:
 * calls and requests, by connections that their uplink makes to the leader's door
 * (run/forward.sock).
 *
 * What was passed on is served by a gateway that leads, and by no other: there is no second hop. */
#ifndef GANTRY_GATEWAY_LEADER_H
#define GANTRY_GATEWAY_LEADER_H

#include <gantry/wire/leader.h>

#include "conn.h"
#include "up.h"

#define GT_GW_LEADER_MS 20000 /* calls wait so long for one that leads */

/* leader.c */
/* Asks control who leads: from then on, what follows from it. */
GT_MUST_USE int gt_leader_follow(struct gt_gateway *gw, struct gt_err *err);
void gt_leader_free(struct gt_gateway *gw);
void gt_leader_line(const char *text, size_t len, void *gw); /* one line of control's */
/* Another daemon's gateway has all functions. */
static inline bool gt_follows(const struct gt_gateway *gw)
{
	return gw->leader.state == GT_LEADER_OTHER;
}

/* Shard 0. The gateway that leads says so itself: it is followed, where this is news. */
void gt_leader_told(struct gt_gateway *gw, const struct gt_leader *now);

/* forward.c */
/* A connection to the gateway behind that door, which the uplink makes: it says "ok\n" when it is
 * there. epoch: by which that one leads; 0 = that is not said. NULL: *error is a positive errno. */
struct gt_up *gt_forward_open(struct gt_gateway *gw, uint64_t epoch, const char *door, int *error);
void gt_forward_tell(struct gt_gateway *gw); /* to the uplink: who leads */
void gt_forward_begin(struct gt_call *call); /* a request's head is read */
void gt_forward_connect(struct gt_call *call);
/* The head of the answer is here: that gateway does not lead. True: the call is tried again, or has
 * ended. False: it is an answer, and nothing is kept for a second try. */
bool gt_forward_in_vain(struct gt_call *call);
void gt_forward_cancel(struct gt_call *call); /* it waits for no connection any more */
void gt_forward_heard(struct gt_up *up); /* of one that no call has, or that is not there yet */
void gt_forward_park(struct gt_up *up);
void gt_forward_forget(struct gt_up *up); /* it is being closed */
void gt_forward_retire(struct gt_gateway *gw);

#endif
