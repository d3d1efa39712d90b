/* journal.h - the decisions that were taken lately. */
#ifndef GANTRY_CONTROL_JOURNAL_H
#define GANTRY_CONTROL_JOURNAL_H

#include <gantry/control/decision.h>

struct gt_ctl_live;
struct gt_ctl_replica;
struct gt_sched_look;

/* The last decision that the journal keeps of a function. */
struct gt_ctl_noted {
	uint32_t need, wanted;
	uint8_t need_rule, wanted_rule;
};

void gt_ctl_journal_scale(struct gt_control *c, struct gt_ctl_live *live,
			  const struct gt_scale_in *in);
/* r NULL: nowhere. look: how nodes stood before. why is copied. */
void gt_ctl_journal_place(struct gt_control *c, struct gt_ctl_live *live,
			  const struct gt_ctl_replica *r, const struct gt_sched_look *look,
			  const char *why);
/* r is parked (in state PARKING), or comes back. by: the function that gets its place, or "". */
void gt_ctl_journal_park(struct gt_control *c, const struct gt_ctl_replica *r, const char *why,
			 const char *by);
/* r leaves so that calls of the function `by` get its place. */
void gt_ctl_journal_evict(struct gt_control *c, const struct gt_ctl_replica *r, const char *by,
			  double worth, size_t among);

#endif
