/* driver_files.h - the driver's libraries and programs below its root. */
#ifndef GPU_DRIVER_FILES_H
#define GPU_DRIVER_FILES_H

#include <gantry/gpu/inject.h>

/* Adds what the capabilities need of exactly this version. */
int gt_driver_files(const struct gt_driver_roots *roots, const char *version, unsigned capabilities,
		    struct gt_inject *ret, struct gt_err *err);

#endif
