/* control/learned.h - what the autoscaler has learned outlives control: an owner of a file writes
 * it now and then, and gives it back at the next start. Losing it costs time, never correctness. */
#ifndef GANTRY_CONTROL_LEARNED_H
#define GANTRY_CONTROL_LEARNED_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct gt_control;

/* final: control takes no decision after this. Bounded (scale/learned.h); what is over it is left
 * out, the functions that came last. Not in it: the shadow's states, and those of Knative's rule.
 */
void gt_control_learned_save(const struct gt_control *c, bool final, struct gt_buf *out);
/* After every gt_control_load, before the first input. -EINVAL (slug invalid_state): nothing was
 * taken. Of a final one, replicas that are found running without calls keep their holds and
 * windows; after any other nobody knows what happened since, and they are kept for whole ones. */
GT_MUST_USE int gt_control_learned_load(struct gt_control *c, const void *data, size_t len,
					struct gt_err *err);

#endif
