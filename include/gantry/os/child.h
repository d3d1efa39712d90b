/* os/child.h - a copy of this process with a job of its own: how it is born, and what it keeps. */
#ifndef GANTRY_OS_CHILD_H
#define GANTRY_OS_CHILD_H

#include <gantry/base/err.h>

#include <sys/types.h>

#define GT_OS_CHILD_FD    3   /* the first of its descriptors */
#define GT_OS_CHILD_UNFIT 125 /* its exit status when it could not become what it should */

/* Forks, and calls fn(arg) in the child, which must end by _exit or exec. There fds[i] is
 * descriptor GT_OS_CHILD_FD + i, closed on exec; 0 and 1 are /dev/null, 2 is what it was, all
 * others are closed; signals are as a program finds them but SIGPIPE, which is ignored (exec hands
 * that on); "/" is the directory. It dies with the thread that called; a change of its ids ends
 * that, and gt_os_child_tie is for after it. fds stay the caller's. On success *ret_pidfd is the
 * caller's, who reaps it. Not for a process whose other threads hold locks that fn needs. */
GT_MUST_USE int gt_os_child(const int *fds, size_t n, void (*fn)(void *arg), void *arg,
			    pid_t *ret_pid, int *ret_pidfd, struct gt_err *err);
/* In the child: from here on it dies with its parent again. One whose parent is dead ends here. */
void gt_os_child_tie(void);

#endif
