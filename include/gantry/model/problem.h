/* model/problem.h - the table of errors that clients see, and one error on its way to a client. */
#ifndef GANTRY_MODEL_PROBLEM_H
#define GANTRY_MODEL_PROBLEM_H

#include <gantry/base/err.h>

struct gt_problem_kind {
	const char *slug;
	int status;
	bool retryable;
	const char *title;
};

/* NULL when the slug is in no row. */
const struct gt_problem_kind *gt_problem_kind(const char *slug);
extern const struct gt_problem_kind gt_problem_kinds[];
extern const size_t gt_problem_kinds_n;

/* An errno-coded gt_err becomes a row: its own slug if that is in the table, else "internal". */
const struct gt_problem_kind *gt_problem_of(const struct gt_err *err);

#endif
