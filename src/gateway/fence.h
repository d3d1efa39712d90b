/* fence.h - whoever has control's answer to a change of a function finds the change in force. Such
 * an answer names the changes that control had told by then (Gantry-Routes: EPOCH.SEQ). It comes by
 * another socket than they do, and mostly to another shard: it is passed on when shard 0 has read
 * of them, and all shards after it what it sent them. One letter finds that out: it goes to shard
 * 0, waits there for the watch, goes through all others, behind the routes in each box, and comes
 * back. */
#ifndef GANTRY_GATEWAY_FENCE_H
#define GANTRY_GATEWAY_FENCE_H

#include <gantry/base/buf.h>

#include "shard.h"

struct gt_call;

/* How far control has been heard. */
struct gt_heard {
	uint64_t epoch, seq;
};

/* Of a call: its answer waits. */
struct gt_fenced {
	struct gt_fenced *prev, *next;
	struct gt_call *call;
	struct gt_heard needs;
	struct gt_buf rest; /* of the answer, behind its head: was read together with it */
	uint64_t since_ns;
	bool over;
};

/* Of a shard. */
struct gt_fence {
	struct gt_fenced *waiting;
	struct gt_heard all;   /* this far all shards are; maybe further */
	struct gt_heard heard; /* shard 0's: by the watch */
	struct gt_fence *asks; /* shard 0's: letters that wait for the watch */
	/* Its letter; while it is out, of whoever has it. */
	struct gt_mail mail;
	struct gt_fence *next;
	struct gt_heard wanted;
	unsigned from, at;
	bool out; /* not the letter's */
};

/* The head of an answer is in call->resp. True: it waits, and so does what is added to its `rest`;
 * gt_relay_read goes on with it when it is `over`. */
bool gt_fence_holds(struct gt_call *call);
void gt_fence_late(struct gt_call *call); /* it waits no more */
void gt_fence_free(struct gt_call *call); /* nothing is fine */
/* Shard 0: a line of the watch was read, and its letters are sent. */
void gt_fence_heard(struct gt_gateway *gw, uint64_t seq);

#endif
