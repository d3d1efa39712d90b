/* gpu/ledger.h - who has which GPU of this node: the node's own book, against which every order is
 * held. Thousandths and bytes are counted apart. Pure; not thread-safe. */
#ifndef GANTRY_GPU_LEDGER_H
#define GANTRY_GPU_LEDGER_H

#include <gantry/model/gpu.h>

struct gt_gpu_ledger;

struct gt_gpu_ledger *gt_gpu_ledger_new(void);
void gt_gpu_ledger_free(struct gt_gpu_ledger *l); /* NULL is fine */
/* All of them or none. `holder` is any name of GT_GPU_HOLDER_MAX bytes; it must hold nothing yet.
 * -ENOENT: a GPU is not in `gpus`; -EBUSY: what is asked for is not free; both with slug
 * "gpu_conflict". */
GT_MUST_USE int gt_gpu_ledger_take(struct gt_gpu_ledger *l, const struct gt_gpu *gpus,
				   size_t n_gpus, const char *holder,
				   const struct gt_gpu_grant *grants, size_t n, struct gt_err *err);
/* What a replica that runs already has, whatever is there. */
void gt_gpu_ledger_keep(struct gt_gpu_ledger *l, const char *holder,
			const struct gt_gpu_grant *grants, size_t n);
/* What it holds is free again; nothing happens when it holds nothing. */
void gt_gpu_ledger_give_back(struct gt_gpu_ledger *l, const char *holder);

#define GT_GPU_HOLDER_MAX 63

#endif
