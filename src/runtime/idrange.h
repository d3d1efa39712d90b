/* idrange.h - ranges of 65536 user and group ids of the host. A sandbox has one that nobody else
 * has while it or its control groups are there. The first range is the exception: it belongs to all
 * those whose files on a disk need an owner that stays the same. */
#ifndef GANTRY_RUNTIME_IDRANGE_H
#define GANTRY_RUNTIME_IDRANGE_H

#include <gantry/base/err.h>
#include <gantry/runtime/runtime.h>

struct idrange {
	unsigned users;
	int userns; /* maps it; -EBADF: not made, or closed since */
};

struct idranges {
	uint32_t base; /* the first id of the first range */
	unsigned n_spare;
	struct idrange v[GT_ID_RANGES];
};

GT_MUST_USE int gt_idranges_open(struct idranges *ids, uint32_t base, struct gt_err *err);
void gt_idranges_close(struct idranges *ids);
/* One that nobody has, the lowest of those whose namespace is there or of all. Ranges go by their
 * first id. -EUSERS: all are taken. */
int gt_idrange_take(struct idranges *ids, uint32_t *ret, struct gt_err *err);
/* One that is somebody's already, or the first, has a user more. It need not begin where one of
 * ours does: an earlier process may have had another base. */
void gt_idrange_hold(struct idranges *ids, uint32_t base);
void gt_idrange_put(struct idranges *ids, uint32_t base);
/* The user namespace of one that was taken, or of the first; borrowed. */
int gt_idrange_userns(struct idranges *ids, uint32_t base, int *ret, struct gt_err *err);
/* Closes one namespace that nobody needs now. True: there are more of them. */
bool gt_idranges_shrink(struct idranges *ids);

#endif
