/* control/control.h - desired against actual: functions, replicas, nodes, demand, decisions.
 *
 * Pure: all time, randomness, storage and messages pass through struct gt_control_ports. One
 * thread. The wiring feeds it inputs (requests, reports, demand, ticks) and forwards what the ports
 * are told. Views are borrowed: valid until the next call that changes control. */
#ifndef GANTRY_CONTROL_CONTROL_H
#define GANTRY_CONTROL_CONTROL_H

#include <gantry/control/ports.h>
#include <gantry/scale/shadow.h>

struct gt_control;

struct gt_control_config {
	uint64_t epoch;        /* of this start of control; higher than any before */
	uint64_t node_lost_ms; /* a node whose watch is down for so long is lost; 0 = 10000 */
	/* A node that has not reported for so long gets no new replicas, and is lost after
	 * node_lost_ms, though its watch is open; 0 = nobody counts. */
	uint64_t node_suspect_ms;
	const char
		*local_node; /* the daemon's own: nobody joins by its name; copied; NULL = none */
	const struct gt_provider *providers; /* in order of preference; copied */
	size_t n_providers;
	struct gt_scale_candidate shadow; /* a policy that runs beside the live one, on paper */
};

struct gt_control *gt_control_new(const struct gt_control_ports *ports,
				  const struct gt_control_config *config);
void gt_control_free(struct gt_control *c);
uint64_t gt_control_epoch(const struct gt_control *c);
/* How many changes of routes and members gateways were told of, since its start and in order: each
 * raises it before the ports are told. */
uint64_t gt_control_news(const struct gt_control *c);
uint64_t gt_control_decided(const struct gt_control *c); /* since its start, of all functions */
/* Until nodes have said which replicas there are (or 5 s passed), nothing is started or stopped,
 * and routes may lack replicas that do serve: a gateway that has routes should keep them until
 * then. */
bool gt_control_settled(const struct gt_control *c);
/* Before the first input: one call a stored function. spec is parsed from row->spec_json. */
void gt_control_load(struct gt_control *c, const struct gt_function_row *row,
		     struct gt_spec *spec GT_TAKES);
/* When this time (ports.clock) has come, gt_control_tick must be called; UINT64_MAX = never. */
uint64_t gt_control_due_ns(const struct gt_control *c);
void gt_control_tick(struct gt_control *c);

/* Does every replica have one owner, and do the books of the nodes add up? 0, or -EUCLEAN: a bug
 * (slugs "owner", "books", "gang"). Walks over all replicas: for simulations and tests. */
GT_MUST_USE int gt_control_check(const struct gt_control *c, struct gt_err *err);

/* ---- functions ---- */
enum gt_function_state {
	GT_FUNCTION_IDLE,     /* no replica, none wanted */
	GT_FUNCTION_STARTING, /* a replica is on its way, none is ready */
	GT_FUNCTION_READY,
	GT_FUNCTION_PARKED,   /* none is ready or on its way, and one is parked */
	GT_FUNCTION_DRAINING, /* replicas are leaving, none is ready or on its way */
	GT_FUNCTION_FAILING,  /* the last starts failed; waits for the next try */
	GT_FUNCTION_N
};
const char *gt_function_state_name(enum gt_function_state s);

/* Since control started. */
struct gt_parking_view {
	uint64_t parks, unparks, refused;
	uint64_t park_ms, unpark_ms; /* how long the last ones took, about; 0 = none yet */
	uint64_t park_sum_ms, unpark_sum_ms;
};

struct gt_function_view {
	const struct gt_function_row *row;
	const struct gt_spec *spec;
	enum gt_function_state state;
	uint32_t replicas[GT_REPLICA_N]; /* live ones by state */
	uint32_t wanted;
	const char
		*why; /* of the last decision: "2 in flight + 1 queued, target 1", "idle for 60s" */
	uint32_t queued, in_flight;
	uint32_t failures;                 /* starts failed in a row */
	uint64_t retry_in_ms;              /* 0 = now */
	const struct gt_end *last_failure; /* NULL = none since the last deploy or success */
	uint64_t start_ms;                 /* expected time of a start */
	uint64_t starts_total, failed_total;
	struct gt_parking_view parking;
};

/* What the live policy and the shadow's candidate cost since the function's first call under this
 * control. -ENOENT: no such function (slug function_not_found), or no shadow runs (not_found). */
GT_MUST_USE int gt_control_bills(struct gt_control *c, const char *name,
				 struct gt_scale_bill *ret_live, struct gt_scale_bill *ret_shadow,
				 struct gt_err *err);
const char *gt_control_candidate(const struct gt_control *c); /* as it was configured; "" = none */

enum gt_put_result { GT_PUT_CREATED, GT_PUT_CHANGED, GT_PUT_UNCHANGED };

struct gt_put {
	const char *name;
	struct gt_spec *spec GT_TAKES; /* taken in every case */
	const char *spec_json;         /* canonical, copied */
	const char *etag;              /* digest of spec_json, computed by the caller */
	const char *if_match;          /* NULL = no condition; compared without quotes */
	bool if_none_match;            /* If-None-Match: *: only create */
	bool dry_run;                  /* answer what would happen, change nothing */
};
/* err or a result; view is NULL for a dry-run creation. Called exactly once, maybe before the call
 * returns (refusals, unchanged, dry run). err slugs: invalid_spec (no
 * known node could ever take a replica; err->path), etag_mismatch (-ESTALE), model_taken,
 * conflict, storage_full, unavailable. */
typedef void gt_put_fn(const struct gt_err *err, enum gt_put_result result,
		       const struct gt_function_view *view, void *arg);
void gt_control_put(struct gt_control *c, const struct gt_put *put, gt_put_fn *fn, void *arg);

/* After the durable removal: the name is free, its replicas drain (force: are killed). */
typedef void gt_delete_fn(const struct gt_err *err, void *arg);
void gt_control_delete(struct gt_control *c, const char *name, const char *if_match, bool force,
		       gt_delete_fn *fn, void *arg);

/* 0 or -ENOENT (slug function_not_found). */
GT_MUST_USE int gt_control_function(struct gt_control *c, const char *name,
				    struct gt_function_view *ret, struct gt_err *err);
/* In name order, after `after` ("" = from the start), those with the prefix; fn returns false to
 * stop. */
void gt_control_functions(struct gt_control *c, const char *after, const char *prefix,
			  bool (*fn)(const struct gt_function_view *v, void *arg), void *arg);
size_t gt_control_functions_count(const struct gt_control *c);
/* The function that serves an OpenAI model name; NULL = none. */
const char *gt_control_model(struct gt_control *c, const char *model);
void gt_control_revisions(struct gt_control *c, const char *name, gt_store_revisions_fn *fn,
			  void *arg);

/* ---- replicas ---- */
struct gt_replica_view {
	const char *id, *function, *node;
	uint32_t revision;
	enum gt_replica_state state;
	int64_t pid;
	uint64_t created_ms, ready_ms, ended_ms; /* wall clock; 0 = not yet */
	struct gt_phases phases;
	const struct gt_usage *usage;       /* as last reported; has 0 = not yet */
	struct gt_pull_progress pull;       /* in state PULLING, as far as it is known */
	struct gt_weights_progress weights; /* total 0: it has none, or none was found yet */
	struct gt_park park;                /* as its node told */
	bool parks;                         /* its function asks for it */
	const struct gt_gpu_grant *gpus;    /* what it has, or had, of its node's GPUs */
	size_t n_gpus;
	const struct gt_gpu *gpu; /* what the first of them is, as all are; NULL: it has none, or
				     its node has not this one any more */
	const struct gt_gang_member *member; /* NULL: of no gang */
	const struct gt_end *end;            /* NULL while it lives */
	const char
		*reason; /* why it was started or stopped: "queue", "min", "idle", "replaced" ... */
};
/* Live ones and the last 10 that ended, newest first. function NULL = of all functions. */
void gt_control_replicas(struct gt_control *c, const char *function,
			 bool (*fn)(const struct gt_replica_view *v, void *arg), void *arg);
/* Drains one replica (force: kills it); the autoscaler may start another. -ENOENT. */
GT_MUST_USE int gt_control_replica_stop(struct gt_control *c, const char *function, const char *id,
					bool force, struct gt_err *err);

/* ---- nodes and gateways ---- */
struct gt_node_gpu {
	struct gt_gpu is;
	uint32_t taken_milli; /* of GT_GPU_WHOLE; what is booked, from order to end */
	uint64_t taken_bytes;
};
enum gt_node_state {
	GT_NODE_JOINING,  /* known, but not yet what runs on it */
	GT_NODE_READY,    /* takes replicas */
	GT_NODE_CORDONED, /* keeps those it has */
	GT_NODE_DRAINING, /* they move to other nodes */
	GT_NODE_DRAINED,  /* none is left */
	GT_NODE_SUSPECT,  /* not heard of: gets none, those it has are kept */
	GT_NODE_LOST,     /* for so long that those it had were given up */
	GT_NODE_STATES
};
const char *gt_node_state_name(enum gt_node_state s);

struct gt_node_view {
	const char *name;
	enum gt_node_state state;
	enum gt_node_duty duty;
	uint64_t since_ms;  /* wall clock: connected, or disconnected, since */
	uint64_t member_ms; /* since when it may connect from another machine; 0: it may not */
	uint64_t cpu_milli, memory_bytes;
	uint64_t parking_bytes, parked_bytes; /* its memory for parked replicas; what they have */
	uint32_t replicas;
	const struct gt_node_gpu *gpus; /* for the call */
	size_t n_gpus;
	const struct gt_label *labels;
	size_t n_labels;
	const struct gt_gpu_driver *driver; /* NULL: it has none */
	const struct gt_gpu_told *stats;    /* what its GPUs measured, as last told */
	size_t n_stats;
	const struct gt_node_weights *weights; /* as last reported */
};
void gt_control_nodes(struct gt_control *c, bool (*fn)(const struct gt_node_view *v, void *arg),
		      void *arg);
/* Before the first input: what users had said of a node. */
void gt_control_load_node(struct gt_control *c, const struct gt_node_row *row);
/* Called exactly once, maybe before the call returns (refusals: not_found, conflict). */
typedef void gt_node_done_fn(const struct gt_err *err, void *arg);
/* deadline_ms: of draining; replicas that are left after it end, successor or not. */
void gt_control_node_set(struct gt_control *c, const char *node, enum gt_node_duty duty,
			 uint64_t deadline_ms, gt_node_done_fn *done, void *arg);
/* Forgets one that is not connected; replicas that it may have are given up. A member is none any
 * more then; with force also one that is connected (others are not removed by that: they would be
 * back with their next report). */
void gt_control_node_delete(struct gt_control *c, const char *node, bool force,
			    gt_node_done_fn *done, void *arg);
void gt_control_node_up(struct gt_control *c, const char *node);
void gt_control_node_down(struct gt_control *c, const char *node);
/* 0, or -ESTALE for a report of another epoch. */
GT_MUST_USE int gt_control_report(struct gt_control *c, const struct gt_report *r,
				  struct gt_err *err);
void gt_control_orders(struct gt_control *c, const char *node,
		       void (*fn)(const struct gt_order *o, void *arg), void *arg);

void gt_control_gateway_up(struct gt_control *c, const char *gateway);
void gt_control_gateway_down(struct gt_control *c, const char *gateway);
GT_MUST_USE int gt_control_demand(struct gt_control *c, const struct gt_demand *d,
				  struct gt_err *err);
/* Fills *ret (caller: gt_route_fini). -ENOENT. */
GT_MUST_USE int gt_control_route(struct gt_control *c, const char *function, struct gt_route *ret,
				 struct gt_err *err);
/* Last known counters, one call a gateway: for /metrics. */
void gt_control_gateways(struct gt_control *c,
			 void (*fn)(const char *gateway, const struct gt_gateway_stats *stats,
				    void *arg),
			 void *arg);
/* Last known counters, one call a gateway and function with traffic: for /metrics. */
void gt_control_traffic(struct gt_control *c,
			void (*fn)(const char *gateway, const struct gt_demand_function *f,
				   void *arg),
			void *arg);

/* ---- events ---- */
/* Oldest first, id > after; function NULL = all. -ERANGE (slug cursor_gone) when entries after
 * `after` are no longer kept; 0 = from the oldest kept. fn returns false to stop. */
GT_MUST_USE int gt_control_events(struct gt_control *c, uint64_t after, const char *function,
				  bool (*fn)(const struct gt_event *e, void *arg), void *arg,
				  struct gt_err *err);

#endif
