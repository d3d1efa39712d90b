/* model/dial.h - how the gateway asks the node's broker for a connection to a replica.
 * One SOCK_SEQPACKET packet each way, answers in the order of the questions; native byte order, as
 * both ends are processes of one binary. */
#ifndef GANTRY_MODEL_DIAL_H
#define GANTRY_MODEL_DIAL_H

#include <gantry/model/msg.h>

struct gt_dial_ask {
	char replica[GT_REPLICA_ID_SIZE]; /* NUL-terminated */
	uint8_t zero;
	uint32_t tag; /* handed back */
};

/* With error == 0 the packet carries one descriptor (SCM_RIGHTS): a non-blocking TCP socket made
 * inside the replica's network namespace, its connect() to 127.0.0.1 already issued, or one that is
 * connected to the replica's unix socket. */
struct gt_dial_answer {
	uint32_t tag;
	int32_t error; /* 0, or a positive errno: ENOENT = no such replica here */
};

#endif
