/* sim/capacity.h - how a cluster of a given size would bear a recorded load: calls out of a CSV
 * file through the virtual fleet of world.h. Everything that answers is simulated; control, sched
 * and scale are the daemon's own. */
#ifndef GANTRY_SIM_CAPACITY_H
#define GANTRY_SIM_CAPACITY_H

#include <gantry/base/buf.h>
#include <gantry/sim/world.h>

#define GT_CAPACITY_POINTS    288 /* of the curves: 5 minutes each, of a day */
#define GT_CAPACITY_NODES_MAX 65536
#define GT_CAPACITY_HOURS_MAX 10000

/* How often something goes wrong. starts: part of them, 0..1; crashes: a replica and hour; nodes
 * (lost, back after 10 minutes), partitions (a minute, both ways or one), agents (restarted): a
 * node and day; control (restarted): a day. */
struct gt_capacity_faults {
	double starts, crashes, nodes, partitions, agents, control;
};
/* "nodes=0.5". -EINVAL, slug usage. */
GT_MUST_USE int gt_capacity_fault_read(struct gt_capacity_faults *f, const char *text,
				       struct gt_err *err);

struct gt_capacity {
	const char *workload; /* function, arrival_s, service_s; sorted by arrival */
	uint64_t seed;
	uint32_t nodes, gpus, gateways; /* gpus: of a node; each replica has one whole GPU */
	double hours;                   /* 0 = to the last call */
	const char *cold;               /* how long starts take, for gt_sim_cold_read; NULL = 2 s */
	uint32_t concurrency, min, max, idle_ms, queue, wait_ms; /* of every function */
	struct gt_capacity_faults faults;
	void (*progress)(double part, void *arg); /* may be NULL */
	void *arg;
};

struct gt_capacity_point {
	double t_s;
	uint32_t replicas, ready, busy, nodes_up; /* busy: replicas with a call */
	uint64_t waiting;
	double gpus; /* given */
};

struct gt_capacity_result {
	uint64_t input_hash, world_hash, functions, calls;
	double hours, gpu_hours, busy_hours, mean_wait_s, p50_wait_s, p99_wait_s, max_wait_s;
	struct gt_world_stats stats;
	struct gt_capacity_point points[GT_CAPACITY_POINTS];
	size_t n_points;
	struct gt_world_broken broken; /* rule "" = all held */
};

/* 0, or what is wrong with the input (slug bad_table and the like). A broken rule is a result. */
GT_MUST_USE int gt_capacity_run(const struct gt_capacity *config, struct gt_capacity_result *ret,
				struct gt_err *err);
/* Replicas, queue, GPUs and nodes over time, as SVG. */
void gt_capacity_svg(const struct gt_capacity *config, const struct gt_capacity_result *r,
		     struct gt_buf *out);

#endif
