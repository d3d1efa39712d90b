/* model/replica.h - the life of a replica, as one table.
 *
 *	pending -> pulling -> starting -> ready -> draining -> stopped
 *	     \________\__________\__________\_________\------> failed
 *
 * A replica changes state only through gt_replica_state_move; an illegal move is a bug and aborts.
 */
#ifndef GANTRY_MODEL_REPLICA_H
#define GANTRY_MODEL_REPLICA_H

#include <gantry/base/base.h>
#include <gantry/base/clock.h>

enum gt_replica_state {
	GT_REPLICA_PENDING,  /* wanted; its node has not answered yet */
	GT_REPLICA_PULLING,  /* the node prepares the image */
	GT_REPLICA_STARTING, /* the process is being started or is not ready yet */
	GT_REPLICA_READY,
	GT_REPLICA_DRAINING, /* takes no new call */
	GT_REPLICA_STOPPED,
	GT_REPLICA_FAILED,
	GT_REPLICA_N
};

const char *gt_replica_state_name(enum gt_replica_state s); /* "pending" */
/* Returns 0 or -EINVAL for a name that is none. */
int gt_replica_state_parse(const char *name, enum gt_replica_state *ret);
bool gt_replica_state_may(enum gt_replica_state from, enum gt_replica_state to);
/* The one door: *state = to. Aborts on an illegal move; moving to the same state is legal. */
void gt_replica_state_move(enum gt_replica_state *state, enum gt_replica_state to);
static inline bool gt_replica_state_ended(enum gt_replica_state s)
{
	return s == GT_REPLICA_STOPPED || s == GT_REPLICA_FAILED;
}

/* Where the time of a start went, measured by the agent. 0 = not reached. All in microseconds. */
struct gt_phases {
	uint64_t image_us;   /* order received -> the image is on the node */
	uint64_t sandbox_us; /* -> a sandbox is at hand */
	uint64_t root_us;    /* -> root file system and mounts are in place */
	uint64_t exec_us;    /* -> the program runs */
	uint64_t ready_us;   /* -> it answers */
	uint64_t weights_us; /* after image_us: it waited for a fill of the node's weight store */
};

#endif
