/* replica_gang.h - members of a gang on this node; a part of agent_impl.h. */
#ifndef GANTRY_AGENT_REPLICA_GANG_H
#define GANTRY_AGENT_REPLICA_GANG_H

#include <gantry/model/msg.h>
#include <gantry/runtime/runtime.h>

struct agent;
struct replica;

void gt_replica_gang_set(struct replica *r, const struct gt_order *o);
int gt_replica_gang_check(const struct replica *r, struct gt_err *err); /* -EINVAL */
/* Its members wait for each other here, before anything of the image runs. */
bool gt_replica_gang_holds(const struct replica *r);
/* Ends a member that has made no progress for as long as its function allows. */
void gt_replica_gang_look(struct replica *r);
int gt_replica_gang_held(struct replica *r, struct gt_err *err); /* it has its sandbox */
/* Its GPUs were: all its members that waited, or with network host this one, go on; failed, a text,
 * ends them. Fine when they have ended meanwhile. */
void gt_replica_gang_checked(struct agent *a, const struct gt_gang_member *gang,
			     const char *replica, const char *failed);
void gt_replica_gang_over(struct replica *r); /* it has ended */
void gt_replica_gang_adopt(struct replica *r);
/* The strings are the caller's to free. */
size_t gt_replica_gang_env(const struct replica *r, char (*addresses)[GT_ADDRESS_MAX + 1],
			   char *ret[GT_CONTAINER_ENV_MAX]);

#endif
