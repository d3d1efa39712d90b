/* control_priv.h - what the files of this room share. Everything runs on control's thread.
 *
 * How a change travels: an input changes facts and touches the functions it is about;
 * gt_ctl_finish, at the end of every public call, decides once for each touched function (decide.c)
 * and tells the ports. */
#ifndef GANTRY_CONTROL_PRIV_H
#define GANTRY_CONTROL_PRIV_H

#include <gantry/control/control.h>
#include <gantry/scale/scale.h>

#include "journal.h"
#include "node.h"
#include "parking.h"
#include "replica.h"
#include "ring.h"
#include "scaling.h"
#include <uthash.h>
#include <utlist.h>

#define CTL_SETTLE_NS (5 * GT_NS_PER_S) /* longest wait for first reports after a start */
/* and for those of members, which may be away for good */
#define CTL_SETTLE_AWAY_NS    (1500 * GT_NS_PER_MS)
#define CTL_GATEWAY_LINGER_NS (5 * GT_NS_PER_S)  /* demand of a lost gateway still counts */
#define CTL_NO_CAPACITY_NS    (10 * GT_NS_PER_S) /* unplaced for so long: waiters are refused */
#define CTL_START_MS_DEFAULT  1000
#define CTL_STARTS_KEPT       20
#define CTL_ENDED_KEPT        10
#define CTL_NODES_MAX         65536
#define CTL_GATEWAYS_MAX      64 /* bits of gt_ctl_replica.drained */
#define CTL_OPS_MAX           64 /* changes that wait on one function */
#define CTL_NEVER             UINT64_MAX

/* One revision of a function, shared by the function and the replicas that run it. */
struct gt_ctl_revision {
	unsigned refs : 31;
	unsigned loaded : 1; /* its function is older than this control */
	struct gt_ctl_models gpu_models;
	struct gt_function_row row;
	struct gt_spec *spec;
	char text[]; /* row.spec_json, row.name, and what is in *spec */
};

struct gt_ctl_gateway {
	char name[GT_NAME_MAX + 1];
	unsigned bit;
	bool up;
	uint64_t down_ns;
	struct gt_gateway_stats stats; /* as last told */
	struct gt_ctl_gateway *prev, *next;
};

/* What one gateway said of one function. */
struct gt_ctl_traffic {
	struct gt_ctl_gateway *gateway;
	struct gt_demand_function said;
	bool fresh; /* listed in the full post that is being read */
	struct gt_ctl_traffic *prev, *next;
};

/* Of a function that had demand or replicas; one that was never called has none. */
struct gt_ctl_live {
	struct gt_ctl_function *f;
	uint32_t number;                 /* of the function, for the scheduler */
	struct gt_ctl_replica *replicas; /* newest first */
	struct gt_ctl_replica *ended;    /* newest first, at most CTL_ENDED_KEPT */
	unsigned n_ended;
	struct gt_ctl_gang *gangs;
	struct gt_ctl_traffic *traffic;
	uint32_t queued, in_flight; /* over the gateways that count */
	uint32_t booked;            /* calls that schedules make soon: schedule.c */
	struct gt_scale *scale;
	struct gt_ctl_sample sample;
	struct gt_scale_shadow *shadow; /* NULL: none runs */
	struct gt_scale_out decision;
	struct gt_ctl_noted noted;

	uint32_t failures;      /* in a row; forgotten after GT_BACKOFF_CLEAR_MS ready */
	uint64_t retry_at_ns;   /* no start before; 0 = no backoff in force */
	uint64_t fail_until_ns; /* waiters are refused until then */
	uint32_t unplaced;      /* that no node takes now */
	bool coming;            /* a host that was asked for has room for one */
	uint64_t blocked_ns; /* since when no node takes the replica that is needed; 0 = placed */
	struct gt_end *failure; /* last one since the last deploy or success */
	uint64_t fail_seq;
	uint64_t start_ms, starts_total, failed_total;
	uint32_t starts_ms[CTL_STARTS_KEPT], n_starts; /* a ring of the last ones */
	struct gt_ctl_parking parking;
	uint32_t promised;        /* 1 + the node on which others make room for it; 0 = none */
	uint64_t pressure_due_ns; /* when somebody may have to make room for it */

	uint64_t fenced_until_ns; /* replicas of nodes that were removed may run until then */
	bool fence_told;
	bool touched, route_changed, listed_blocked, holds_known; /* the last: see learned.c */
	uint64_t due_ns;
	size_t due_slot;                 /* in the heap + 1; 0 = not in it */
	struct gt_ctl_live *prev, *next; /* control->lives */
	struct gt_ctl_live *next_touched, *next_blocked;
};

struct gt_ctl_function {
	union {
		struct gt_ctl_revision *rev;  /* current */
		struct gt_ctl_function *next; /* of a spare one */
	};
	struct gt_ctl_live *live; /* NULL: nothing happened to it yet */
};

struct gt_ctl_model {
	const char *name; /* lives in the function's spec */
	struct gt_ctl_function *f;
};

struct gt_ctl_gang;    /* gang.h */
struct gt_ctl_zone;    /* timing.c */
struct gt_ctl_started; /* started.c */
struct gt_ctl_lane;    /* change.c */

struct gt_control {
	struct gt_control_ports ports;
	uint64_t epoch, news, started_ns, node_lost_ns, node_suspect_ns;
	struct gt_scale_pool *pool, *shadow_pool; /* what functions learn from each other */
	struct gt_scale_candidate candidate;
	bool settled; /* replicas of before this start are known: decisions may be taken */

	struct gt_ctl_function **functions; /* by name */
	size_t n_functions, cap_functions;
	struct gt_ctl_function *spare_functions;
	struct gt_ctl_function_block *function_blocks;
	struct gt_ctl_model *models; /* by name */
	size_t n_models, cap_models;
	struct gt_ctl_lane *lanes;

	struct gt_ctl_replica *replicas; /* hash by id: all that live */
	struct gt_ctl_replica *strays;
	struct gt_ctl_gang *gangs; /* hash by id */
	struct gt_ctl_live *lives, *touched, *blocked;
	uint32_t last_number; /* of a live */
	struct gt_ctl_live **heap;
	size_t n_heap, cap_heap;
	uint64_t told_due_ns, decided;

	struct gt_sched *sched; /* the fleet: what is free where */
	struct gt_ctl_model_name *gpu_models;
	size_t n_gpu_models;
	struct gt_ctl_weights *weights; /* hash by key */
	struct gt_ctl_node *nodes;      /* hash by name, in the order they came */
	struct gt_ctl_node **node_at;   /* by index */
	size_t n_nodes;
	struct gt_ctl_node *down; /* not up and not yet lost, oldest first */
	struct gt_ctl_node_op *node_ops;
	unsigned joins; /* that wait for the store */
	char local_node[GT_NAME_MAX + 1];
	uint64_t away_due_ns;                 /* when a replica of a lost node may be given up */
	uint64_t drains_due_ns, beats_due_ns; /* an end of a drain; a look for silence */
	struct gt_ctl_gateway *gateways;
	uint64_t gateway_bits; /* in use */

	struct gt_ctl_hosts *hosts;         /* host.h */
	struct gt_ctl_tasks *tasks;         /* task.c; NULL: there are none */
	struct gt_ctl_started *started;     /* started.c: hash of calls that run */
	struct gt_ctl_schedules *schedules; /* schedule.c; the same */
	struct gt_ctl_zone *zones;          /* timing.c: hash by name */
	struct gt_webhook_keys webhook_keys;
	struct gt_ctl_ring events, decisions;
	uint64_t last_event, last_decision;
};

static inline uint64_t gt_ctl_now(const struct gt_control *c)
{
	return gt_mono_ns(&c->ports.clock);
}

static inline const char *gt_ctl_name(const struct gt_ctl_function *f)
{
	return f->rev->row.name;
}

/* Neither serves new calls nor will. */
static inline bool gt_ctl_leaving(const struct gt_ctl_replica *r)
{
	return r->state == GT_REPLICA_DRAINING || r->stop_ordered;
}

/* One of a gang that does not stand for it. */
static inline bool gt_ctl_follows(const struct gt_ctl_replica *r)
{
	return r->member.rank > 0;
}

static inline bool gt_ctl_current(const struct gt_ctl_replica *r)
{
	return r->f && r->revision == r->f->rev->row.revision;
}

/* control.c */
void gt_ctl_finish(struct gt_control *c);
void gt_ctl_tell_route(struct gt_control *c, const struct gt_ctl_function *f);

/* function.c: the table, and what hangs on a function */
struct gt_ctl_revision *gt_ctl_revision_new(const struct gt_function_row *row,
					    struct gt_spec *spec GT_TAKES);
struct gt_ctl_revision *gt_ctl_revision_ref(struct gt_ctl_revision *rev);
void gt_ctl_revision_unref(struct gt_ctl_revision *rev);
struct gt_ctl_function *gt_ctl_function_find(struct gt_control *c, const char *name);
/* Adds the function, or gives it this revision. Models and table; decides nothing. */
struct gt_ctl_function *gt_ctl_function_set(struct gt_control *c,
					    struct gt_ctl_revision *rev GT_TAKES);
void gt_ctl_functions_free(struct gt_control *c); /* all of them, and the table */
void gt_ctl_function_remove(struct gt_control *c, struct gt_ctl_function *f);
struct gt_ctl_function *gt_ctl_model_find(struct gt_control *c, const char *model);
struct gt_ctl_live *gt_ctl_live(struct gt_control *c, struct gt_ctl_function *f);
void gt_ctl_touch(struct gt_control *c, struct gt_ctl_function *f);
void gt_ctl_view_fill(struct gt_control *c, struct gt_ctl_function *f, struct gt_function_view *v);

/* due.c: functions by the time of their next decision */
void gt_ctl_due_set(struct gt_control *c, struct gt_ctl_live *live, uint64_t due_ns);
uint64_t gt_ctl_due_first(const struct gt_control *c);

/* backoff.c */
void gt_ctl_failure_note(struct gt_control *c, struct gt_ctl_replica *r, const struct gt_end *end);
void gt_ctl_failure_refuse(struct gt_ctl_live *live, const struct gt_end *end, uint64_t until_ns);
void gt_ctl_failure_clear(struct gt_ctl_live *live);  /* success: waiters are no longer refused */
void gt_ctl_failure_forget(struct gt_ctl_live *live); /* a deploy: all is new */

void gt_ctl_decide(struct gt_control *c, struct gt_ctl_function *f); /* decide.c */

/* gateway.c */
void gt_ctl_gateways_tick(struct gt_control *c);
uint64_t gt_ctl_gateways_due(const struct gt_control *c);
bool gt_ctl_gateways_drained(const struct gt_control *c, const struct gt_ctl_replica *r);
void gt_ctl_demand_sum(const struct gt_control *c, struct gt_ctl_live *live);

/* change.c, event.c */
void gt_ctl_lanes_free(struct gt_control *c);
void gt_ctl_event(struct gt_control *c, const char *type, const char *function, const char *replica,
		  const char *node, const char *cause, const char *fmt, ...) GT_PRINTF(7, 8);

#endif
