/* model/event.h - one entry of the ordered log that GET /v1/events shows. */
#ifndef GANTRY_MODEL_EVENT_H
#define GANTRY_MODEL_EVENT_H

#include <gantry/model/msg.h>

struct gt_event {
	uint64_t id; /* grows over restarts of control: epoch << 32 | n */
	uint64_t wall_ms;
	char type[40]; /* "function.created", "replica.ready", "scale.decided", "node.joined" ... */
	char function[GT_NAME_MAX + 1]; /* "" when it is about none */
	char replica[GT_REPLICA_ID_SIZE];
	char node[GT_NAME_MAX + 1];
	char text[600];
	char cause[40]; /* slug, or "" */
};

#endif
