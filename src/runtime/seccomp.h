/* seccomp.h - the system call filter of every container, compiled once at start. */
#ifndef GANTRY_RUNTIME_SECCOMP_H
#define GANTRY_RUNTIME_SECCOMP_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

/* Appends the program (struct sock_filter, 8 bytes each) to `out`. */
GT_MUST_USE int gt_seccomp_build(struct gt_buf *out, struct gt_err *err);

#endif
