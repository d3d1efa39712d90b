/* uplink/uplink.h - the role that connects a node with its cluster: it keeps the node's identity,
 * carries the agent's connections to control, and holds pipes open for calls to the node's
 * replicas. All connections go out to the cluster's door, so that a node works behind NAT. Needs no
 * root.
 *
 * Of several doors it uses the one of the daemon that leads. A host that joined learns of the
 * others by the way, and tries them when nobody answers; one whose own control has the cluster's
 * store is told by that (lead_path), needs no token, and carries what its gateway passes on, too.
 */
#ifndef GANTRY_UPLINK_UPLINK_H
#define GANTRY_UPLINK_UPLINK_H

#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_UPLINK_URL_SIZE  280
#define GT_UPLINK_DOORS_MAX 8
#define GT_UPLINK_DIR       "link" /* in the state directory; its user's, for nobody else */

struct gt_uplink_config {
	const char *dir;        /* of the identity; see GT_UPLINK_DIR */
	const char *url;        /* of the door; "" = where it joined */
	const char *token;      /* to join with; "" = it has joined */
	const char *node;       /* its name */
	const char *dial_path;  /* the broker's socket (model/dial.h) */
	const char *agent_path; /* where the agent serves, and hears of a new leader */
	int link_fd; /* listening: what connects here speaks with control; borrowed. With lead_path:
			while another one leads */
	const char *lead_path; /* control's own (daemon/lead.h); NULL = this host has joined */
	/* With lead_path: listening, borrowed. What connects here says "EPOCH DOOR\n": it wants the
	 * gateway behind that door, which leads with that epoch; 0 = that is not said. It is told
	 * "ok\n" when there is a connection, and speaks with that gateway then; else the connection
	 * ends, after "none\n" where nobody listens at that door. */
	int forward_fd;
	int ready_fd;      /* gets "READY\n" once the node has joined; < 0 = none */
	uint64_t drain_ms; /* for the calls in flight after SIGTERM */
};

/* Runs until SIGTERM: calls in flight may finish then, and no others begin. Joins first, if it has
 * not, and tries until somebody answers; returns -EACCES or -EEXIST when the answer is no. */
GT_MUST_USE int gt_uplink_run(const struct gt_uplink_config *config, struct gt_err *err);

/* "https://HOST[:PORT]", slug "bad_config". */
GT_MUST_USE int gt_uplink_check_url(const char *url, struct gt_err *err);

/* What a state directory's node has joined as. */
struct gt_uplink_joined {
	char url[GT_UPLINK_URL_SIZE];
	char node[GT_NAME_MAX + 1];
	char token_sha256[65];                               /* of the token that it joined with */
	char ca_pin[48];                                     /* gt_pki_pin of the cluster */
	char doors[GT_UPLINK_DOORS_MAX][GT_UPLINK_URL_SIZE]; /* all that it knows of */
	size_t n_doors;
};
/* From DIR/join.json. -ENOENT: it has not joined. */
GT_MUST_USE int gt_uplink_joined(const char *dir, struct gt_uplink_joined *ret, struct gt_err *err);

#endif
