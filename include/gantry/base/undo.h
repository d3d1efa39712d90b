/* base/undo.h - a list of undo steps for effects outside the process (mounts, cgroups, files).
 * Steps run backwards when the list goes out of scope, unless it was disarmed:
 *	gt_auto(undo) struct gt_undo undo = { 0 }; */
#ifndef GANTRY_BASE_UNDO_H
#define GANTRY_BASE_UNDO_H

#include <gantry/base/cleanup.h>

#define GT_UNDO_MAX 32 /* steps; one more is a programming mistake and aborts */

typedef void gt_undo_fn(void *arg);
struct gt_undo {
	struct {
		gt_undo_fn *fn;
		void *arg;
	} steps[GT_UNDO_MAX];
	size_t n;
};

void gt_undo_push(struct gt_undo *undo, gt_undo_fn *fn, void *arg);
void gt_undo_disarm(struct gt_undo *undo); /* success: forget the steps */
void gt_undo_run(struct gt_undo *undo);    /* run them now, newest first */

static inline void gt_cleanup_undo(struct gt_undo *undo)
{
	gt_undo_run(undo);
}

#endif
