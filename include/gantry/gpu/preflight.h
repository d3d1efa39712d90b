/* gpu/preflight.h - runs gantry-preflight over some GPUs of this node: do they add up? */
#ifndef GANTRY_GPU_PREFLIGHT_H
#define GANTRY_GPU_PREFLIGHT_H

#include <gantry/base/err.h>

#define GT_PREFLIGHT_PROGRAM "gantry-preflight"

/* From its start to its verdict; longer is a failure. Each GPU beyond the fourth has a context, a
 * library that is loaded and links to all others, which takes some of the driver's time. */
static inline uint64_t gt_preflight_ms(unsigned ranks)
{
	return 5000 + 1000 * (uint64_t)(ranks > 4 ? ranks - 4 : 0);
}

struct gt_preflight_order {
	const char *nccl;        /* the library's name or path; NULL or "" = libnccl.so.2 */
	const char *driver_root; /* where the driver's libraries are; NULL or "" = "/" */
	bool fake;         /* GPUs of a test double: sums in the host's memory, of less bytes */
	const char *uuids; /* ','-separated, one a rank */
	unsigned ranks;
};

/* Starts the program that lies beside this one. Its one line of JSON comes at *ret_output, a pipe
 * that does not block; then the end. Both descriptors are the caller's, who kills and reaps it: its
 * ranks die with it, and it with us. -ENOENT: there is no such program. */
GT_MUST_USE int gt_preflight_start(const struct gt_preflight_order *order, int *ret_pidfd,
				   int *ret_output, struct gt_err *err);

#endif
