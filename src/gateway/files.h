/* files.h - files that the supervisor opens and hands over. */
#ifndef GANTRY_GATEWAY_FILES_H
#define GANTRY_GATEWAY_FILES_H

#include "gw.h"

GT_MUST_USE int gt_files_take(struct gt_gateway *gw, struct gt_err *err); /* one message */
/* Takes the first one, which is there before the start, and then all that come. */
GT_MUST_USE int gt_files_follow(struct gt_gateway *gw, struct gt_err *err);

#endif
