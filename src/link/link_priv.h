/* link/link_priv.h - shared by watch.c (downward) and posts.c (upward). */
#ifndef LINK_PRIV_H
#define LINK_PRIV_H

#include <gantry/control/member.h>
#include <gantry/control/task.h>
#include <gantry/http/server.h>
#include <gantry/link/link.h>
#include <gantry/wire/wire.h>

#define GT_LINK_PING_MS    10000
#define GT_LINK_QUEUED_MAX (64 * GT_MIB) /* a snapshot of GT_FUNCTIONS_MAX routes fits */
#define GT_LINK_BODY_MAX   (32 * GT_MIB)
#define GT_LINK_JOIN_MAX   (16 * GT_KIB)

enum gt_peer_kind { GT_PEER_NODE, GT_PEER_GATEWAY };

/* One open watch. */
struct gt_peer {
	struct gt_link *link;
	enum gt_peer_kind kind;
	char name[GT_NAME_MAX + 1];
	bool joined; /* from another machine: it must stay a member */
	struct gt_stream *stream;
	uint64_t seq; /* a node's; see peer_send */
	struct gt_peer *prev, *next;
};

/* A post that the store has not answered yet. */
struct gt_link_owed {
	struct gt_link *link;
	struct gt_request *req; /* NULL: who sent it left; what was done is done */
	char *csr;              /* of a join; owned */
	struct gt_link_owed *prev, *next;
};

struct gt_link {
	struct gt_link_config config;
	struct gt_http_server *server;
	struct gt_peer *peers;
	struct gt_link_owed *owed;
	struct gt_timer ping;
	struct gt_timer drop; /* peers that were cut off, outside of control's calls */
	struct gt_buf line;   /* scratch, reused */
};

/* Handlers of the routes. */
void gt_link_watch_node(struct gt_request *req, void *app);
void gt_link_watch_gateway(struct gt_request *req, void *app);
void gt_link_post_report(struct gt_request *req, void *app);
void gt_link_post_demand(struct gt_request *req, void *app);
void gt_link_post_calls(struct gt_request *req, void *app);

void gt_link_post_join(struct gt_request *req, void *app);
void gt_link_certify_node(struct gt_request *req, void *app);
void gt_link_certify_gateway(struct gt_request *req, void *app);

/* Until it is freed, or the link is. */
struct gt_link_owed *gt_link_owe(struct gt_link *link, struct gt_request *req);
void gt_link_owed_free(struct gt_link_owed *o);
void gt_link_owed_end(struct gt_link *link);

/* Who sent it, as a gateway states: "node/NAME" of one that joined, "gateway/NAME" of a daemon that
 * has the same store; NULL: a role of this daemon. */
const char *gt_link_sender(const struct gt_request *req);
/* 0, or -EACCES (node_removed). */
int gt_link_check_member(struct gt_link *link, const char *node, struct gt_err *err);
void gt_link_ping_start(struct gt_link *link);
void gt_link_peers_end(struct gt_link *link);

#endif
