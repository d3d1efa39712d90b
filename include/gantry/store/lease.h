/* store/lease.h - who leads, of several controls with one PostgreSQL: a row with an epoch and a
 * time by the database's clock. Who leads renews it; who does not waits for its end, or for that of
 * the leader's connection, which comes first when a leader is killed.
 *
 * The row gives the right to begin; what keeps one that was replaced from writing is the fence of
 * each transaction (store.h), and agents refuse lower epochs. A thread of its own; all calls from
 * any thread. */
#ifndef GANTRY_STORE_LEASE_H
#define GANTRY_STORE_LEASE_H

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

struct gt_lease;

#define GT_LEASE_TEXT 256

enum gt_lease_state {
	GT_LEASE_STARTS,  /* not known yet */
	GT_LEASE_WAITS,   /* nobody that could be asked leads, or PostgreSQL is not there */
	GT_LEASE_FOLLOWS, /* another one leads */
	GT_LEASE_LEADS,
	GT_LEASE_OVER, /* it did: this process may not go on */
};

struct gt_lease_config {
	const char *url;
	const char *holder; /* for people: the node's name */
	const char *place;  /* names this process alone */
	const char *door;   /* where others reach its daemon while it leads */
	/* A digest of what lets users in at its daemon, which is the same for all; NULL: not known
	 */
	const char *token_print;
	/* By the database's clock, from the last renewal, every 0.3 of it. A leader that could not
	 * renew it for 0.7 of it, by its own clock, stops. */
	uint64_t lease_ms;
	void (*notify)(void *arg); /* lease's thread: the state is another one */
	void *notify_arg;
};

struct gt_lease_view {
	enum gt_lease_state state;
	uint64_t epoch;                                                        /* of who leads */
	char holder[GT_LEASE_TEXT], place[GT_LEASE_TEXT], door[GT_LEASE_TEXT]; /* of who leads */
	bool other_token;           /* FOLLOWS: token_print of who leads is another one */
	char before[GT_LEASE_TEXT]; /* LEADS: the door of who led before; "" = the same holder */
	struct gt_err why;          /* WAITS, OVER */
};

/* Connects to nothing yet: the first state is told by notify. */
GT_MUST_USE int gt_lease_new(const struct gt_lease_config *config, struct gt_lease **ret,
			     struct gt_err *err);
void gt_lease_view(struct gt_lease *l, struct gt_lease_view *ret);
/* Key and certificate of the cluster's authority, as PEM, also of one who follows; the buffers are
 * added to: wipe the key. -EAGAIN: it was not seen yet. */
GT_MUST_USE int gt_lease_authority(struct gt_lease *l, struct gt_buf *key, struct gt_buf *cert,
				   struct gt_err *err);
/* Hands the lease back, when it has it, so that another one follows at once. May take half a
 * second. NULL is fine. */
void gt_lease_free(struct gt_lease *l);

GT_CLEANUP_TYPE(lease, struct gt_lease *, gt_lease_free)

#endif
