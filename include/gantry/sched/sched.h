/* sched/sched.h - which node gets a replica. Pure: no I/O, no clock, no malloc. */
#ifndef GANTRY_SCHED_SCHED_H
#define GANTRY_SCHED_SCHED_H

#include <gantry/base/err.h>

/* What a function states of memory and cpu are limits, and most replicas stay far below them. So a
 * node takes limits up to this many times its size; a node of unknown size (0) is never full. */
#define GT_SCHED_MEMORY_OVERCOMMIT 4
#define GT_SCHED_CPU_OVERCOMMIT    16

enum gt_sched_policy {
	GT_SCHED_SPREAD, /* emptiest node first: a lost node takes few replicas along */
	GT_SCHED_PACK,   /* fullest node first: whole nodes stay free for large replicas */
};

struct gt_sched_node {
	const char *name;
	bool up;
	uint64_t cpu_milli, memory_bytes;             /* size; 0 = unknown */
	uint64_t cpu_taken_milli, memory_taken_bytes; /* sum of its replicas' limits */
	uint32_t replicas;
	uint32_t same_function; /* of those, how many of the function to be placed */
};

struct gt_sched_want {
	uint64_t cpu_milli, memory_bytes; /* limits of the replica; 0 = none stated */
	enum gt_sched_policy policy;
};

/* *ret = index of the best node. -ENOSPC (slug no_capacity) when none fits: err names the limit
 * that stands in the way on the node that comes closest. Equal nodes: the first one. */
GT_MUST_USE int gt_sched_place(const struct gt_sched_node *nodes, size_t n,
			       const struct gt_sched_want *want, size_t *ret, struct gt_err *err);

#endif
