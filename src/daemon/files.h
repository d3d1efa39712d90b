/* daemon/files.h - files that the configuration names and the gateway uses: opened here, as root.
 */
#ifndef DAEMON_FILES_H
#define DAEMON_FILES_H

#include <gantry/gateway/gateway.h>

#include "config.h"

/* fds[]: one each, -1 where none is configured. Nothing stays open on failure. */
GT_MUST_USE int gt_config_files_open(const struct gt_config *c, int fds[GT_GATEWAY_FILES],
				     struct gt_err *err);
void gt_config_files_close(int fds[GT_GATEWAY_FILES]);

#endif
