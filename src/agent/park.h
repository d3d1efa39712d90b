/* park.h - a replica between ready and parked, as its node does it. */
#ifndef GANTRY_AGENT_PARK_H
#define GANTRY_AGENT_PARK_H

#include <gantry/loop/loop.h>

#include "park_steps.h"

struct replica;
struct agent;
struct gt_gpu_op;

/* One request to the program, posted inside its network. */
struct park_http {
	struct replica *r;
	struct gt_timer timer; /* the end of it */
	struct gt_watch *watch;
	int fd;
	const char *target;
	size_t len; /* of the answer so far */
	char answer[32];
};

struct parking {
	struct park_steps steps;
	bool wanted;   /* control wants it parked */
	uint32_t turn; /* of that */
	bool busy;     /* a way is under way */
	uint64_t began_ns, bytes;
	struct gt_timer timer;
	struct park_http http;
	int32_t pids[PARK_PROCS_MAX]; /* those that use the GPU, on the host */
	uint64_t gpu_bytes;           /* that they had of it */
	struct gt_gpu_op *op;         /* the driver is being asked */
	bool raised;                  /* its memory limit, by what its GPU held */
};

/* It has become ready, or was adopted: how would it be parked? */
void gt_park_choose(struct replica *r);
void gt_park_choose_again(struct agent *a); /* its driver has changed its mind */
void gt_park_order(struct replica *r, bool park, uint32_t turn);
/* It is ready or parked: is that what is wanted? Nothing is done about it while a GPU is reset, or
 * the node's GPUs are not known yet. */
void gt_park_pursue(struct replica *r);
/* What was under way with it is over, with this. */
void gt_park_done(struct replica *r, enum park_came came);
/* It is to be stopped: so that it can end. True: by a kill alone. */
bool gt_park_stop(struct replica *r);
/* It ends, or is left to the next agent. */
void gt_park_drop(struct replica *r);
/* It was ready once, and is as another agent left it: becomes ready, or parked. */
void gt_park_adopt(struct replica *r);

/* park_http.c: gt_park_done follows. */
void gt_park_post(struct replica *r, const char *target);
void gt_park_post_stop(struct replica *r);

/* park_cuda.c: what is next of the driver's part; gt_park_done follows. */
void gt_park_ask_driver(struct replica *r);
bool gt_park_cuda_can(const struct replica *r, const char **why); /* else why not */

#endif
