/* cluster.h - connections of the cluster through this gateway's door: who is at their other end and
 * what is there for them. Only paths below /link/ are, and for nobody else.
 *
 *	without a certificate	POST /link/v1/join
 *	a node that was removed	nothing: 403 node_removed
 *	node NAME		/link/v1/nodes/NAME/{desired,report,certificate}, to control's link
 *				/link/v1/nodes/NAME/pipe?shard=K, which becomes a pipe (nodes.h)
 *	gateway NAME		the same as node NAME; all that it passes on (leader.h); and
 *				/link/v1/nodes/NAME/holds, which becomes what holds.h says
 *	control			/link/v1/nodes/NAME/agent/..., to that node's agent
 *
 * While this gateway follows another one, each is told who leads, and nothing else is there but
 * .../holds.
 *
 * Control comes by a unix socket that nobody else may open. */
#ifndef GANTRY_GATEWAY_CLUSTER_H
#define GANTRY_GATEWAY_CLUSTER_H

#include <netinet/in.h>

#include <gantry/http/pki.h>

#include "conn.h"

enum gt_cluster_kind {
	GT_CLUSTER_STRANGER,
	GT_CLUSTER_NODE,
	GT_CLUSTER_REMOVED, /* a node that control does not list: is told so, and nothing else */
	GT_CLUSTER_GATEWAY, /* of a daemon with the same store: is a node, too */
	GT_CLUSTER_CONTROL,
};

struct gt_cluster_peer {
	enum gt_cluster_kind kind;
	struct gt_pki_id id; /* GT_CLUSTER_NODE, GT_CLUSTER_GATEWAY */
	/* GT_CLUSTER_GATEWAY: whose the present call is, when it passes one on. */
	char client[INET6_ADDRSTRLEN];
	bool client_tls;
	uint64_t until_ns; /* its certificate ends; UINT64_MAX: it has none */
};

/* cluster_path.c: no state of its own */
enum gt_cluster_way {
	GT_CLUSTER_NOWHERE,
	GT_CLUSTER_DENIED,
	GT_CLUSTER_LINK,
	GT_CLUSTER_PIPE,
	GT_CLUSTER_HOLDS, /* holds.h */
	GT_CLUSTER_AGENT,
};
struct gt_cluster_path {
	enum gt_cluster_way way;
	const char *node; /* PIPE, AGENT: into the target, not terminated */
	size_t node_len;
	size_t rest;    /* AGENT: where the agent's own target begins, with a slash */
	unsigned shard; /* PIPE */
};
struct gt_cluster_path gt_cluster_path_read(const struct gt_cluster_peer *who, const char *target,
					    size_t len);
struct gt_cluster_path gt_cluster_path(
	const struct gt_call *call); /* cluster.c: what it asks for */
/* A node's answer to the line that asked for a pipe, without its newline: 0 = the pipe is there, a
 * positive errno; -EPROTO: it is neither. */
int gt_cluster_answer(const char *text, size_t len);
#define GT_CLUSTER_ANSWER_MAX 12

/* cluster.c */
/* Of a connection of the cluster. */
const struct gt_cluster_peer *gt_cluster_peer(const struct gt_conn *c);
/* Its handshake is over: who is it? False: nobody that may come in. */
bool gt_cluster_greet(struct gt_conn *c);
void gt_cluster_begin(struct gt_call *call); /* the head of a request on such a connection */
/* It is a client's, which another gateway passes on, and is taken as that; or (false) it is not. */
bool gt_cluster_forwards(struct gt_call *call);
void gt_cluster_send_away(struct gt_call *call); /* another gateway leads: it is told which */
void gt_cluster_resume(struct gt_call *call);    /* it came to the shard that it was meant for */
/* The certificate is over: what still runs by it must end then. UINT64_MAX: never. */
uint64_t gt_cluster_until_ns(const struct gt_call *call);
void gt_cluster_quiesce(struct gt_gateway *gw); /* its watches are for the next gateway */

/* identity.c: the certificate of this gateway, from control. Made when it is asked for: by the
 * first node that joined, or the first connection that wants to speak with the cluster. */
void gt_identity_want(struct gt_gateway *gw);
struct ssl_ctx_st;
/* For connections of this shard from now on, and those that waited for it. */
void gt_identity_use(struct gt_gateway *gw, struct ssl_ctx_st *tls GT_TAKES);
void gt_identity_free(struct gt_gateway *gw);

#endif
