/* daemon/kind.h - the daemons there are: which roles each runs, and what these inherit. */
#ifndef DAEMON_KIND_H
#define DAEMON_KIND_H

#include "role.h"

struct gt_kind {
	const char *command;     /* of gantryd */
	unsigned roles;          /* bits: 1 << enum gt_role_id */
	enum gt_role_id front;   /* has the calls of others: it drains before the others end */
	bool joins;              /* its uplink has an identity of its own, by a token */
	unsigned fds[GT_PROC_N]; /* bits: 1 << enum gt_role_fd, what the supervisor has for all */
};
extern const struct gt_kind gt_kind_run, gt_kind_agent;
/* What `kind` is with that configuration: several daemons that share a store have uplinks. */
const struct gt_kind *gt_kind_of(const struct gt_kind *kind, const struct gt_config *c);

static inline bool gt_kind_has(const struct gt_kind *kind, enum gt_role_id id)
{
	return kind->roles & 1U << id;
}

/* Of control, and the group of all: the configured user's, or the fixed ones. */
GT_MUST_USE int gt_kind_ids(const struct gt_config *c, uid_t *ret_uid, gid_t *ret_gid,
			    struct gt_err *err);
/* Each role has a user of its own when none is configured. The agent keeps root; the id is for its
 * process that gets images. */
uid_t gt_kind_uid(const struct gt_config *c, uid_t uid, enum gt_role_id id);

/* Makes the directories of its roles in the state directory, which is the current one. */
GT_MUST_USE int gt_kind_dirs(const struct gt_kind *kind, const struct gt_config *c, uid_t uid,
			     gid_t gid, struct gt_err *err);
/* What the configuration leaves open: the node's name, and of a host that joins the token. In the
 * state directory. */
GT_MUST_USE int gt_kind_settle(const struct gt_kind *kind, struct gt_config *c, struct gt_err *err);

#define GT_URL_SIZE 128
struct gt_listening {
	int *fds;                                    /* by enum gt_role_fd; made by this call */
	char url[GT_URL_SIZE], tls_url[GT_URL_SIZE]; /* "": there is none */
};
/* All listening sockets that its roles get, in the state directory, which is the current one. Those
 * that are there stay: a program that took over from an older one makes what that did not know. */
GT_MUST_USE int gt_kind_listen(const struct gt_kind *kind, const struct gt_config *c, uid_t uid,
			       gid_t gid, struct gt_listening *ret, struct gt_err *err);

#endif
