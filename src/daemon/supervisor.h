/* daemon/supervisor.h - starts the roles of a kind of daemon, restarts what dies, forwards
 * signals.
 *
 * TERM: what has calls drains, then the others end, replicas go on and are adopted by the next
 * start. INT (Ctrl-C): the same, and replicas are stopped too. A second one of either ends the
 * drain. HUP: reads the configuration and the token again; when they changed, each role is replaced
 * without a refused call. USR2: becomes what is now at the program's path, if that says that it
 * would start, and replaces each role. */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include "config.h"

struct gt_kind;

/* `flags` holds what the command line set over the file, applied again at each reload. */
typedef int gt_config_load_fn(struct gt_config *c, void *arg, struct gt_err *err);

/* argv: of the process, for the next program. */
GT_MUST_USE int gt_supervise(const struct gt_kind *kind, gt_config_load_fn *load, void *arg,
			     char **argv, struct gt_err *err);

#endif
