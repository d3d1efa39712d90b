/* store/ballast.h - room that is kept for bad times: a file on the state disk that is given up when
 * the disk is full, so that what was promised can still be written down; made again when there is
 * room. While it is missing nothing new is accepted. Any thread. */
#ifndef GANTRY_SRC_STORE_BALLAST_H
#define GANTRY_SRC_STORE_BALLAST_H

#include <pthread.h>

#include <gantry/base/clock.h>

struct gt_ballast {
	const char *path; /* borrowed; NULL = there is none, and none is missed */
	pthread_mutex_t lock;
	bool there;
	uint64_t tried_ns; /* to make it, in vain */
};

void gt_ballast_open(struct gt_ballast *b, const char *path);
void gt_ballast_close(struct gt_ballast *b); /* the file stays */
/* Is there room for what is new? Makes it, at most once a second, when it is missing. */
bool gt_ballast_ready(struct gt_ballast *b);
/* True when that made room: try again. */
bool gt_ballast_drop(struct gt_ballast *b);

#endif
