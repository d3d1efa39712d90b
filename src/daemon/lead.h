/* daemon/lead.h - control's place among several with one PostgreSQL: it follows, and carries the
 * connections of its host's gateway, agent and clients to the one that leads, until it leads
 * itself; after that there is no way back but the end of the process. Loop thread only. */
#ifndef DAEMON_LEAD_H
#define DAEMON_LEAD_H

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

struct gt_lead;

struct gt_lead_config {
	struct gt_loop *loop;
	const char *url, *node, *door; /* of the store; for people; where others find it: copied */
	uint64_t lease_ms;
	int link_fd, api_fd;      /* listening; borrowed, and not touched once it leads */
	void (*ready)(void *arg); /* it is known who leads; may be called twice */
	void (*begin)(void *arg, uint64_t epoch);          /* it leads, once */
	void (*over)(void *arg, const struct gt_err *why); /* it may not go on */
	void *arg;
};

GT_MUST_USE int gt_lead_new(const struct gt_lead_config *config, struct gt_lead **ret,
			    struct gt_err *err);
/* Hands the lease back, so that another one follows at once: close the store before. NULL is fine.
 */
void gt_lead_free(struct gt_lead *l);

#endif
