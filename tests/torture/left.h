/* left.h - what a run left behind. Each call adds lines to a text that the caller frees. */
#ifndef TESTS_TORTURE_LEFT_H
#define TESTS_TORTURE_LEFT_H

#include <gantry/base/buf.h>
#include <sys/types.h>

void left_fds(struct gt_buf *out);                     /* what is open here */
void left_files(const char *dir, struct gt_buf *out);  /* names, types and sizes below it */
void left_groups(const char *dir, struct gt_buf *out); /* of a runtime in that directory */
void left_mounts(const char *dir, struct gt_buf *out);
/* Descendants that live; ended ones are reaped. The caller is a subreaper. */
void left_processes(struct gt_buf *out);
void left_kill(void); /* all of those */
/* The lines of b that are not in a. */
void left_more(const struct gt_buf *a, const struct gt_buf *b, const char *what,
	       struct gt_buf *out);

#endif
