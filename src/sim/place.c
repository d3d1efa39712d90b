/* place.c - one run: a stream of tasks through a policy, and what is counted on the way. */
#include "cluster.h"

#include <math.h>
#include <string.h>

#define LOAD_LEAST    0.85 /* between which churn keeps the cluster */
#define LOAD_MOST     0.88
#define PROGRESS_MASK 0xfff /* tasks between two calls of progress, less one */

struct live {
	struct sim_task task;
	struct gt_sched_spot spot;
};

struct run {
	const struct gt_sim_cluster *c;
	const struct gt_sim_place *p;
	const struct sim_policy *policy;
	void *placer;
	uint64_t seed;
	struct gt_rand rnd;
	struct sim_fleet fleet;
	uint64_t capacity, asked, given; /* thousandths of GPUs */
	struct sim_task *tasks;
	size_t n_tasks;
	uint32_t *times; /* ns of each decision */
	uint64_t n_times, time_sum;
	struct live *live;
	size_t n_live, cap_live;
	struct gt_sim_placed *ret;
};

static uint64_t below(struct run *r, uint64_t n)
{
	uint64_t x;

	r->rnd.fill(r->rnd.arg, &x, sizeof(x));
	return (uint64_t)((unsigned __int128)x * n >> 64);
}

static uint64_t milli_of(const struct run *r, const struct sim_task *t)
{
	const struct sim_shape *sh = &r->c->shapes[t->shape];

	return (uint64_t)sh->gpus * sh->gpu_milli;
}

/* ---- the stream ---- */
static uint32_t *nodes_shuffle(struct run *r, size_t n)
{
	uint32_t *order = gt_alloc_array(n, sizeof(*order));

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)(i % r->c->n_nodes);
	for (size_t i = n; i > 1; i--) {
		size_t k = below(r, i);
		uint32_t swap = order[i - 1];

		order[i - 1] = order[k];
		order[k] = swap;
	}
	return order;
}

/* The list in random order, `copies` times; cut off where it asks for too much, else filled up with
 * random tasks until one more would. */
static int tasks_draw(struct run *r, struct gt_err *err)
{
	uint64_t limit = (uint64_t)((double)r->capacity * r->p->inflate), asked = 0;
	size_t n = r->c->n_tasks * r->p->copies, cap = n;

	if (n > GT_SIM_TASKS_MAX)
		return gt_err_set(err, E2BIG, "bad_table", "%zu tasks in %u copies; %d are allowed",
				  n, r->p->copies, GT_SIM_TASKS_MAX);
	r->tasks = gt_alloc_array(n, sizeof(*r->tasks));
	for (size_t i = 0; i < n; i++)
		r->tasks[i] = r->c->tasks[i % r->c->n_tasks];
	for (size_t i = n; i > 1; i--) {
		size_t k = below(r, i);
		struct sim_task swap = r->tasks[i - 1];

		r->tasks[i - 1] = r->tasks[k];
		r->tasks[k] = swap;
	}
	for (r->n_tasks = 0; r->n_tasks < n; r->n_tasks++) {
		asked += milli_of(r, &r->tasks[r->n_tasks]);
		if (asked > limit)
			return 0;
	}
	for (;;) {
		const struct sim_task *t = &r->c->tasks[below(r, r->c->n_tasks)];

		asked += milli_of(r, t);
		if (asked > limit || r->n_tasks == GT_SIM_TASKS_MAX)
			return 0;
		if (r->n_tasks == cap) {
			cap *= 2;
			r->tasks = gt_grow(r->tasks, cap, sizeof(*r->tasks));
		}
		r->tasks[r->n_tasks++] = *t;
	}
}

/* ---- counting ---- */
static void note(struct run *r, const struct gt_sched_spot *spot)
{
	r->ret->hash = (r->ret->hash ^ (spot ? spot->node + 1 : 0)) * 0x100000001b3ULL;
	r->ret->hash = (r->ret->hash ^ (spot ? spot->gpu_mask : 0)) * 0x100000001b3ULL;
}

static void time_add(struct run *r, uint64_t begin_ns)
{
	uint64_t ns = gt_mono_ns(&r->p->clock) - begin_ns;

	r->times[r->n_times++] = (uint32_t)GT_MIN(ns, UINT32_MAX);
	r->time_sum += ns;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double quantile_us(const struct run *r, double q)
{
	return r->n_times ? r->times[(size_t)(q * (double)(r->n_times - 1))] / 1000.0 : 0;
}

static void times_sum(struct run *r)
{
	qsort(r->times, r->n_times, sizeof(*r->times), by_number);
	r->ret->timed = r->n_times;
	r->ret->per_s = r->time_sum ? (double)r->n_times * 1e9 / (double)r->time_sum : 0;
	r->ret->p50_us = quantile_us(r, 0.5);
	r->ret->p99_us = quantile_us(r, 0.99);
	r->ret->p999_us = quantile_us(r, 0.999);
}

static bool go_on(struct run *r, uint64_t done, uint64_t all)
{
	if ((done & PROGRESS_MASK) != 0 || !r->p->progress)
		return true;
	return r->p->progress(r->p->arg, done, all);
}

/* ---- the two kinds of run ---- */
static bool start(struct run *r, const struct sim_task *t)
{
	struct gt_sched_spot spot;
	int code = r->policy->place(r->placer, t, &spot);

	note(r, code == 0 ? &spot : NULL);
	r->ret->tasks++;
	if (code < 0) {
		r->ret->failed++;
		return false;
	}
	r->given += milli_of(r, t);
	if (!r->p->churn)
		return true;
	if (r->n_live == r->cap_live) {
		r->cap_live = r->cap_live ? 2 * r->cap_live : 65536;
		r->live = gt_grow(r->live, r->cap_live, sizeof(*r->live));
	}
	r->live[r->n_live++] = (struct live){ .task = *t, .spot = spot };
	return true;
}

static int fill(struct run *r, struct gt_err *err)
{
	size_t percent = 0;

	for (size_t i = 0; i < r->n_tasks; i++) {
		uint64_t begin = gt_mono_ns(&r->p->clock);

		(void)start(r, &r->tasks[i]);
		time_add(r, begin);
		r->asked += milli_of(r, &r->tasks[i]);
		while (percent < GT_SIM_PERCENTS && r->asked * 100 >= percent * r->capacity)
			r->ret->allocation[percent++] = 100.0 * (double)r->given /
							(double)r->capacity;
		if (!go_on(r, i, r->n_tasks))
			return gt_err_set(err, ECANCELED, "interrupted", "interrupted");
	}
	/* The task that would have passed the limit is not sent: that much was asked for. */
	while (percent < GT_SIM_PERCENTS && (double)percent <= r->p->inflate * 100)
		r->ret->allocation[percent++] = 100.0 * (double)r->given / (double)r->capacity;
	return 0;
}

/* Who ends next. */
static struct live any_live(struct run *r)
{
	size_t i = below(r, r->n_live);
	struct live gone = r->live[i];

	r->live[i] = r->live[--r->n_live];
	return gone;
}

static void stop(struct run *r, struct live *gone)
{
	r->given -= milli_of(r, &gone->task);
	r->policy->release(r->placer, &gone->task, &gone->spot);
}

static const struct sim_task *any_task(struct run *r)
{
	return &r->c->tasks[below(r, r->c->n_tasks)];
}

/* Back to where the load is between its bounds, untimed. A cluster that can not be so full is left
 * as full as some hundred tasks in a row make it. */
static void load_hold(struct run *r)
{
	for (int failures = 0;
	     r->given < (uint64_t)(LOAD_LEAST * (double)r->capacity) && failures < 200;)
		failures += !start(r, any_task(r));
	while (r->given > (uint64_t)(LOAD_MOST * (double)r->capacity) && r->n_live > 0) {
		struct live gone = any_live(r);

		stop(r, &gone);
	}
}

static int churn(struct run *r, struct gt_err *err)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		if (r->given >= (uint64_t)((LOAD_LEAST + LOAD_MOST) / 2 * (double)r->capacity))
			break;
		(void)start(r, &r->tasks[i]);
	}
	for (uint64_t i = 0; i < r->p->churn; i++) {
		const struct sim_task t = *any_task(r);
		struct live gone;
		uint64_t begin;

		load_hold(r);
		if (r->n_live == 0)
			return gt_err_set(err, EINVAL, "bad_table", "no task fits any node");
		gone = any_live(r);
		begin = gt_mono_ns(&r->p->clock);
		stop(r, &gone);
		(void)start(r, &t);
		time_add(r, begin);
		if (!go_on(r, i, r->p->churn))
			return gt_err_set(err, ECANCELED, "interrupted", "interrupted");
	}
	return 0;
}

static int check(const struct run *r, struct gt_err *err)
{
	const struct gt_sim_place *p = r->p;

	if (!r->policy)
		return gt_err_set(err, EINVAL, "usage", "there is no policy \"%.40s\"", p->policy);
	if (!(p->inflate > 0 && p->inflate <= GT_SIM_INFLATE_MAX))
		return gt_err_set(err, EINVAL, "usage", "inflate is above 0 and at most %g",
				  GT_SIM_INFLATE_MAX);
	if (p->copies == 0 || p->copies > GT_SCHED_NODES_MAX / r->c->n_nodes)
		return gt_err_set(err, EINVAL, "usage",
				  "%u copies of %zu nodes; %d nodes are allowed", p->copies,
				  r->c->n_nodes, GT_SCHED_NODES_MAX);
	if (p->churn > GT_SIM_TASKS_MAX)
		return gt_err_set(err, EINVAL, "usage", "at most %d pairs", GT_SIM_TASKS_MAX);
	return 0;
}

static int run(struct run *r, struct gt_err *err)
{
	int code = tasks_draw(r, err);

	if (code < 0)
		return code;
	r->times = gt_alloc_array(r->p->churn ? r->p->churn : r->n_tasks, sizeof(*r->times));
	code = r->policy->open(r->policy, &r->fleet, &r->placer, err);
	if (code < 0)
		return code;
	code = r->p->churn ? churn(r, err) : fill(r, err);
	r->policy->close(r->placer);
	if (code == 0)
		times_sum(r);
	return code;
}

int gt_sim_place_run(const struct gt_sim_cluster *c, const struct gt_sim_place *p,
		     struct gt_sim_placed *ret, struct gt_err *err)
{
	struct gt_sim_placed out = { .hash = 0xcbf29ce484222325ULL };
	struct run r = { .c = c,
			 .p = p,
			 .policy = gt_sim_policy_find(p->policy),
			 .seed = p->seed,
			 .ret = &out };
	int code = check(&r, err);
	uint32_t *order;

	if (code < 0)
		return code;
	for (size_t i = 0; i < GT_SIM_PERCENTS; i++)
		out.allocation[i] = -1;
	r.rnd = gt_rand_seeded(&r.seed);
	r.capacity = c->gpus * p->copies * GT_SCHED_GPU_MILLI;
	order = nodes_shuffle(&r, c->n_nodes * p->copies);
	r.fleet = (struct sim_fleet){
		.c = c, .order = order, .n = c->n_nodes * p->copies, .rnd = r.rnd
	};
	code = run(&r, err);
	free(r.tasks);
	free(r.times);
	free(r.live);
	free(order);
	if (code == 0)
		*ret = out;
	return code;
}
