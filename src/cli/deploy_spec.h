/* deploy_spec.h - a function specification out of a file and flags. */
#ifndef GANTRY_CLI_DEPLOY_SPEC_H
#define GANTRY_CLI_DEPLOY_SPEC_H

#include <gantry/base/buf.h>

#include "flags.h"

/* All flags of `deploy`. */
#define GT_DEPLOY_FLAGS_N 29
extern const struct gt_flag gt_deploy_flags[GT_DEPLOY_FLAGS_N];

/* What the flags and the words after "--" say, as a document: {} when they say nothing. Relative
 * host paths become absolute. -EINVAL with slug "usage" names the flag. The daemon checks values.
 */
GT_MUST_USE int gt_spec_of_args(const struct gt_args *args, struct gt_buf *out, struct gt_err *err);
/* Puts the flags' document over the file's; lists are replaced, objects merged. Without flags the
 * file is taken byte by byte, so that the daemon's complaints fit it. */
GT_MUST_USE int gt_spec_over(const struct gt_buf *file, const struct gt_buf *flags,
			     struct gt_buf *out, struct gt_err *err);

/* Sorts out NAME and FILE: a FILE has a '/', a '.' or is "-". file may be NULL (flags only); name
 * is the file's base name up to the first '.', when none is given. The caller frees *name. */
GT_MUST_USE int gt_deploy_names(const struct gt_args *args, char **name, const char **file,
				struct gt_err *err);

#endif
