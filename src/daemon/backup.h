/* daemon/backup.h - `gantryd backup` and `gantryd restore`: what must survive a machine, as a
 * directory with a list of digests. Both need root. */
#ifndef DAEMON_BACKUP_H
#define DAEMON_BACKUP_H

#include "config.h"

/* Into the new directory `to`, which is there whole or not at all. The daemon may be at work. */
GT_MUST_USE int gt_backup(const struct gt_config *c, const char *to, struct gt_err *err);
/* Checks first; then what is in the state directory of a stopped daemon is put aside, as
 * NAME.before-TIME. */
GT_MUST_USE int gt_restore(const struct gt_config *c, const char *from, struct gt_err *err);

#endif
