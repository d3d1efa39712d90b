/* nodes.h - other hosts. Their uplinks hold pipes open to each shard: connections that wait until a
 * call needs one. A pipe that is taken is told what it should lead to, and answers; then it is that
 * call's upstream connection, and later idle in its replica's pool as others are.
 *
 *	gateway -> node		"replica ID\n", or "agent\n"
 *	node -> gateway		"ok\n", or "err ERRNO\n" and the end */
#ifndef GANTRY_GATEWAY_NODES_H
#define GANTRY_GATEWAY_NODES_H

#include <gantry/model/member.h>

#include "cluster.h"

#define GT_NODE_PIPES_MAX \
	256 /* that wait, of a node and shard: the oldest is closed for the next */

enum gt_pipe_stage { GT_PIPE_IDLE, GT_PIPE_ASKED, GT_PIPE_OPEN };

struct gt_node_pipe {
	struct gt_node_pipe *prev, *next; /* in node->pipes */
	struct gt_node *node;
	struct gt_up *up;
	enum gt_pipe_stage stage;
	struct gt_call *asker; /* GT_PIPE_ASKED */
	uint64_t until_ns;     /* the node's certificate ends: it is not taken any more */
	uint64_t opened_ns;    /* GT_PIPE_OPEN */
	unsigned n_answer;
	char answer[GT_CLUSTER_ANSWER_MAX];
};

struct gt_node {
	char name[GT_PKI_NAME_SIZE];
	uint64_t since_ms;       /* certificates from before are another machine's */
	bool listed;             /* in the list that is just read */
	bool daemon;             /* not of the list: it has the store */
	char door[GT_DOOR_SIZE]; /* of such a one: where its gateway is; "" = not told */
	bool leaving;            /* took its waiting pipes away: it waits for its last calls */
	struct gt_node_pipe *pipes;
	struct gt_up *idle; /* last used first */
	unsigned n_idle;
	struct gt_call *waiters; /* calls, oldest first */
	UT_hash_handle hh;
};

/* All that joined. What speaks for others is closed, and what goes to them. */
void gt_nodes_list(struct gt_gateway *gw, const struct gt_member *members, size_t n);
struct gt_node *gt_node_find(struct gt_gateway *gw, const char *name, size_t len);
/* The node that a certificate speaks for; NULL: none that joined, or one that had its name before.
 * A daemon with the store is one from its first connection on. */
struct gt_node *gt_node_of(struct gt_gateway *gw, const struct gt_pki_id *id);
/* What a daemon says of itself with a pipe; and a field of the answer that tells all of them, this
 * one first. */
void gt_node_door(struct gt_node *node, const struct gt_call *call);
void gt_nodes_doors(const struct gt_gateway *gw, struct gt_buf *head);
void gt_nodes_free(struct gt_gateway *gw);
void gt_nodes_quiesce(struct gt_gateway *gw); /* some pipes go to the next gateway */
/* Another gateway leads: all that wait go there, pipes and calls; the others end with their calls.
 */
void gt_nodes_let_go(struct gt_gateway *gw);

/* The connection becomes a pipe; it is closed as what it was. */
void gt_node_pipe_open(struct gt_node *node, struct gt_conn *c);
/* call->target's node, or the agent's that the request names: gt_relay_attach follows, or
 * gt_relay_dial_failed, gt_relay_unreached, gt_relay_no_broker. */
void gt_node_ask(struct gt_call *call, const char *name, size_t len);
void gt_node_cancel(struct gt_call *call);
void gt_node_late(struct gt_call *call); /* GT_GW_REACH_MS since call->ask_ns are over */

/* up.c: of a pipe that no call has. */
void gt_node_parked(struct gt_up *up); /* it is idle in its replica's pool, for some time */
void gt_node_heard(struct gt_up *up);
void gt_node_forget(struct gt_up *up); /* it is being closed */
/* No other call may have it: its node leaves, or it is old. The uplink at its other end may have a
 * successor, and ends when nobody uses its pipes any more. */
bool gt_node_retires(const struct gt_up *up);

#endif
