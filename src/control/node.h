/* node.h - a machine as control knows it: its size, labels and GPUs. What is taken of it is the
 * scheduler's book. */
#ifndef GANTRY_CONTROL_NODE_H
#define GANTRY_CONTROL_NODE_H

#include <gantry/control/control.h>
#include <gantry/sched/sched.h>

#include <uthash.h>

struct gt_ctl_live;
struct gt_ctl_node_op; /* duty.c */
struct gt_ctl_replica;
struct gt_ctl_revision;

struct gt_ctl_node {
	char name[GT_NAME_MAX + 1];
	bool up, lost;
	bool silent;   /* not heard of for node_suspect_ms */
	bool reported; /* a full report came since it joined: replicas may be placed on it */
	bool told;     /* a full report came at all: what follows is known */
	uint64_t since_ms, down_ns, heard_ns;
	uint64_t member_ms; /* it may connect from another machine, since; 0: it may not */
	enum gt_node_duty duty;
	uint64_t drain_until_ns; /* CTL_NEVER: it does not drain; 0: that time is over */
	uint64_t cpu_milli, memory_bytes, parking_bytes;
	char address[GT_ADDRESS_MAX + 1]; /* "" = none */
	struct gt_gpu *gpus;              /* a GPU's place is its slot in the scheduler's books */
	size_t n_gpus;
	struct gt_gpu_driver *driver; /* NULL: it has none */
	struct gt_gpu_told *stats;    /* what its GPUs measured, as last told */
	size_t n_stats;
	struct gt_label *labels;
	size_t n_labels;
	struct gt_node_weights weights;
	uint32_t index; /* in node_at and in the scheduler's fleet, which has its books */
	uint32_t replicas;
	uint64_t sweep;                  /* number of the last full report */
	struct gt_ctl_replica *list;     /* by node_prev, node_next */
	struct gt_ctl_node *prev, *next; /* control->down */
	UT_hash_handle hh;               /* by name */
};

/* What a replica has of its node. */
struct gt_ctl_grants {
	struct gt_gpu_grant *list;
	size_t n;
};

/* The models of GPUs that a revision asks for, as the scheduler's numbers. */
struct gt_ctl_models {
	uint16_t seen; /* of how many models they were found out */
	uint8_t n;
	uint8_t id[GT_SCHED_WANT_MODELS_MAX];
};

/* A model's weights (gt_weights_key), and the nodes that tell of them. */
struct gt_ctl_weights {
	char key[GT_WEIGHTS_KEY_SIZE];
	uint32_t *nodes; /* indexes */
	size_t n;
	UT_hash_handle hh;
};

struct gt_ctl_weights_hint {
	uint32_t node;
	uint64_t ms;
};

/* Every model of a GPU that any node ever had. */
struct gt_ctl_model_name {
	char name[GT_GPU_MODEL_MAX + 1];
	uint8_t id;
};

/* gpu.c */
/* Its driver has not answered yet, so nobody knows which GPUs it has. Those that it had before, or
 * tells of, stay booked as they are and are given to nobody until then. */
bool gt_ctl_gpus_awaited(const struct gt_ctl_node *node);
/* Its watch is open: maybe of another agent, which knows less than the last one did, and whose full
 * report is on its way. */
void gt_ctl_gpus_await(struct gt_control *c, struct gt_ctl_node *node);
/* The next such node that has what else the specification asks of its place, after NULL the first;
 * NULL: there is none, or no GPU is asked for. */
const struct gt_ctl_node *gt_ctl_gpus_may_come(const struct gt_control *c,
					       const struct gt_ctl_node *after,
					       const struct gt_spec *spec);
/* What a full report says of the node itself; what is booked on it is booked anew when its GPUs are
 * other ones. */
void gt_ctl_node_facts(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r);
/* What any report may say of GPUs beside: measures and events. */
void gt_ctl_node_told(struct gt_control *c, struct gt_ctl_node *node, const struct gt_report *r);
void gt_ctl_node_free(struct gt_ctl_node *node);
/* GPUs and labels; false: the scheduler has no room for them. */
bool gt_ctl_gpus_tell(struct gt_control *c, const struct gt_ctl_node *node,
		      struct gt_sched_node *told, struct gt_err *err);
/* The GPUs of a want. -ENOSPC, slug no_capacity: no node has such a model. */
GT_MUST_USE int gt_ctl_gpus_want(struct gt_control *c, struct gt_ctl_revision *rev,
				 struct gt_sched_want *want, struct gt_err *err);
/* From the spot that the scheduler chose to the GPUs that they are, and back. */
void gt_ctl_gpus_of_spot(struct gt_ctl_replica *r);
/* What its first one is; NULL: it has none, or its node has not this one. */
const struct gt_gpu *gt_ctl_gpu_of(const struct gt_ctl_replica *r);
uint32_t gt_ctl_gpus_booked(const struct gt_ctl_replica *r, struct gt_sched_want *want);

/* weights.c */
/* What a report tells of the node's; the report is not changed. */
void gt_ctl_node_weights(struct gt_control *c, struct gt_ctl_node *node,
			 const struct gt_node_weights *told);
/* What a replica's node tells of its weights: an event when it goes without. */
void gt_ctl_replica_weights(struct gt_control *c, struct gt_ctl_replica *r,
			    const struct gt_weights_progress *told);
/* Of a revision's weights on a node (NULL: on none); total 0: no node tells of them. */
struct gt_weights_here gt_ctl_weights_on(const struct gt_control *c,
					 const struct gt_ctl_revision *rev,
					 const struct gt_ctl_node *node);
/* How long the missing part of a revision's weights takes to read, on nodes that have some, and on
 * all others. Returns how many nodes. */
size_t gt_ctl_weights_hints(const struct gt_control *c, const struct gt_ctl_revision *rev,
			    struct gt_ctl_weights_hint *ret, size_t max, uint64_t *ret_usual_ms);
void gt_ctl_weights_free(struct gt_control *c);

/* replica.c: one that its node is stopping already takes room until its end is known */
void gt_ctl_replica_stop_found(struct gt_control *c, struct gt_ctl_replica *r);

/* node.c */
void gt_ctl_nodes_tick(struct gt_control *c);
uint64_t gt_ctl_nodes_due(const struct gt_control *c);
struct gt_ctl_node *gt_ctl_node_find(struct gt_control *c, const char *name);
struct gt_ctl_node *gt_ctl_node_get(struct gt_control *c, const char *name); /* NULL: too many */
/* It is not coming back, for now: replicas are given up as their functions' policies have it. */
void gt_ctl_node_lose(struct gt_control *c, struct gt_ctl_node *node);
void gt_ctl_node_drop(struct gt_control *c, struct gt_ctl_node *node); /* nothing is on it */

/* away.c: what runs on nodes that were not heard of */
/* Gives up what may be given to others by now; `all`: everything. */
void gt_ctl_node_give_up(struct gt_control *c, struct gt_ctl_node *node, bool all);
void gt_ctl_away_tick(struct gt_control *c);
/* Until when a function may have no new replicas, as old ones may run that nobody can see; 0 = it
 * may. */
uint64_t gt_ctl_fence_ns(const struct gt_control *c, const struct gt_ctl_live *live);
/* One that was given up with its node is back. */
void gt_ctl_replica_returned(struct gt_control *c, struct gt_ctl_replica *r);

/* duty.c */
enum gt_node_state gt_ctl_node_state(const struct gt_ctl_node *node);
/* Its replicas go elsewhere; *late: also those for which there is no place. */
bool gt_ctl_node_moves(const struct gt_control *c, const struct gt_ctl_node *node, bool *late);
void gt_ctl_duties_tick(struct gt_control *c);
void gt_ctl_node_ops_free(struct gt_control *c);

/* member.c */
void gt_ctl_members_tell(struct gt_control *c);

/* node.c: functions whose next replica no node takes */
void gt_ctl_blocked_add(struct gt_control *c, struct gt_ctl_live *live); /* its blocked_ns is set */
void gt_ctl_blocked_touch(struct gt_control *c); /* room may have appeared */

/* never.c */
/* Whether any node that is known could take a replica if nothing else were on it. Yes when none is
 * known. -EINVAL, slug invalid_spec: err->path names the member, the text what would fit. */
GT_MUST_USE int gt_ctl_may_ever_fit(struct gt_control *c, const struct gt_spec *spec,
				    struct gt_err *err);

#endif
