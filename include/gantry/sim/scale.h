/* sim/scale.h - a discrete-event simulation of autoscaling over a recorded load.
 *
 * Functions are independent, machines unlimited, one GPU a replica, `slots` calls at once on a
 * replica, one first-come-first-served queue a function. A free slot of the most recently used
 * replica takes the call. A replica costs from its start's order to its end; one that is told to
 * stop while it serves drains. At equal times completions come first, then replicas that become
 * ready, then timers, then arrivals. Deterministic to the bit; time in whole nanoseconds.
 *
 * The policies "gantry" and "kpa" are the daemon's own (scale/scale.h); the others are what is
 * found elsewhere, and live here only:
 *	fixed:S	a start for each call that finds no slot; a replica ends when it was idle for S s
 *	hist	the hybrid histogram of "Serverless in the Wild" (ATC'20): 1 min bins over 4 h
 *	ray	Ray Serve's (autoscaling_policy.py), min 0, target = slots
 *	keda	KEDA's and the horizontal pod autoscaler's defaults */
#ifndef GANTRY_SIM_SCALE_H
#define GANTRY_SIM_SCALE_H

#include <gantry/base/buf.h>
#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/base/err.h>

#define GT_SIM_FUNCTIONS_MAX 100000
#define GT_SIM_CALLS_MAX     20000000
#define GT_SIM_SLOTS_MAX     10000
#define GT_SIM_SECONDS_MAX   1e9 /* of an arrival, a service time or a start */

/* ---- inputs ---- */
struct gt_sim_call {
	uint64_t arrival_ns, service_ns;
	uint32_t function; /* dense, in order of the number in the file */
};
struct gt_sim_load {
	struct gt_sim_call *calls; /* by arrival */
	size_t n_calls;
	uint64_t *ids; /* the functions' numbers in the file */
	size_t n_functions;
	uint64_t hash; /* of the file */
};
/* CSV with columns function, arrival_s, service_s (table.h). A service under 1 ms counts as 1 ms.
 * -EINVAL when arrivals are not in order. */
GT_MUST_USE int gt_sim_load_read(const char *path, struct gt_sim_load *ret, struct gt_err *err);
void gt_sim_load_fini(struct gt_sim_load *l);
static inline void gt_cleanup_sim_load(struct gt_sim_load *l)
{
	gt_sim_load_fini(l);
}

/* How long starts take: one base for each function, out of sorted samples by a hash of its number,
 * and +-10% for each start of it by another. Never drawn anew for each start alone: two starts at
 * once would then look better than they are. */
struct gt_sim_cold {
	double *samples; /* sorted */
	size_t n;        /* 1: the same base for all */
	uint64_t hash;   /* of the file; 0 = a number */
	double factor;   /* multiplies them all */
};
/* `text` is a number of seconds, or the path of a file with one number a line, plain or gzip. */
GT_MUST_USE int gt_sim_cold_read(const char *text, struct gt_sim_cold *ret, struct gt_err *err);
void gt_sim_cold_fini(struct gt_sim_cold *c);
static inline void gt_cleanup_sim_cold(struct gt_sim_cold *c)
{
	gt_sim_cold_fini(c);
}
double gt_sim_cold_base_s(const struct gt_sim_cold *c, uint64_t function);
uint64_t gt_sim_cold_ns(const struct gt_sim_cold *c, uint64_t function, uint64_t i);

/* ---- a run ---- */
struct gt_sim_point { /* of the plot: at the end of each step */
	double t_s;
	uint32_t ready, starting, serving, queued;
};

struct gt_sim_scale {
	const char *policy;
	uint32_t slots;
	double slo_s, skip_s; /* calls that arrived before skip_s are served but not counted */
	double price;         /* of gantry's policy, and of J in the result */
	/* May be NULL. Called now and then: which part of the calls has arrived. */
	void (*progress)(double part, void *arg);
	void *arg;
	const struct gt_clock *clock; /* for decide_s; NULL = it is not measured */
	struct gt_sim_point *points;  /* NULL: none are wanted */
	size_t n_points;
};

struct gt_sim_result {
	uint64_t calls, counted, cold, starts;
	double gpu_hours, busy_hours, waste; /* waste: part of gpu_hours without a call */
	double mean_delay_s, p50_delay_s, p90_delay_s, p99_delay_s, max_delay_s;
	double slo, cold_fraction; /* parts of the counted calls, 0..1 */
	double j20;                /* GPU-hours + 20 x hours that calls waited */
	double zero_hours;         /* bound: just enough replicas at every moment, free starts */
	double clairvoyant_hours;  /* bound: no wait, the future known: min(gap, start) a gap */
	double end_s;
	uint64_t decisions;
	double decide_s; /* processor time of all decisions; the only member that varies */
};
GT_MUST_USE int gt_sim_scale_run(const struct gt_sim_scale *run, const struct gt_sim_load *load,
				 const struct gt_sim_cold *cold, struct gt_sim_result *ret,
				 struct gt_err *err);
/* run->points as SVG text: replicas, those that serve, calls that wait. */
void gt_sim_scale_svg(const struct gt_sim_scale *run, struct gt_buf *out);
/* -EINVAL lists the policies there are. */
GT_MUST_USE int gt_sim_policy_check(const char *policy, struct gt_err *err);

#endif
