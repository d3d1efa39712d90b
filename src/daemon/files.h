/* daemon/files.h - files that the configuration names and the gateway uses: opened here, as root.
 */
#ifndef DAEMON_FILES_H
#define DAEMON_FILES_H

#include <gantry/gateway/gateway.h>

#include "config.h"

/* What of [gateway] does not fit together. */
GT_MUST_USE int gt_config_check_gateway(const struct gt_config *c, struct gt_err *err);
/* fds[]: one each, -1 where none is configured. Nothing stays open on failure. */
GT_MUST_USE int gt_config_files_open(const struct gt_config *c, int fds[GT_GATEWAY_FILES],
				     struct gt_err *err);
void gt_config_files_close(int fds[GT_GATEWAY_FILES]);

#endif
