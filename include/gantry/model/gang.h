/* model/gang.h - several containers that start, serve and end as one. One replica of a function
 * with `gang` is a gang: `size` members, each a replica of its own to the node that runs it. The
 * member of rank 0 answers calls, the others work for it.
 *
 * A gang has an id for its life and an epoch, from 1: when a member fails, all of the epoch are
 * killed, and the gang starts again whole as the next epoch. */
#ifndef GANTRY_MODEL_GANG_H
#define GANTRY_MODEL_GANG_H

#include <gantry/base/clock.h>
#include <gantry/model/limits.h>

enum gt_gang_spread {                /* where members may be */
		      GT_GANG_AUTO,  /* node with network egress, nodes with host */
		      GT_GANG_NODE,  /* all on one node */
		      GT_GANG_NODES, /* each on a node of its own */
		      GT_GANG_ANY,   /* anywhere, several on a node too */
		      GT_GANG_SPREADS
};

/* What a function asks for (gang). */
struct gt_gang_want {
	uint32_t size; /* members; 0 = no gang */
	enum gt_gang_spread spread;
	uint32_t restarts;    /* epochs in a row that may follow a failed one */
	uint32_t progress_ms; /* a member that says nothing for so long is stuck; 0 = never */
	bool preflight;       /* its GPUs are checked before it runs */
};

/* Which part of which gang a replica is. */
struct gt_gang_member {
	char id[GT_ULID_LEN + 1];   /* of the gang */
	uint32_t epoch, rank, size; /* size 0: of no gang */
	uint16_t port;              /* MASTER_PORT */
};

/* Is this one that a gang can have? Of none: true. */
static inline bool gt_gang_member_ok(const struct gt_gang_member *m)
{
	return m->size == 0 || (m->size <= GT_GANG_MAX && m->rank < m->size && m->epoch > 0 &&
				m->id[0] && m->port > 0);
}

#endif
