/* kmsg.h - the kernel's log, read for what the GPU driver writes into it. Works while gpud hangs.
 */
#ifndef GPU_KMSG_H
#define GPU_KMSG_H

#include <gantry/loop/loop.h>

#include "xid.h"

struct gpu_kmsg;
typedef void gpu_kmsg_fn(const struct gt_gpu_incident *incident, int32_t pid, void *arg);

/* From now on; what was written before is not read. A path that is no device may be a FIFO, whose
 * lines are without the kernel's prefix. */
GT_MUST_USE int gpu_kmsg_open(struct gt_loop *loop, const char *path, gpu_kmsg_fn *fn, void *arg,
			      struct gpu_kmsg **ret, struct gt_err *err);
void gpu_kmsg_close(struct gpu_kmsg *k); /* NULL is fine */

#endif
