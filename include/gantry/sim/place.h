/* sim/place.h - placement over a recorded cluster: how much of its GPUs a policy gives away.
 *
 * The protocol of Weng et al., "Beware of Fragmentation", USENIX ATC 2023, as their simulator runs
 * it: tasks come in random order, more are drawn from the list until `inflate` times the cluster's
 * GPUs have been asked for; nobody leaves, a task that fits nowhere is lost. Policy "gantry" is the
 * daemon's scheduler itself; the others are what it is compared with. */
#ifndef GANTRY_SIM_PLACE_H
#define GANTRY_SIM_PLACE_H

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/base/err.h>

#define GT_SIM_TASKS_MAX   (16 * 1024 * 1024) /* of one run */
#define GT_SIM_INFLATE_MAX 4.0
#define GT_SIM_PERCENTS    131 /* 0 to 130 */

struct gt_sim_cluster; /* nodes and the list of tasks, as read */

/* nodes: columns sn, cpu_milli, memory_mib, gpu, model. pods: name, cpu_milli, memory_mib, num_gpu,
 * gpu_milli and, if they are there, gpu_spec (allowed models, '|' between). -EINVAL names file,
 * line and column of what is wrong. */
GT_MUST_USE int gt_sim_cluster_read(const char *nodes, const char *pods,
				    struct gt_sim_cluster **ret, struct gt_err *err);
struct gt_sim_cluster *gt_sim_cluster_free(struct gt_sim_cluster *c); /* returns NULL */
GT_CLEANUP_TYPE(sim_cluster, struct gt_sim_cluster *, gt_sim_cluster_free)

struct gt_sim_facts {
	uint64_t nodes_hash, pods_hash; /* gt_csv_hash of the two files */
	uint64_t nodes, gpus, tasks, shapes;
};
struct gt_sim_facts gt_sim_cluster_facts(const struct gt_sim_cluster *c);

/* NULL-terminated; the first is the default. */
extern const char *const gt_sim_place_policies[];
bool gt_sim_place_policy_ok(const char *name); /* an alias too: fgd+ */

struct gt_sim_place {
	const char *policy;
	uint64_t seed;
	double inflate;  /* up to GT_SIM_INFLATE_MAX */
	uint32_t copies; /* of the cluster and of what is asked of it; at least 1 */
	uint64_t
		churn; /* 0: fill; else fill to 85..88%, then so many pairs of an end and a start */
	struct gt_clock clock; /* for the figures of time alone */
	/* May be NULL. Called now and then; false ends the run with -ECANCELED. */
	bool (*progress)(void *arg, uint64_t done, uint64_t all);
	void *arg;
};

struct gt_sim_placed {
	/* Percent of the cluster's GPU thousandths that are given away when so many percent have
	 * been asked for; below 0: it never came to that. */
	double allocation[GT_SIM_PERCENTS];
	uint64_t tasks, failed;
	uint64_t hash; /* of every placement in order: equal runs have equal ones */
	/* From here on: time, which no two runs share. Of a decision, or of a pair with churn. */
	double per_s, p50_us, p99_us, p999_us;
	uint64_t timed;
};

GT_MUST_USE int gt_sim_place_run(const struct gt_sim_cluster *c, const struct gt_sim_place *p,
				 struct gt_sim_placed *ret, struct gt_err *err);

#endif
