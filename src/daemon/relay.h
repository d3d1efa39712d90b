/* daemon/relay.h - connections that are carried on to another socket, byte by byte: those of a
 * control that follows to the one that leads. Loop thread only. */
#ifndef DAEMON_RELAY_H
#define DAEMON_RELAY_H

#include <gantry/base/cleanup.h>
#include <gantry/loop/loop.h>

#define GT_RELAY_PATH 108 /* of a unix socket; '@' first: an abstract one */

struct gt_relay;

struct gt_relay_config {
	struct gt_loop *loop;
	int listen_fd;  /* borrowed */
	bool own_users; /* let in no peer but this process's user and root */
	/* Where a connection goes that has just come: true, and the path. False: nowhere, and `why`
	 * is what its client is told with 503 (an HTTP/1.1 client, after its first bytes). */
	bool (*where)(void *arg, char path[GT_RELAY_PATH], struct gt_err *why);
	void *arg;
};

GT_MUST_USE int gt_relay_new(const struct gt_relay_config *config, struct gt_relay **ret,
			     struct gt_err *err);
void gt_relay_free(struct gt_relay *r); /* ends its connections; NULL is fine */

#endif
