/* problem.c - the lookup over problem.tbl. */
#include <gantry/model/problem.h>

#include <string.h>

#define GT_PROBLEM(slug, status, retryable, title) { #slug, status, retryable, title },
const struct gt_problem_kind gt_problem_kinds[] = {
#include <gantry/model/problem.tbl>
};
#undef GT_PROBLEM
const size_t gt_problem_kinds_n = GT_LEN(gt_problem_kinds);

const struct gt_problem_kind *gt_problem_kind(const char *slug)
{
	for (size_t i = 0; slug && i < GT_LEN(gt_problem_kinds); i++)
		if (strcmp(slug, gt_problem_kinds[i].slug) == 0)
			return &gt_problem_kinds[i];
	return NULL;
}

const struct gt_problem_kind *gt_problem_of(const struct gt_err *err)
{
	const struct gt_problem_kind *kind = gt_problem_kind(err ? err->slug : NULL);

	return kind ? kind : gt_problem_kind("internal");
}
