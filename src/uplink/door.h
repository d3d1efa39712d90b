/* door.h - where the cluster's door is: its name and port, the addresses of that name, and sockets
 * to it. Names are asked for by a thread, one question at a time: that may take long. */
#ifndef GANTRY_UPLINK_DOOR_H
#define GANTRY_UPLINK_DOOR_H

#include <netinet/in.h>

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

struct door;

struct door_name {
	char host[256]; /* a name, or an address without brackets */
	char port[8];
};
/* "https://HOST[:PORT]", slug "bad_config". */
GT_MUST_USE int door_parse(const char *url, struct door_name *ret, struct gt_err *err);

GT_MUST_USE int door_new(struct gt_loop *loop, const char *url, struct door **ret,
			 struct gt_err *err);
void door_free(struct door *d); /* NULL is fine */

/* Called when addresses are known, or not (err). Not after door_forget. */
typedef void door_fn(const struct gt_err *err, void *arg);
struct door_wait {
	door_fn *fn;
	void *arg;
	struct door_wait *prev, *next;
};
/* True: they are known. False: wait->fn follows. */
bool door_ready(struct door *d, struct door_wait *wait);
void door_forget(struct door *d, struct door_wait *wait); /* fine when it does not wait */
/* A non-blocking socket on its way to the door, with the options of a node's connections: small
 * pieces go at once, and who is not there any more is noticed within about 3 s. */
GT_MUST_USE int door_connect(struct door *d, int *ret_fd, struct gt_err *err);
/* Nobody answered there: the next connection goes to another of its addresses. */
void door_failed(struct door *d);

#endif
