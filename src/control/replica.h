/* replica.h - a replica as control knows it, from its order to its end. */
#ifndef GANTRY_CONTROL_REPLICA_H
#define GANTRY_CONTROL_REPLICA_H

#include "node.h"

struct gt_ctl_function;
struct gt_ctl_gang; /* gang.h */

struct gt_ctl_replica {
	char id[GT_REPLICA_ID_SIZE];
	char function[GT_NAME_MAX + 1];
	uint32_t revision;
	struct gt_ctl_function *f;   /* NULL: a stray, its function is deleted or unknown */
	struct gt_ctl_revision *rev; /* NULL for a stray that was found */
	struct gt_ctl_node *node;
	enum gt_replica_state state;
	bool stop_ordered, adopted, seen; /* seen: its node has reported it */
	bool answers;                     /* its node has said so; it may wait for its gang */
	bool park_ordered;                /* else it is to run */
	bool original;     /* its node is back with it, after it was given to another */
	bool off_gpu;      /* it is parked: what it had of GPUs is not booked */
	uint32_t turn;     /* of its last order to park or to run */
	uint32_t room_for; /* number of the function that its place was promised to; 0 = none */
	struct gt_gang_member member;
	struct gt_ctl_gang *gang; /* NULL: of none, or its epoch is over */
	uint64_t grace_ms;
	uint64_t cpu_milli, memory_bytes; /* its limits */
	struct gt_sched_spot spot;        /* what it has of its node, while it lives */
	struct gt_ctl_grants gpus;        /* of that, its GPUs; kept after its end */
	int64_t pid;
	uint64_t created_ms, ready_ms, ended_ms; /* wall clock */
	uint64_t created_ns, ready_ns;           /* monotonic; 0 = not yet */
	uint64_t on_ns;                          /* ready, or back from parking, since then */
	uint64_t parked_ns;                      /* in state PARKED */
	uint64_t step_ns, step_until_ns;         /* it is being parked, or woken, since and until */
	uint64_t park_retry_ns;                  /* its node could not park it: not before */
	uint64_t pool_bytes;                     /* of its node's memory for parked ones */
	uint64_t drain_until_ns;
	uint64_t drained; /* gateways (by bit) without a call on it */
	uint64_t sweep;   /* last full report that listed it */
	struct gt_phases phases;
	struct gt_usage usage;
	struct gt_pull_progress pull;
	struct gt_park park; /* as its node told */
	struct gt_weights_progress weights;
	struct gt_end *end;
	const char *reason;                 /* static text */
	struct gt_ctl_replica *prev, *next; /* of live->replicas, live->ended or control->strays */
	struct gt_ctl_replica *node_prev, *node_next; /* node->list, while it lives */
	UT_hash_handle hh;                            /* by id, while it lives */
};

struct gt_ctl_replica *gt_ctl_replica_new(struct gt_control *c, struct gt_ctl_function *f,
					  const struct gt_sched_spot *spot GT_TAKES,
					  struct gt_ctl_gang *gang,
					  const struct gt_gang_member *member, const char *reason);
/* One that a node reported and nobody knew. f NULL: a stray. */
struct gt_ctl_replica *gt_ctl_replica_adopt(struct gt_control *c, struct gt_ctl_function *f,
					    struct gt_ctl_node *node, const struct gt_observed *o);
void gt_ctl_replica_order(struct gt_control *c, const struct gt_ctl_replica *r);
void gt_ctl_replica_order_fill(const struct gt_ctl_replica *r, struct gt_order *o);
/* Drains a ready one, stops any other at once; force: kills it. A member of a gang: all of it. */
void gt_ctl_replica_leave(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
			  bool force);
void gt_ctl_replica_leave_alone(struct gt_control *c, struct gt_ctl_replica *r, const char *reason,
				bool force);
void gt_ctl_replica_stop_order(struct gt_control *c, struct gt_ctl_replica *r, bool force);
/* Orders the stop when no gateway has a call on it any more or time is up. */
/* Gateways are told of its function's replicas anew. Nothing when that is gone. */
void gt_ctl_replica_reroute(struct gt_control *c, const struct gt_ctl_replica *r);
void gt_ctl_replica_drain_check(struct gt_control *c, struct gt_ctl_replica *r);
void gt_ctl_replica_ready(struct gt_control *c, struct gt_ctl_replica *r);
/* It is gone; r is freed or becomes history. */
void gt_ctl_replica_ended(struct gt_control *c, struct gt_ctl_replica *r,
			  enum gt_replica_state state, const struct gt_end *end);
void gt_ctl_replica_orphan(struct gt_control *c, struct gt_ctl_replica *r); /* its function goes */
void gt_ctl_replica_free(struct gt_ctl_replica *r);

#endif
