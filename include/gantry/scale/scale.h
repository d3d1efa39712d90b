/* scale/scale.h - how many replicas a function should have. Pure: time is handed in, no I/O, no
 *malloc.
 *
 *	need   = ceil((in_flight + queued) / target), within min..max
 *	wanted = the highest need of the last idle window, now included, within min..max
 *
 * Up goes at once (start while ready + starting < need), down only when need has been lower for a
 *whole idle window (stop while ready > wanted). Between the two nothing moves, so that a load that
 *comes and goes within one window never makes replicas come and go. A replica that becomes ready
 *opens a window of its own (gt_scale_hold): a start that took longer than the window is not thrown
 *away. */
#ifndef GANTRY_SCALE_SCALE_H
#define GANTRY_SCALE_SCALE_H

#include <gantry/base/base.h>

/* What is remembered of past needs: strictly falling needs with growing end times, so that the
 * first one still inside the window is the window's maximum. When more steps come than fit, two
 * neighbours are merged upwards: replicas are then kept a little longer, never stopped early. */
#define GT_SCALE_STEPS 16
struct gt_scale_window {
	uint32_t need; /* in force now */
	uint32_t n;
	struct gt_scale_step {
		uint32_t need;
		uint64_t end_ns; /* last moment at which it was needed */
	} past[GT_SCALE_STEPS];
};

struct gt_scale_in {
	uint64_t now_ns; /* monotonic; never lower than in the call before */
	uint32_t in_flight, queued;
	uint32_t target;   /* calls a replica should hold; 0 is taken as 1 */
	uint32_t min, max; /* min <= max */
	uint64_t idle_ms;
};

#define GT_SCALE_WHY_SIZE 96
struct gt_scale_out {
	uint32_t need;   /* start replicas while ready + starting is below */
	uint32_t wanted; /* stop ready ones while there are more; >= need */
	uint64_t due_ns; /* when wanted falls next if no input changes; UINT64_MAX = never */
	char why[GT_SCALE_WHY_SIZE];
};

/* w starts zeroed and is the caller's. */
void gt_scale_decide(struct gt_scale_window *w, const struct gt_scale_in *in,
		     struct gt_scale_out *ret);
/* `count` replicas are in use now and must get a whole idle window from here on: one became ready,
 * or was found running by a control that has just started and knows no history. */
void gt_scale_hold(struct gt_scale_window *w, uint32_t count, uint64_t now_ns);

#endif
