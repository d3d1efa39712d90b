/* run.h - runs a command line in this process and keeps what it prints. */
#ifndef GANTRY_TESTS_CLI_RUN_H
#define GANTRY_TESTS_CLI_RUN_H

#include <gantry/base/cleanup.h>

struct run {
	int code;
	char *out, *err;
};

/* line: words between blanks; a word in '...' keeps its blanks. */
struct run run_cli(const char *line);
void run_fini(struct run *r);
/* A text file below the working directory (the repository). The caller frees. */
char *read_text(const char *path);

static inline void gt_cleanup_run(struct run *r)
{
	run_fini(r);
}

#endif
