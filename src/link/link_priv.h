/* link/link_priv.h - what link.c, peer.c and snapshot.c share. */
#ifndef GANTRY_SRC_LINK_LINK_PRIV_H
#define GANTRY_SRC_LINK_LINK_PRIV_H

#include <gantry/http/server.h>
#include <gantry/link/link.h>
#include <gantry/wire/wire.h>

enum gt_peer_kind { GT_PEER_NODE, GT_PEER_GATEWAY };

/* An open watch. */
struct gt_peer {
	struct gt_link *link;
	enum gt_peer_kind kind;
	char name[GT_NAME_MAX + 1];
	uint64_t seq;
	struct gt_stream *stream; /* NULL once it is closed or given up */
	struct gt_peer *prev, *next;
};

struct gt_link {
	struct gt_loop *loop;
	struct gt_link_config config;
	struct gt_http_server *server;
	struct gt_peer *peers;
	struct gt_timer
		reap; /* peers whose stream is gone are told to control outside of its calls */
	struct gt_timer ping;
	char (*tokens)[GT_TOKEN_HASH_HEX];
	size_t n_tokens;
	bool freeing;
};

/* peer.c */
void gt_peer_open(struct gt_link *l, enum gt_peer_kind kind, const char *name,
		  struct gt_request *req);
void gt_peer_send(struct gt_peer *p, struct gt_line *line); /* numbers it */
void gt_peer_reap(struct gt_link *l);

/* snapshot.c */
void gt_snapshot_send(struct gt_peer *p);

#endif
