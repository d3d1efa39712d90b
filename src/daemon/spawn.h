/* daemon/spawn.h - one role process from the daemon's own binary. */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include "role.h"

struct gt_spawn {
	enum gt_role_id id;
	unsigned instance; /* tells processes of one role apart */
	const struct gt_config *config;
	const char *token_sha256;
	const char *join_token; /* or NULL */
	uid_t uid;
	gid_t gid;
	int fds[GT_FD_N]; /* -EBADF = not for this role */
};

/* *pidfd becomes readable when the process ends; the caller closes it. */
GT_MUST_USE int gt_spawn_role(const struct gt_spawn *spawn, pid_t *pid, int *pidfd,
			      struct gt_err *err);

/* Of a child just forked. One that can not be watched is killed and reaped. */
GT_MUST_USE int gt_spawn_watch(pid_t pid, int *ret_pidfd, struct gt_err *err);

#endif
