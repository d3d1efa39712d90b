/* sim_scale.h - what the simulation of autoscaling and its policies share. */
#ifndef GANTRY_SIM_SIM_SCALE_H
#define GANTRY_SIM_SIM_SCALE_H

#include <gantry/sim/scale.h>

#define NEVER UINT64_MAX

enum replica_state { STARTING, READY, DRAINING };

struct replica {
	enum replica_state state;
	uint32_t fn, used;                      /* slots */
	uint64_t ordered_ns, ready_ns, idle_ns; /* idle since, when used is 0 */
	uint64_t serial;
	struct replica *prev, *next; /* of the function: recently used first, starting ones last */
};

struct queue {
	uint32_t *calls; /* ring of indices */
	size_t first, n, cap;
};

struct fn {
	uint32_t index;
	uint32_t n_ready, n_starting, in_flight;
	uint64_t n_starts;
	struct replica *replicas;
	struct queue queue;
	void *policy; /* its state */
	uint64_t due_ns;
	/* Since the last decision. */
	uint32_t arrivals, completions, became_ready;
	uint64_t service_ns, start_ns;
};

struct sim {
	const struct gt_sim_scale *run;
	const struct gt_sim_load *load;
	const struct gt_sim_cold *cold;
	const struct policy *policy;
	double param; /* of the policy: fixed's seconds */
	void *shared; /* the policy's, for all functions */
	uint64_t now_ns;
	struct fn *fns;
	struct event *heap;
	size_t n_heap, cap_heap;
	uint64_t serial;
	double *delays_s; /* of counted calls */
	struct gt_sim_result res;
	uint64_t gpu_ns, busy_ns; /* both fit 500 years of one replica */
	size_t next_call;
	uint64_t decide_cpu_ns;
	size_t next_point;
	uint32_t now_ready, now_starting, now_serving;
	uint64_t now_queued;
};

/* What a policy wants of one function. */
struct order {
	uint32_t need;    /* start while ready + starting is below */
	uint32_t wanted;  /* stop while there are more */
	uint64_t due_ns;  /* ask again then */
	uint64_t idle_ns; /* != 0: stop what was idle for so long, whatever `wanted` is */
	bool any; /* stop starting ones first, then the newest, busy or not; else only idle ready
		     ones, least recently used first */
};

enum cause { ARRIVAL, COMPLETION, BECAME_READY, TIMER };

struct policy {
	const char *name; /* "fixed:" takes a number behind */
	void (*open)(struct sim *s);
	void (*close)(struct sim *s);
	void (*decide)(struct sim *s, struct fn *f, enum cause cause, struct order *ret);
	void (*fn_close)(struct fn *f);
};
extern const struct policy gt_sim_gantry, gt_sim_kpa, gt_sim_fixed, gt_sim_hist, gt_sim_ray,
	gt_sim_keda;

static inline double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}
static inline uint32_t div_up(uint64_t n, uint32_t by)
{
	return (uint32_t)((n + by - 1) / by);
}
static inline uint32_t concurrency(const struct fn *f)
{
	return f->in_flight + (uint32_t)f->queue.n;
}

void gt_sim_bounds(const struct gt_sim_load *load, const struct gt_sim_cold *cold, uint32_t slots,
		   double *zero_hours, double *clairvoyant_hours);

#endif
