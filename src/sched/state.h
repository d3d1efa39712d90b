/* state.h - what is free on a node, whole and at a glance. */
#ifndef GANTRY_SCHED_STATE_H
#define GANTRY_SCHED_STATE_H

#include <gantry/sched/sched.h>

#define NO_FILL   255 /* of a cap: the node has GPUs */
#define KINDS_ALL 64  /* of a fleet */

struct cap {
	uint32_t cpu; /* thousandths left; UINT32_MAX = no limit known */
	uint8_t n, n_kinds;
	uint8_t fill; /* of a node without GPUs, in percent of cpu and memory; else NO_FILL */
	uint8_t unused;
	uint8_t kinds[GT_SCHED_KINDS_MAX];
	uint32_t gpus[GT_SCHED_GPUS_MAX]; /* codes of those with something left, rising */
};

/* What is known of a node since its last change. */
struct state {
	int64_t frag;    /* F */
	uint64_t memory; /* left; ROOM_ANY = no limit known */
	struct cap cap;
};

/* Of a state, what tells in most cases that a want does not fit: those of a whole fleet are small
 * enough for the cache. */
struct glance {
	uint32_t cpu;   /* of its cap */
	uint16_t milli; /* the most that is left of a GPU */
	uint8_t whole;  /* GPUs that nobody has a part of */
	uint8_t kind;   /* of all its GPUs, or one of these: */
};
#define GLANCE_NONE    KINDS_ALL       /* it has no GPU with something left */
#define GLANCE_MANY    (KINDS_ALL + 1) /* of several kinds */
#define GLANCE_KINDS   (KINDS_ALL + 2)
#define GLANCE_CLOSED  128       /* with it: not every want may go there, by label or owner */
#define GLANCE_UNKNOWN UINT8_MAX /* the node has changed since */

#endif
