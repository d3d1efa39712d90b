/* base/log.h - one line an event on standard error: JSON, or `key=value` text on a terminal.
 * Fields: ts level role msg. Library rooms log at debug only; roles and edges log above it. */
#ifndef GANTRY_BASE_LOG_H
#define GANTRY_BASE_LOG_H

#include <gantry/base/base.h>

enum gt_level { GT_DEBUG, GT_INFO, GT_WARN, GT_ERROR };

/* role is borrowed for the process's life ("control"); call once, before other threads start. */
void gt_log_init(const char *role, enum gt_level least);
int gt_log_level_parse(const char *s, enum gt_level *ret); /* debug info warn error */
void gt_log(enum gt_level level, const char *fmt, ...) GT_PRINTF(2, 3);

#define gt_debug(...) gt_log(GT_DEBUG, __VA_ARGS__)
#define gt_info(...)  gt_log(GT_INFO, __VA_ARGS__)
#define gt_warn(...)  gt_log(GT_WARN, __VA_ARGS__)
#define gt_error(...) gt_log(GT_ERROR, __VA_ARGS__)

#endif
