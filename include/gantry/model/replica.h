/* model/replica.h - the life of a replica, as one table.
 *
 *	pending -> pulling -> starting -> ready -> draining -> stopped
 *	     \________\__________\__________\_________\------> failed
 *
 *	ready -> parking -> parked -> unparking -> ready: without a call it gave its GPU back and
 *	stays in the host's memory; from each of them it may be stopped, or fail
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
	GT_REPLICA_PARKING,   /* takes no new call; when the last one has ended its node parks it */
	GT_REPLICA_PARKED,    /* stands still: it has no route, no GPU, and uses no processor */
	GT_REPLICA_UNPARKING, /* will be ready in a moment */
	GT_REPLICA_DRAINING,  /* takes no new call */
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

/* How an idle replica is kept. What a function asks for, and (never AUTO) what its node made of it.
 */
enum gt_park_method {
	GT_PARK_STOP,   /* not at all: it is stopped, and started anew */
	GT_PARK_AUTO,   /* the best that its node can do for it */
	GT_PARK_FREEZE, /* its processes stand still: for those without a GPU */
	GT_PARK_HTTP,   /* the program puts itself to sleep, when it is asked to */
	GT_PARK_CUDA,   /* the driver moves the GPU's memory to the host's; then they stand still */
	GT_PARK_N
};
const char *gt_park_method_name(enum gt_park_method m); /* "freeze" */

#define GT_PARK_WHY_SIZE 120
/* What a node tells of parking one replica. */
struct gt_park {
	enum gt_park_method method;  /* that it will use; STOP: it can not be parked */
	char why[GT_PARK_WHY_SIZE];  /* it chose that, or could not park it the last time */
	uint64_t bytes;              /* of the node's memory for parked ones; 0 = it has none */
	uint64_t park_us, unpark_us; /* how long it took the last time; 0 = never yet */
	uint32_t parks, unparks, refused; /* how often; refused: it stayed ready */
};

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
