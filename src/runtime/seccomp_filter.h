/* seccomp_filter.h - the system call filter of every container, compiled once at start. Programs
 * are arrays of struct sock_filter, 8 bytes an instruction. */
#ifndef GANTRY_RUNTIME_SECCOMP_FILTER_H
#define GANTRY_RUNTIME_SECCOMP_FILTER_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

/* Appends the program to load. */
GT_MUST_USE int gt_seccomp_build(struct gt_buf *out, struct gt_err *err);

/* The same policy as libseccomp compiles it: what every other program is judged by. */
GT_MUST_USE int gt_seccomp_policy(struct gt_buf *out, struct gt_err *err);
/* Appends a program with the verdicts of `policy`, which is smaller and takes fewer steps to any of
 * them. -EOPNOTSUPP: it does something that libseccomp 2.5 does not. */
GT_MUST_USE int gt_seccomp_compact(const struct gt_buf *policy, struct gt_buf *out,
				   struct gt_err *err);

#endif
