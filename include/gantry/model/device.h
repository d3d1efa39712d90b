/* model/device.h - names of devices beside GPUs, as the Container Device Interface forms them:
 * "vendor.com/class=name". Pure. */
#ifndef GANTRY_MODEL_DEVICE_H
#define GANTRY_MODEL_DEVICE_H

#include <gantry/base/err.h>

#define GT_DEVICE_NAME_MAX 255 /* bytes */

bool gt_device_kind_ok(const char *kind); /* "vendor.com/class" */
bool gt_device_part_ok(const char *name); /* "name" */
/* Cuts at the '='; *device points into name. -EINVAL when it is no such name. */
GT_MUST_USE int gt_device_name_split(const char *name, char kind[GT_DEVICE_NAME_MAX + 1],
				     const char **device, struct gt_err *err);
/* Is name one of the ','-separated list, which may have "vendor.com/class=*" for all of a class? */
bool gt_device_name_allowed(const char *list, const char *name);

#endif
