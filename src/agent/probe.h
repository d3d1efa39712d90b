/* probe.h - is a replica ready? */
#ifndef GANTRY_AGENT_PROBE_H
#define GANTRY_AGENT_PROBE_H

#include <gantry/loop/loop.h>

struct replica;

/* Asks a replica whether it is ready, again and again. One try at a time. */
struct probe {
	struct replica *r;
	struct gt_timer timer; /* next try, or the end of this one */
	struct gt_watch *watch;
	int fd;
	uint64_t began_ns;
	size_t len; /* of the answer so far */
	char answer[32];
};

void gt_probe_start(struct replica *r);
void gt_probe_stop(struct replica *r);
bool gt_probe_is_good(const char *answer); /* "HTTP/1.1 204 ..." */

#endif
