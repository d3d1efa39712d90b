/* scale/record.h - a run of the autoscaler as a CSV table: each input with what was decided from
 * it, in order, from states that are all new. Replaying the inputs must give the same decisions. */
#ifndef GANTRY_SCALE_RECORD_H
#define GANTRY_SCALE_RECORD_H

#include <gantry/base/buf.h>
#include <gantry/scale/scale.h>

enum gt_scale_column_type {
	GT_SCALE_COLUMN_U32,
	GT_SCALE_COLUMN_U64,
	GT_SCALE_COLUMN_BOOL,   /* 0, 1 */
	GT_SCALE_COLUMN_DOUBLE, /* 17 digits: exact */
	GT_SCALE_COLUMN_POLICY,
	GT_SCALE_COLUMN_RULE,
};

/* The columns after `function` and `event`; those of the output follow those of the input. */
struct gt_scale_column {
	const char *name;
	enum gt_scale_column_type type;
	bool out; /* a member of struct gt_scale_out, else of struct gt_scale_in */
	size_t offset;
};
extern const struct gt_scale_column gt_scale_columns[];
extern const size_t gt_scale_columns_n;

/* The events: a decision; and the end of a function, whose state is forgotten. */
#define GT_SCALE_EVENT_DECIDE "decide"
#define GT_SCALE_EVENT_GONE   "gone"
/* First row, of no function: states are not new, but what control had learned before. */
#define GT_SCALE_EVENT_LEARNED "learned"
#define GT_SCALE_RECORD_NOBODY "*"

void gt_scale_record_heading(struct gt_buf *out);
/* in and out NULL: the function is gone. Function names need no quotes. */
void gt_scale_record_row(struct gt_buf *out, const char *function, const struct gt_scale_in *in,
			 const struct gt_scale_out *decided);

void gt_scale_record_learned(struct gt_buf *out); /* the first row */

#endif
