/* hand.h - what a gateway knows of the one before it and the one after it: handover.c. */
#ifndef GANTRY_GATEWAY_HAND_H
#define GANTRY_GATEWAY_HAND_H

#include <gantry/base/buf.h>
#include <gantry/loop/loop.h>

struct gt_held;

struct gt_hand_peer {
	int fd;
	struct gt_watch *watch; /* NULL: there is none */
	struct gt_buf pending;  /* messages that did not fit into the socket */
};

struct gt_handover {
	struct gt_hand_peer before, after;
	struct gt_held *held; /* slots of the one before, also of replicas not known yet */
	struct gt_timer timer;
	bool asked;    /* the one before to give way */
	bool yielding; /* the one after takes what is idle */
};

#endif
