/* doctor.h - checks that try what a daemon on this machine will need. */
#ifndef GANTRY_CLI_DOCTOR_H
#define GANTRY_CLI_DOCTOR_H

#include "cli.h"
#include "find.h"

enum gt_check_state { GT_CHECK_OK, GT_CHECK_SKIP, GT_CHECK_WARN, GT_CHECK_ERROR, GT_CHECK_N };

struct gt_finding {
	enum gt_check_state state;
	char detail[300];
	char fix[300]; /* "" when there is nothing to do */
};

struct gt_doctor {
	struct gt_cli *cli;
	struct gt_target target; /* url NULL = no daemon was found */
	struct gt_err why;       /* then why */
	bool root;
	bool daemon_runs;  /* a gantryd process exists on this machine, found by its address or not
			    */
	const char *state; /* where state is or would be kept */
};

struct gt_check {
	const char *name;
	void (*run)(struct gt_doctor *d, struct gt_finding *f); /* f is zeroed: OK without a text */
};

struct gt_checks {
	const struct gt_check *rows;
	size_t n;
};
extern const struct gt_checks gt_checks_kernel, gt_checks_host, gt_checks_cgroup, gt_checks_join,
	gt_checks_daemon;

void gt_check_egress(struct gt_doctor *d, struct gt_finding *f); /* doctor_net.c */
void gt_finding_set(struct gt_finding *f, enum gt_check_state state, const char *fix,
		    const char *fmt, ...) GT_PRINTF(4, 5);
/* Runs fn in a child that ends after 5 s at the latest. Returns what fn returns (0 or a positive
 * errno below 200), or ETIMEDOUT, or ECHILD when the child crashed. */
int gt_in_child(int (*fn)(void *arg), void *arg);
/* Worst state of the findings as an exit code: 0, 1 for warnings, 2 for errors. */
int gt_doctor_exit(const struct gt_finding *findings, size_t n);

#endif
