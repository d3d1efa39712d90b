/* capacity.c - a recorded load through the virtual fleet. The file is read twice: once to know its
 * functions, which are deployed before the first call, and once as the calls come. */
#include "world_priv.h"

#include <gantry/base/units.h>
#include <gantry/sim/capacity.h>
#include <gantry/sim/scale.h>
#include <gantry/sim/table.h>

#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 1e8
#define AFTER_S     600 /* after the last call, when no time was given */
#define REPLICA_MIB 1024
#define DRAIN_MS    3600000 /* a replica that leaves ends its calls first */
#define SPREAD_PART 10      /* a start takes a tenth more or less than its function's others */
#define LOST_MS     600000
#define CUT_MS      60000
#define AGENT_MS    2000
#define S_PER_DAY   86400.0

struct run {
	const struct gt_capacity *config;
	struct gt_world *w;
	struct gt_csv *csv;
	size_t function, arrival, service; /* columns */
	double end_s;                      /* of the load */
	bool has_row, failed;
	size_t fn; /* of the row that is read */
	uint64_t at_ns, service_ns;
	double arrival_s;
	struct gt_sim_cold cold;
	struct gt_err *err;
};

/* ---- the load ---- */
static int load_open(struct run *x)
{
	int r = gt_csv_open(x->config->workload, &x->csv, x->err);

	if (r == 0)
		r = gt_csv_column(x->csv, "function", &x->function, x->err);
	if (r == 0)
		r = gt_csv_column(x->csv, "arrival_s", &x->arrival, x->err);
	if (r == 0)
		r = gt_csv_column(x->csv, "service_s", &x->service, x->err);
	x->arrival_s = 0;
	return r;
}

/* 1: a row was read; 0: there is none. */
static int row_read(struct run *x)
{
	double arrival_s, service_s;
	int r = gt_csv_next(x->csv, x->err);

	if (r <= 0)
		return r;
	if ((r = gt_csv_double(x->csv, x->arrival, SECONDS_MAX, &arrival_s, x->err)) < 0 ||
	    (r = gt_csv_double(x->csv, x->service, SECONDS_MAX, &service_s, x->err)) < 0)
		return r;
	if (arrival_s < x->arrival_s)
		return gt_csv_bad(x->csv, x->arrival, x->err,
				  "%g after %g; sort the file by arrival_s", arrival_s,
				  x->arrival_s);
	x->arrival_s = arrival_s;
	x->at_ns = GT_WORLD_START_NS + (uint64_t)(arrival_s * 1e9);
	x->service_ns = (uint64_t)(service_s * 1e9);
	return 1;
}

static int function_of(struct run *x, size_t *ret)
{
	const char *name = gt_csv_text(x->csv, x->function);
	const struct w_fn *f = gt_w_fn(x->w, name);

	if (!name[0] || strlen(name) > GT_NAME_MAX)
		return gt_csv_bad(x->csv, x->function, x->err, "a name has 1 to %d characters",
				  GT_NAME_MAX);
	if (!f && x->w->n_fns == GT_FUNCTIONS_MAX)
		return gt_csv_bad(x->csv, x->function, x->err, "more than %d functions",
				  GT_FUNCTIONS_MAX);
	*ret = f ? f->index : gt_world_function(x->w, name);
	return 0;
}

/* The first reading: all functions, the number of calls, the hash of the file. */
static int load_scan(struct run *x, struct gt_capacity_result *result)
{
	int r = load_open(x);

	while (r == 0 && (r = row_read(x)) > 0) {
		r = function_of(x, &x->fn);
		x->end_s = x->arrival_s;
	}
	if (r < 0)
		return r;
	result->input_hash = gt_csv_hash(x->csv);
	result->functions = x->w->n_fns;
	x->csv = gt_csv_free(x->csv);
	if (x->w->n_fns == 0)
		return gt_err_set(x->err, EINVAL, "bad_table", "%s has no calls",
				  x->config->workload);
	return load_open(x);
}

static void row_next(struct run *x)
{
	int r = row_read(x);

	if (r > 0)
		r = function_of(x, &x->fn) < 0 ? -EINVAL : 1;
	x->has_row = r > 0;
	x->failed = r < 0;
}

static uint64_t source_next_ns(void *arg)
{
	const struct run *x = arg;

	return x->has_row ? x->at_ns : UINT64_MAX;
}

static void source_fire(void *arg)
{
	struct run *x = arg;

	gt_world_call(x->w, x->fn, x->service_ns);
	row_next(x);
}

/* ---- functions ---- */
static void functions_load(struct run *x)
{
	const struct gt_capacity *config = x->config;
	struct gt_world_kind kind = {
		.fail_permille = (uint32_t)(config->faults.starts * 1000 + 0.5),
		.crash_mean_s = config->faults.crashes > 0
					? (uint32_t)GT_MAX(3600 / config->faults.crashes, 1.0)
					: 0,
		.min = config->min,
		.max = config->max,
		.target = config->concurrency,
		.concurrency = config->concurrency,
		.idle_ms = config->idle_ms,
		.drain_ms = DRAIN_MS,
		.memory_mib = REPLICA_MIB,
		.gpus = config->gpus > 0,
		.gpu_milli = GT_GPU_WHOLE,
		.queue = config->queue,
		.wait_ms = config->wait_ms,
		.serial = 1,
	};

	for (size_t i = 0; i < x->w->n_fns; i++) {
		/* A start's time is a property of the function: its image, its model. */
		double ms = 1000 * gt_sim_cold_base_s(&x->cold, i);

		kind.start_least_ms = (uint32_t)(ms - ms / SPREAD_PART);
		kind.start_most_ms = (uint32_t)(ms + ms / SPREAD_PART);
		gt_world_load(x->w, i, &kind);
	}
}

/* ---- faults ---- */
int gt_capacity_fault_read(struct gt_capacity_faults *f, const char *text, struct gt_err *err)
{
	const struct {
		const char *name;
		double *at, most;
	} kinds[] = { { "starts=", &f->starts, 1 },    { "crashes=", &f->crashes, 3600 },
		      { "nodes=", &f->nodes, 1000 },   { "partitions=", &f->partitions, 1000 },
		      { "agents=", &f->agents, 1000 }, { "control=", &f->control, 10000 } };

	for (size_t i = 0; i < GT_LEN(kinds); i++) {
		const char *value = text + strlen(kinds[i].name);
		char *end;

		if (!gt_starts_with(text, kinds[i].name))
			continue;
		*kinds[i].at = strtod(value, &end);
		if (*value < '0' || *value > '9' || *end || !(*kinds[i].at <= kinds[i].most))
			return gt_err_set(err, EINVAL, "usage", "\"%s\" is no number up to %g",
					  value, kinds[i].most);
		return 0;
	}
	return gt_err_set(err, EINVAL, "usage",
			  "\"%s\" is none of starts=, crashes=, nodes=, partitions=, agents=, "
			  "control=",
			  text);
}

struct fault {
	void (*fn)(struct gt_world *w);
	double mean_s; /* between two of them */
};

static size_t any_node(struct gt_world *w)
{
	return gt_w_below(w, w->config.nodes);
}

static void fault_node(struct gt_world *w)
{
	gt_world_node_reboot(w, any_node(w), LOST_MS);
}

static void fault_cut(struct gt_world *w)
{
	uint64_t way = gt_w_below(w, 4); /* half of them in one direction only */

	gt_world_node_cut(w, any_node(w), way == 0 ? 0 : CUT_MS, way == 1 ? 0 : CUT_MS);
}

static void fault_agent(struct gt_world *w)
{
	gt_world_agent_crash(w, any_node(w), AGENT_MS);
}

static void on_fault(struct gt_world *w, struct w_event *e);

/* Evenly in 0..2 of the mean. */
static void fault_plan(struct gt_world *w, const struct fault *f)
{
	uint64_t in_ns = gt_w_below(w, (uint64_t)(2e9 * f->mean_s) + 1);
	struct w_event *e = gt_w_at(w, w->now_ns + in_ns, on_fault);

	e->data = gt_alloc(sizeof(*f));
	*(struct fault *)e->data = *f;
}

static void on_fault(struct gt_world *w, struct w_event *e)
{
	const struct fault *f = e->data;

	f->fn(w);
	fault_plan(w, f);
}

static void faults_plan(struct run *x)
{
	const struct gt_capacity_faults *f = &x->config->faults;
	const double nodes = x->config->nodes;
	const struct fault all[] = {
		{ fault_node, f->nodes > 0 ? S_PER_DAY / (f->nodes * nodes) : 0 },
		{ fault_cut, f->partitions > 0 ? S_PER_DAY / (f->partitions * nodes) : 0 },
		{ fault_agent, f->agents > 0 ? S_PER_DAY / (f->agents * nodes) : 0 },
		{ gt_world_control_kill, f->control > 0 ? S_PER_DAY / f->control : 0 },
	};

	for (size_t i = 0; i < GT_LEN(all); i++)
		if (all[i].mean_s > 0)
			fault_plan(x->w, &all[i]);
}

/* ---- the run ---- */
static void point_add(struct run *x, struct gt_capacity_result *r)
{
	struct gt_world_stats s;

	gt_world_stats(x->w, &s);
	r->points[r->n_points++] = (struct gt_capacity_point){
		.t_s = (double)(x->w->now_ns - GT_WORLD_START_NS) / 1e9,
		.replicas = s.held,
		.ready = s.ready,
		.busy = s.busy,
		.nodes_up = s.nodes_up,
		.waiting = s.calls.waiting,
		.gpus = s.gpus_milli / (double)GT_GPU_WHOLE,
	};
}

static void result_fill(struct run *x, struct gt_capacity_result *r)
{
	const struct gt_world_broken *broken = gt_world_broken(x->w);

	gt_world_stats(x->w, &r->stats);
	const struct gt_world_counts *c = &r->stats.calls;
	uint64_t started = c->served + c->running + c->lost;

	r->calls = c->accepted + c->turned_away;
	r->world_hash = gt_world_hash(x->w);
	r->hours = (double)(x->w->now_ns - GT_WORLD_START_NS) / 1e9 / 3600;
	r->gpu_hours = r->stats.gpus_s / 3600;
	r->busy_hours = r->stats.busy_s / 3600;
	r->mean_wait_s = started ? r->stats.wait_sum_s / (double)started : 0;
	r->p50_wait_s = (double)gt_world_wait_ns(x->w, 0.5) / 1e9;
	r->p99_wait_s = (double)gt_world_wait_ns(x->w, 0.99) / 1e9;
	r->max_wait_s = (double)r->stats.wait_max_ns / 1e9;
	if (broken)
		r->broken = *broken;
}

static int run(struct run *x, struct gt_capacity_result *result)
{
	double end_s = x->config->hours > 0 ? x->config->hours * 3600 : 0;
	const struct gt_world_source source = { source_next_ns, source_fire, x };
	int r = gt_sim_cold_read(x->config->cold ? x->config->cold : "2", &x->cold, x->err);

	if (r == 0)
		r = load_scan(x, result);
	if (r < 0)
		return r;
	end_s = end_s > 0 ? end_s : x->end_s + AFTER_S;
	functions_load(x);
	faults_plan(x);
	row_next(x);
	for (size_t i = 1; i <= GT_CAPACITY_POINTS && !x->failed; i++) {
		double part = (double)i / GT_CAPACITY_POINTS;

		gt_world_run(x->w, GT_WORLD_START_NS + (uint64_t)(part * end_s * 1e9), &source);
		point_add(x, result);
		if (x->config->progress)
			x->config->progress(part, x->config->arg);
		if (gt_world_broken(x->w))
			break;
	}
	result_fill(x, result);
	return x->failed ? -EINVAL : 0;
}

int gt_capacity_run(const struct gt_capacity *config, struct gt_capacity_result *ret,
		    struct gt_err *err)
{
	const struct gt_world_config world = { .seed = config->seed,
					       .nodes = config->nodes,
					       .gateways = config->gateways,
					       .node_gpus = config->gpus };
	struct run x = { .config = config, .w = gt_world_new(&world), .err = err };
	int r;

	*ret = (struct gt_capacity_result){ 0 };
	r = run(&x, ret);
	gt_csv_free(x.csv);
	gt_world_free(x.w);
	gt_sim_cold_fini(&x.cold);
	return r;
}
