/* wire/leader.h - who leads, of several controls: what each control tells the roles of its own
 * daemon, in lines of a watch. Each line is all there is to know. */
#ifndef GANTRY_WIRE_LEADER_H
#define GANTRY_WIRE_LEADER_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_DOOR_SIZE 280 /* of "https://HOST:PORT" */

enum gt_leader_state {
	GT_LEADER_NONE,  /* nobody right now, or it is not known: what was told before stays */
	GT_LEADER_OTHER, /* node, on another daemon */
	GT_LEADER_SELF,
};

struct gt_leader {
	enum gt_leader_state state;
	uint64_t epoch;
	char node[GT_NAME_MAX + 1]; /* who leads */
	char door[GT_DOOR_SIZE];    /* where that one's gateway is */
	char own_door[GT_DOOR_SIZE];
	char before[GT_DOOR_SIZE]; /* GT_LEADER_SELF: that of who led before; "" = the same daemon
				    */
};

/* One line, with its newline. */
void gt_leader_write(const struct gt_leader *l, struct gt_buf *out);
/* -EINVAL: it is none. */
GT_MUST_USE int gt_leader_read(const char *text, size_t len, struct gt_leader *ret,
			       struct gt_err *err);

#endif
