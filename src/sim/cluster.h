/* cluster.h - a recorded cluster in memory, and what places tasks on it. */
#ifndef GANTRY_SIM_CLUSTER_H
#define GANTRY_SIM_CLUSTER_H

#include <gantry/sched/sched.h>
#include <gantry/sim/place.h>

struct sim_node {
	char *name;
	uint64_t cpu_milli, memory_mib;
	uint32_t gpus;
	uint8_t model;
};

/* Tasks that differ in memory alone share a shape. */
struct sim_shape {
	uint32_t cpu_milli, gpus, gpu_milli;
	uint64_t models; /* bits; 0 = any */
	uint64_t count;  /* tasks of the list that have it */
};

struct sim_task {
	uint32_t shape;
	uint64_t memory_mib;
};

struct gt_sim_cluster {
	struct sim_node *nodes;
	size_t n_nodes, cap_nodes;
	struct sim_task *tasks;
	size_t n_tasks, cap_tasks;
	struct sim_shape *shapes;
	size_t n_shapes, cap_shapes;
	uint32_t *shape_slots; /* hash: shape + 1 */
	size_t n_slots;
	char *models[GT_SCHED_MODELS_MAX];
	size_t n_models;
	uint64_t gpus, nodes_hash, pods_hash;
};

/* The nodes of a run in their order, with the GPU memory left out: the traces do not have it. */
struct sim_fleet {
	const struct gt_sim_cluster *c;
	const uint32_t *order; /* indexes of c->nodes */
	size_t n;
	struct gt_rand rnd;
};

/* One way to place. A spot says node, GPU slots and thousandths. */
struct sim_policy {
	const char *name;
	/* -errno: the fleet is over one of its bounds */
	int (*open)(const struct sim_policy *p, struct sim_fleet *f, void **ret,
		    struct gt_err *err);
	/* 0, or -ENOSPC */
	int (*place)(void *arg, const struct sim_task *t, struct gt_sched_spot *ret);
	void (*release)(void *arg, const struct sim_task *t, struct gt_sched_spot *spot);
	void (*close)(void *arg);
	const struct rescan_rule *rule; /* of those that rescan.c runs */
};

extern const struct sim_policy gt_sim_policies[]; /* ends with a NULL name */
const struct sim_policy *gt_sim_policy_find(const char *name);

/* rescan.c: a plain scheduler for the baselines. Scores are cached for each (shape, node) and only
 * changed nodes are scored anew, but every decision looks at every node. */
int gt_rescan_open(const struct sim_policy *p, struct sim_fleet *f, void **ret, struct gt_err *err);
int gt_rescan_place(void *arg, const struct sim_task *t, struct gt_sched_spot *ret);
void gt_rescan_release(void *arg, const struct sim_task *t, struct gt_sched_spot *spot);
void gt_rescan_close(void *arg);

#define RESCAN_GPUS  GT_SCHED_GPUS_MAX
#define RESCAN_SORTS (RESCAN_GPUS + 1) /* 0: a share of one GPU; n: n whole ones */

struct rescan_node {
	int64_t cpu_milli, memory_mib; /* left */
	uint32_t n_gpus, n_tasks;
	uint8_t model;
	uint32_t left[RESCAN_GPUS];   /* thousandths of each GPU */
	uint32_t sorts[RESCAN_SORTS]; /* tasks of each sort on it */
};

/* A task as FGD sees it, with its part of all tasks. */
struct rescan_typical {
	const struct sim_shape *shape;
	double part;
};

struct rescan_rule {
	/* Higher is better, from 0; the node fits but for memory. *gpu: the one for a share. */
	float (*score)(const struct rescan_typical *typical, size_t n,
		       const struct rescan_node *node, const struct sim_shape *sh, int *gpu);
	bool random; /* any node, any GPU that fits */
};
extern const struct rescan_rule gt_rule_fgd, gt_rule_bestfit, gt_rule_dotprod, gt_rule_packing,
	gt_rule_clustering, gt_rule_random;
/* The shapes that make up 95% of the tasks, most frequent first. The caller frees. */
struct rescan_typical *gt_rescan_typical(const struct gt_sim_cluster *c, size_t *ret_n);
int gt_rescan_best_gpu(const struct rescan_node *n, uint32_t milli); /* least left; -1: none */

#endif
