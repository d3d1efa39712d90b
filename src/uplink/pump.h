/* pump.h - carries bytes between two ends, both ways, until both have said that they send no more.
 *
 * What one end does not take stops the other from being read: at most PUMP_ROOM bytes of each
 * direction are here, and none while nothing waits. An end that breaks breaks the other one, after
 * what it had sent; one that only takes no more (an early answer) may still be read. */
#ifndef GANTRY_UPLINK_PUMP_H
#define GANTRY_UPLINK_PUMP_H

#include <gantry/base/err.h>
#include <gantry/loop/loop.h>

#include "end.h"

#define PUMP_ROOM (64 * 1024)

struct pump;
/* The pump and its ends are gone when this is called. */
typedef void pump_fn(void *arg);

struct pump_config {
	struct gt_loop *loop;
	struct end *left, *right; /* taken, both; closed on failure too */
	/* What goes to an end before all else; up to PUMP_ROOM, copied. */
	const char *to_left, *to_right;
	size_t to_left_len, to_right_len;
	pump_fn *fn; /* once, never before pump_new returned; not after pump_free */
	void *arg;
};
GT_MUST_USE int pump_new(const struct pump_config *config, struct pump **ret, struct gt_err *err);
void pump_free(struct pump *p); /* breaks both ends; NULL is fine */

#endif
