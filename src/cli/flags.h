/* flags.h - a command line, read by tables: flags anywhere, "--" ends them. getopt is not used
 * because it can not tell words before "--" from those after it, nor suggest a near name. */
#ifndef GANTRY_CLI_FLAGS_H
#define GANTRY_CLI_FLAGS_H

#include <gantry/base/err.h>

#define GT_FLAGS_MAX 256 /* given on one command line */

struct gt_flag {
	const char *name;  /* without the dashes */
	char letter;       /* 0 = none */
	const char *value; /* what help shows for its value; NULL = a switch */
	const char *help;
	bool many; /* may be given more than once */
};

struct gt_flag_table {
	const struct gt_flag *flags;
	size_t n;
};

struct gt_args {
	char **operands; /* in argv, which is reordered: operands first */
	size_t n_operands;
	char **rest; /* after "--"; NULL when there was none */
	size_t n_rest;
	struct {
		const struct gt_flag *flag;
		const char *value; /* "" for a switch */
	} given[GT_FLAGS_MAX];
	size_t n_given;
};

/* Reads argv[0..argc) (without the program's name). tables: all that are valid here. With
 * `leading`, stops at the first operand and leaves it and what follows as operands.
 * -EINVAL, slug "usage", with the fix in the text. Strings stay argv's. */
GT_MUST_USE int gt_args_read(int argc, char **argv, const struct gt_flag_table *tables,
			     size_t n_tables, bool leading, struct gt_args *ret,
			     struct gt_err *err);
/* The value of the i-th time the flag was given; NULL when it was not given so often. */
const char *gt_args_nth(const struct gt_args *a, const char *name, size_t i);
const char *gt_args_get(const struct gt_args *a, const char *name);
bool gt_args_has(const struct gt_args *a, const char *name);

#endif
