/* daemon/lead.h - control's place among several with one PostgreSQL: it follows until it leads;
 * after that there is no way back but the end of the process. The roles of its daemon are told
 * which of both by run/lead.sock, all the time, and get certificates there, so that they can prove
 * to the daemon that leads who they are:
 *
 *	GET  /link/v1/leader	watch: lines of wire/leader.h
 *	POST /link/v1/gateways/{gateway}/certificate
 *
 * Loop thread only. */
#ifndef DAEMON_LEAD_H
#define DAEMON_LEAD_H

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

struct gt_lead;

struct gt_lead_config {
	struct gt_loop *loop;
	const char *url, *node;   /* of the store; this one's name */
	const char *door;         /* where others find this daemon: "https://HOST:PORT" */
	const char *token_sha256; /* of the admin token; all daemons of the store have the same */
	uint64_t lease_ms;
	int lead_fd;                              /* listening; borrowed */
	void (*ready)(void *arg);                 /* it is known who leads; may be called twice */
	void (*begin)(void *arg, uint64_t epoch); /* it leads, once */
	void (*over)(void *arg, const struct gt_err *why); /* it may not go on */
	void *arg;
};

GT_MUST_USE int gt_lead_new(const struct gt_lead_config *config, struct gt_lead **ret,
			    struct gt_err *err);
/* Hands the lease back, so that another one follows at once: close the store before. NULL is fine.
 */
void gt_lead_free(struct gt_lead *l);

#endif
