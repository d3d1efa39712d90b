/* learner.h - what the autoscaler has learned, in control/learned.bin of the state directory.
 *
 * Read at control's start, written every 10 s (for each MiB that it has) while decisions are taken,
 * and at an orderly end. Never synced: after a power cut it may be an older one, or damaged, and
 * then control begins with what is left, or anew. On control's thread. */
#ifndef DAEMON_LEARNER_H
#define DAEMON_LEARNER_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

#define GT_LEARNER_PATH "control/learned.bin"

struct gt_control;
struct gt_learner;
struct gt_loop;
struct gt_recorder;

/* After control has its functions. recorder: is told with which states control begins; NULL = none.
 */
void gt_learner_open(struct gt_loop *loop, struct gt_control *control, struct gt_recorder *recorder,
		     struct gt_learner **ret);
void gt_learner_close(struct gt_learner *l); /* writes the last one; NULL is fine */
/* The file has the old content or all of the new one. */
GT_MUST_USE int gt_learner_file_write(const char *path, const struct gt_buf *content,
				      struct gt_err *err);

#endif
