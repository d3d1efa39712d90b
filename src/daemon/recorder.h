/* recorder.h - the autoscaler's run in a file, for `gantry simulate replay`.
 *
 * control/decisions.csv in the state directory, begun anew at every start of control; the one
 * before is kept as decisions.1.csv. It ends, and says so in the log, at its size or when the disk
 * is full: control goes on, and what is recorded up to there can be replayed. On control's thread.
 */
#ifndef DAEMON_RECORDER_H
#define DAEMON_RECORDER_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/scale/scale.h>

#define GT_RECORDER_PATH "control/decisions.csv"

struct gt_loop;
struct gt_recorder;

GT_MUST_USE int gt_recorder_open(struct gt_loop *loop, uint64_t max_bytes, struct gt_recorder **ret,
				 struct gt_err *err);
/* Before the first decision: states are not new but these, which go into decisions.learned beside
 * the record (and decisions.1.learned with the one before). */
void gt_recorder_learned(struct gt_recorder *r, const struct gt_buf *state);
void gt_recorder_close(struct gt_recorder *r); /* NULL is fine */
/* in and out NULL: the function is gone. Written within a second. */
void gt_recorder_scale(struct gt_recorder *r, const char *function, const struct gt_scale_in *in,
		       const struct gt_scale_out *out);

#endif
