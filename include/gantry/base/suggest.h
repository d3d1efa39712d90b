/* base/suggest.h - "did you mean": the candidate nearest to a mistyped word. */
#ifndef GANTRY_BASE_SUGGEST_H
#define GANTRY_BASE_SUGGEST_H

#include <gantry/base/base.h>

/* The candidate with the least edit distance (insert, delete, replace, swap of neighbours) when it
 * is at most 2 and less than half of the word's length; NULL when none is near enough. */
const char *gt_suggest(const char *word, const char *const *candidates, size_t n);

#endif
