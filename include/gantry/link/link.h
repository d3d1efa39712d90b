/* link/link.h - control's end of the link: serves the watches of agents and gateways, feeds them
 * what control decides, hands control what they post.
 *
 * Loop thread only. A peer is up while its watch is open. One that reads too slowly is dropped: it
 * comes back and starts over with a snapshot. */
#ifndef GANTRY_LINK_LINK_H
#define GANTRY_LINK_LINK_H

#include <gantry/control/control.h>
#include <gantry/loop/loop.h>

struct gt_link;

struct gt_link_config {
	int listen_fd;              /* already listening; stays the caller's */
	struct gt_control *control; /* borrowed; outlives the link */
	size_t queued_max;          /* bytes that may wait for one peer; 0 = 256 MiB */
	uint64_t ping_ms;           /* 0 = 10 s */
};

GT_MUST_USE int gt_link_new(struct gt_loop *loop, const struct gt_link_config *config,
			    struct gt_link **ret, struct gt_err *err);
void gt_link_free(struct gt_link *l);    /* ends all watches; NULL is fine */
void gt_link_quiesce(struct gt_link *l); /* takes no new connection */

/* SHA-256 in hex of the valid tokens; copied, and sent to every gateway. Before: none is valid. */
void gt_link_tokens_set(struct gt_link *l, const char (*tokens)[GT_TOKEN_HASH_HEX], size_t n);

/* For struct gt_control_ports: called from inside control, only reads it. */
void gt_link_on_order(struct gt_link *l, const char *node, const struct gt_order *order);
void gt_link_on_forget(struct gt_link *l, const char *node, const char *replica);
void gt_link_on_route(struct gt_link *l, const char *function);
void gt_link_on_route_gone(struct gt_link *l, const char *function);

#endif
