/* undo.c - undo steps for effects outside the process, newest first. */
#include <gantry/base/undo.h>

#include <stdio.h>
#include <stdlib.h>

void gt_undo_push(struct gt_undo *undo, gt_undo_fn *fn, void *arg)
{
	if (undo->n == GT_UNDO_MAX) {
		fprintf(stderr, "gantry: more than %d undo steps\n", GT_UNDO_MAX);
		abort();
	}
	undo->steps[undo->n].fn = fn;
	undo->steps[undo->n].arg = arg;
	undo->n++;
}

void gt_undo_disarm(struct gt_undo *undo)
{
	undo->n = 0;
}

void gt_undo_run(struct gt_undo *undo)
{
	int saved = errno;

	while (undo->n > 0) {
		undo->n--;
		undo->steps[undo->n].fn(undo->steps[undo->n].arg);
	}
	errno = saved;
}
