/* cluster.c - reads a recorded cluster: nodes and tasks. */
#include "cluster.h"

#include <string.h>

#include <gantry/sim/table.h>

#define NODES_MAX  GT_SCHED_NODES_MAX
#define SHAPES_MAX 65536
#define CPU_MAX    1000000000 /* thousandths */
#define MIB_MAX    (1ULL << 40)

struct gt_sim_cluster *gt_sim_cluster_free(struct gt_sim_cluster *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_nodes; i++)
		free(c->nodes[i].name);
	for (size_t i = 0; i < c->n_models; i++)
		free(c->models[i]);
	free(c->nodes);
	free(c->tasks);
	free(c->shapes);
	free(c->shape_slots);
	free(c);
	return NULL;
}

/* The number of a model; GT_SCHED_MODELS_MAX when there are too many. */
static size_t model_get(struct gt_sim_cluster *c, const char *name, size_t len)
{
	size_t i = 0;

	while (i < c->n_models &&
	       (strncmp(c->models[i], name, len) != 0 || c->models[i][len] != '\0'))
		i++;
	if (i == c->n_models && i < GT_SCHED_MODELS_MAX)
		c->models[c->n_models++] = gt_strndup(name, len);
	return i;
}

/* ---- nodes ---- */
struct node_columns {
	size_t name, cpu, memory, gpu, model;
};

static int node_columns(const struct gt_csv *t, struct node_columns *col, struct gt_err *err)
{
	if (gt_csv_column(t, "sn", &col->name, err) < 0 ||
	    gt_csv_column(t, "cpu_milli", &col->cpu, err) < 0 ||
	    gt_csv_column(t, "memory_mib", &col->memory, err) < 0 ||
	    gt_csv_column(t, "gpu", &col->gpu, err) < 0 ||
	    gt_csv_column(t, "model", &col->model, err) < 0)
		return -EINVAL;
	return 0;
}

static int node_read(struct gt_sim_cluster *c, const struct gt_csv *t,
		     const struct node_columns *col, struct gt_err *err)
{
	const char *model = gt_csv_text(t, col->model);
	struct sim_node n = { 0 };
	uint64_t gpus;
	size_t at;

	if (gt_csv_u64(t, col->cpu, CPU_MAX, &n.cpu_milli, err) < 0 ||
	    gt_csv_u64(t, col->memory, MIB_MAX, &n.memory_mib, err) < 0 ||
	    gt_csv_u64(t, col->gpu, GT_SCHED_GPUS_MAX, &gpus, err) < 0)
		return -EINVAL;
	if (n.cpu_milli == 0)
		return gt_csv_bad(t, col->cpu, err, "a node without cpu");
	if (n.memory_mib == 0)
		return gt_csv_bad(t, col->memory, err, "a node without memory");
	if (gpus && !*model)
		return gt_csv_bad(t, col->model, err, "the model of %u GPUs is missing",
				  (unsigned)gpus);
	if (c->n_nodes == NODES_MAX)
		return gt_csv_bad(t, col->name, err, "more than %d nodes", NODES_MAX);
	at = gpus ? model_get(c, model, strlen(model)) : 0;
	if (at == GT_SCHED_MODELS_MAX)
		return gt_csv_bad(t, col->model, err, "more than %d models", GT_SCHED_MODELS_MAX);
	n.gpus = (uint32_t)gpus;
	n.model = (uint8_t)at;
	n.name = gt_strdup(gt_csv_text(t, col->name));
	if (c->n_nodes == c->cap_nodes) {
		c->cap_nodes = c->cap_nodes ? 2 * c->cap_nodes : 1024;
		c->nodes = gt_grow(c->nodes, c->cap_nodes, sizeof(*c->nodes));
	}
	c->nodes[c->n_nodes++] = n;
	c->gpus += gpus;
	return 0;
}

static int nodes_read(struct gt_sim_cluster *c, const char *path, struct gt_err *err)
{
	gt_auto(csv) struct gt_csv *t = NULL;
	struct node_columns col;
	int r = gt_csv_open(path, &t, err);

	if (r < 0)
		return r;
	r = node_columns(t, &col, err);
	while (r >= 0 && (r = gt_csv_next(t, err)) > 0)
		r = node_read(c, t, &col, err);
	if (r < 0)
		return r;
	if (c->gpus == 0)
		return gt_err_set(err, EINVAL, "bad_table", "%s: no node has a GPU", path);
	c->nodes_hash = gt_csv_hash(t);
	return 0;
}

/* ---- tasks ---- */
struct pod_columns {
	size_t name, cpu, memory, gpus, milli, models;
	bool has_models;
};

static int pod_columns(const struct gt_csv *t, struct pod_columns *col, struct gt_err *err)
{
	if (gt_csv_column(t, "name", &col->name, err) < 0 ||
	    gt_csv_column(t, "cpu_milli", &col->cpu, err) < 0 ||
	    gt_csv_column(t, "memory_mib", &col->memory, err) < 0 ||
	    gt_csv_column(t, "num_gpu", &col->gpus, err) < 0 ||
	    gt_csv_column(t, "gpu_milli", &col->milli, err) < 0)
		return -EINVAL;
	col->has_models = gt_csv_has(t, "gpu_spec");
	return col->has_models ? gt_csv_column(t, "gpu_spec", &col->models, err) : 0;
}

static int models_read(struct gt_sim_cluster *c, const struct gt_csv *t, size_t column,
		       uint64_t *ret, struct gt_err *err)
{
	const char *at = gt_csv_text(t, column);

	for (*ret = 0; *at; at += *at == '|') {
		size_t len = strcspn(at, "|"), model = model_get(c, at, len);

		if (len == 0)
			return gt_csv_bad(t, column, err, "an empty model");
		if (model == GT_SCHED_MODELS_MAX)
			return gt_csv_bad(t, column, err, "more than %d models",
					  GT_SCHED_MODELS_MAX);
		*ret |= 1ULL << model;
		at += len;
	}
	if (__builtin_popcountll(*ret) > GT_SCHED_WANT_MODELS_MAX)
		return gt_csv_bad(t, column, err, "more than %d models of one task",
				  GT_SCHED_WANT_MODELS_MAX);
	return 0;
}

static size_t shape_slot(const struct gt_sim_cluster *c, const struct sim_shape *sh)
{
	uint64_t h = sh->cpu_milli;

	h = (h * 31 + sh->gpus) * 1009 + sh->gpu_milli;
	h = (h ^ sh->models) * 0x9e3779b97f4a7c15ULL;
	for (size_t at = h >> 32 & (c->n_slots - 1);; at = (at + 1) & (c->n_slots - 1)) {
		const struct sim_shape *is = c->shape_slots[at] ? &c->shapes[c->shape_slots[at] - 1]
								: NULL;

		if (!is || (is->cpu_milli == sh->cpu_milli && is->gpus == sh->gpus &&
			    is->gpu_milli == sh->gpu_milli && is->models == sh->models))
			return at;
	}
}

/* Counts one more task of this shape; its number, or SHAPES_MAX. */
static uint32_t shape_count(struct gt_sim_cluster *c, const struct sim_shape *sh)
{
	size_t at;

	if (!c->shape_slots) {
		c->n_slots = 2 * SHAPES_MAX;
		c->shape_slots = gt_alloc_array(c->n_slots, sizeof(*c->shape_slots));
	}
	at = shape_slot(c, sh);
	if (!c->shape_slots[at]) {
		if (c->n_shapes == SHAPES_MAX)
			return SHAPES_MAX;
		if (c->n_shapes == c->cap_shapes) {
			c->cap_shapes = c->cap_shapes ? 2 * c->cap_shapes : 128;
			c->shapes = gt_grow(c->shapes, c->cap_shapes, sizeof(*c->shapes));
		}
		c->shapes[c->n_shapes++] = *sh;
		c->shape_slots[at] = (uint32_t)c->n_shapes;
	}
	c->shapes[c->shape_slots[at] - 1].count++;
	return c->shape_slots[at] - 1;
}

static int pod_read(struct gt_sim_cluster *c, const struct gt_csv *t, const struct pod_columns *col,
		    struct gt_err *err)
{
	uint64_t cpu, memory, gpus, milli;
	struct sim_shape sh = { 0 };
	uint32_t shape;

	if (gt_csv_u64(t, col->cpu, CPU_MAX, &cpu, err) < 0 ||
	    gt_csv_u64(t, col->memory, MIB_MAX, &memory, err) < 0 ||
	    gt_csv_u64(t, col->gpus, GT_SCHED_GPUS_MAX, &gpus, err) < 0 ||
	    gt_csv_u64(t, col->milli, GT_SCHED_GPU_MILLI, &milli, err) < 0)
		return -EINVAL;
	if (gpus && milli == 0)
		return gt_csv_bad(t, col->milli, err, "0 of %u GPUs", (unsigned)gpus);
	if (gpus > 1 && milli != GT_SCHED_GPU_MILLI)
		return gt_csv_bad(t, col->milli, err, "several GPUs are asked for whole (1000)");
	if (gpus && col->has_models && models_read(c, t, col->models, &sh.models, err) < 0)
		return -EINVAL;
	if (c->n_tasks == GT_SIM_TASKS_MAX)
		return gt_csv_bad(t, col->name, err, "more than %d tasks", GT_SIM_TASKS_MAX);
	sh.cpu_milli = (uint32_t)cpu;
	sh.gpus = (uint32_t)gpus;
	sh.gpu_milli = gpus ? (uint32_t)milli : 0;
	shape = shape_count(c, &sh);
	if (shape == SHAPES_MAX)
		return gt_csv_bad(t, col->name, err, "more than %d different tasks", SHAPES_MAX);
	if (c->n_tasks == c->cap_tasks) {
		c->cap_tasks = c->cap_tasks ? 2 * c->cap_tasks : 8192;
		c->tasks = gt_grow(c->tasks, c->cap_tasks, sizeof(*c->tasks));
	}
	c->tasks[c->n_tasks++] = (struct sim_task){ .shape = shape, .memory_mib = memory };
	return 0;
}

static int pods_read(struct gt_sim_cluster *c, const char *path, struct gt_err *err)
{
	gt_auto(csv) struct gt_csv *t = NULL;
	struct pod_columns col;
	bool any = false;
	int r = gt_csv_open(path, &t, err);

	if (r < 0)
		return r;
	r = pod_columns(t, &col, err);
	while (r >= 0 && (r = gt_csv_next(t, err)) > 0)
		r = pod_read(c, t, &col, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n_shapes; i++)
		any = any || c->shapes[i].gpus;
	if (!any)
		return gt_err_set(err, EINVAL, "bad_table", "%s: no task asks for a GPU", path);
	c->pods_hash = gt_csv_hash(t);
	return 0;
}

int gt_sim_cluster_read(const char *nodes, const char *pods, struct gt_sim_cluster **ret,
			struct gt_err *err)
{
	gt_auto(sim_cluster) struct gt_sim_cluster *c = gt_alloc(sizeof(*c));
	int r = nodes_read(c, nodes, err);

	if (r == 0)
		r = pods_read(c, pods, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&c);
	return 0;
}

struct gt_sim_facts gt_sim_cluster_facts(const struct gt_sim_cluster *c)
{
	return (struct gt_sim_facts){ .nodes_hash = c->nodes_hash,
				      .pods_hash = c->pods_hash,
				      .nodes = c->n_nodes,
				      .gpus = c->gpus,
				      .tasks = c->n_tasks,
				      .shapes = c->n_shapes };
}
