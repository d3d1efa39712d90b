/* record.h - what a later agent needs to find a replica. */
#ifndef GANTRY_AGENT_RECORD_H
#define GANTRY_AGENT_RECORD_H

#include <gantry/base/err.h>
#include <gantry/model/replica.h>

struct agent;
struct replica;

/* record.c: DIR/agent/replicas/<id>/ */
int gt_record_make(struct replica *r, int ret_fds[3], struct gt_err *err);
int gt_record_open(struct replica *r, int ret_fds[3], struct gt_err *err);
int gt_record_write(struct replica *r, struct gt_err *err);
void gt_record_ready(const struct replica *r); /* with its phases; no file is made for it */
/* It is parked, it is on its way there or back, or neither; as an earlier agent left it. */
void gt_record_park(const struct replica *r, enum gt_replica_state state);
enum gt_replica_state gt_record_park_state(struct replica *r); /* and its processes on the GPU */
void gt_record_remove(struct replica *r);
/* Makes a replica of each record and removes what is not one. Fails for want of descriptors or
 * memory: replicas that were not looked for are not gone. */
GT_MUST_USE int gt_records_load(struct agent *a, struct gt_err *err);
enum { RECORD_STDOUT, RECORD_STDERR, RECORD_STATUS };

#endif
