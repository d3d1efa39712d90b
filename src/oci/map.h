/* map.h - the two files that translate a configuration. */
#ifndef GANTRY_OCI_MAP_H
#define GANTRY_OCI_MAP_H

#include "oci.h"

/* -ENOTSUP with the JSON path. */
int oci_refuse(struct gt_err *err, const char *path, const char *fmt, ...) GT_PRINTF(3, 4);

/* foreign.c: what goes beyond a spec. */
int oci_map_foreign(const struct oci_args *args, const struct gt_oci_config *c, struct oci_plan *p,
		    struct gt_err *err);
/* mounts.c: the list of mounts as volumes and tmpfs of the spec. */
int oci_map_mounts(const struct oci_args *args, const struct oci_bundle *bundle,
		   struct gt_spec *spec, struct gt_err *err);

#endif
