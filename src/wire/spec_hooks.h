/* spec_hooks.h - members of the specification that have more than one form. */
#ifndef GANTRY_WIRE_SPEC_HOOKS_H
#define GANTRY_WIRE_SPEC_HOOKS_H

#include "fields.h"

#define GT_CONCURRENCY_MAX 10000
#define GT_CPU_MILLI_MIN   10
#define GT_CPU_MILLI_MAX   1024000

/* 0.5 or "500m", uint32_t of 1/1000 between the row's min and max; `wanted`: "no ...; write ..." */
extern const struct gt_field_hooks gt_milli_hooks;
extern const struct gt_field_hooks gt_user_hooks;        /* "1000", "1000:1000", "web:www" */
extern const struct gt_field_hooks gt_env_hooks;         /* {"NAME": "value"} */
extern const struct gt_field_hooks gt_retry_on_hooks;    /* ["crash", "503"] */
extern const struct gt_field_hooks gt_concurrency_hooks; /* 16 or {"target": 8, "max": 16} */
extern const struct gt_field_hooks gt_park_hooks; /* an object; without a method it is auto */

#endif
