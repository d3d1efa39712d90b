/* daemon/upgrade.h - from one program to the next in the same process: what the supervisor holds
 * stays open over an exec, and a memory file tells the new program what it is.
 *
 * The process keeps its number, hence its children, its place with the service manager and the lock
 * of the state directory. */
#ifndef DAEMON_UPGRADE_H
#define DAEMON_UPGRADE_H

#include "role.h"

#define GT_HELD_CHILDREN_MAX 16

/* What the next program takes over. */
struct gt_held {
	char state[GT_CONFIG_TEXT]; /* absolute, of the state directory */
	char url[128];
	int fds[GT_FD_N];
	struct {
		enum gt_role_id id;
		pid_t pid;
		unsigned instance;
		bool current; /* else it drains */
		int heir;     /* to the gateway's successor, or -1 */
	} children[GT_HELD_CHILDREN_MAX];
	size_t n_children;
};

/* Before the first change of directory: notes the path of the program and where it was started.
 * argv stays the caller's. */
GT_MUST_USE int gt_upgrade_begin(char **argv, struct gt_err *err);
/* Runs `check` of what is at the program's path now, with this process's options. Its end tells
 * whether that would start: *pidfd gets readable, as with gt_spawn_role. */
GT_MUST_USE int gt_upgrade_check(pid_t *pid, int *pidfd, struct gt_err *err);
/* Becomes that program. Returns only when it could not; then nothing has changed. */
GT_MUST_USE int gt_upgrade_exec(const struct gt_held *held, struct gt_err *err);
/* In the new program. -ENOENT: it was started in the usual way. */
GT_MUST_USE int gt_upgrade_resume(struct gt_held *ret, struct gt_err *err);

#endif
