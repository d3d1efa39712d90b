/* daemon/check.h - what of a state directory would keep a daemon from starting. */
#ifndef GANTRY_DAEMON_CHECK_H
#define GANTRY_DAEMON_CHECK_H

#include "config.h"

/* Is its database one that this program may use? Of PostgreSQL standard output is told what is
 * there, within 4 s; when that has no answer by then, the process ends. It is control's user
 * afterwards, and may be in the state directory. Who is not root may not look, and there may be
 * none yet: then it is. */
GT_MUST_USE int gt_check_state(const struct gt_config *c, struct gt_err *err);

#endif
