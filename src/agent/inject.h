/* inject.h - what containers get beside their images. */
#ifndef GANTRY_AGENT_INJECT_H
#define GANTRY_AGENT_INJECT_H

#include "agent_impl.h"

/* replica_inject.c */
/* What the container gets beside its image, by its GPUs and resources.devices; NULL: nothing. The
 * specification has the variables afterwards. *ret is the caller's. Slug device_unavailable. */
int gt_replica_inject(struct replica *r, struct gt_inject **ret, struct gt_err *err);

/* cdi.c */
/* Adds what the named device needs. Slug device_unavailable. */
int gt_cdi_inject(const struct agent *a, const char *name, struct gt_inject *ret,
		  struct gt_err *err);

#endif
