/* lease.h - what the node does while control is away: stopping (lease.c), starting again (again.c).
 */
#ifndef GANTRY_AGENT_LEASE_H
#define GANTRY_AGENT_LEASE_H

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

struct agent;
struct replica;

/* How long the node has been without control: lease.c. */
struct lease {
	uint64_t heard_ns;     /* when the last report was sent that control acknowledged */
	char boot[40];         /* of the machine's start that it is about */
	struct gt_timer timer; /* set while a replica may have to stop */
	int fd;
};

/* again.c */
bool gt_again_may(const struct replica *r); /* asked before its state changes */
void gt_again_wait(struct replica *r);      /* it has failed: starts anew if control stays away */

/* lease.c */
GT_MUST_USE int gt_lease_open(struct agent *a, const char *dir, struct gt_err *err);
void gt_lease_close(struct agent *a);
void gt_lease_heard(struct agent *a, uint64_t sent_ns); /* of an acknowledged report */
void gt_lease_watch(struct agent *a);                   /* replicas have come, or gone */

#endif
