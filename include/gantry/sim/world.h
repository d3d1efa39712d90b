/* sim/world.h - a virtual fleet around the real control, sched and scale: nodes, gateways with
 * callers, a store, and time. It backs `gantry simulate cluster` and the tests in tests/sim.
 *
 * One thread, one seed: the same configuration and calls give the same world, bit for bit
 * (gt_world_hash). Nothing real is touched. Times are nanoseconds of the world's own clock, which
 * starts at GT_WORLD_START_NS. After a rule was broken (gt_world_broken) time stands still. */
#ifndef GANTRY_SIM_WORLD_H
#define GANTRY_SIM_WORLD_H

#include <gantry/control/control.h>

#define GT_WORLD_START_NS (1000 * GT_NS_PER_S)

struct gt_world;

struct gt_world_config {
	uint64_t seed;
	uint32_t nodes, gateways; /* at least one each */
	uint64_t node_cpu_milli, node_memory_bytes;
	uint32_t node_gpus;     /* at most GT_SCHED_GPUS_MAX; they are called "sim" */
	uint64_t gpu_bytes;     /* of each; 0 = 80 GiB */
	uint64_t parking_bytes; /* of a node's memory, for parked replicas */
	uint64_t delay_us;      /* a message takes up to so long; 0 = 5000 */
	uint64_t node_lost_ms;  /* as gt_control_config */
	/* Check every rule after every step: for small worlds. Else those that cost time are
	 * checked once in a minute of the world. */
	bool strict;
	/* Nodes are members, whom control expects after a start, and report once a second. */
	bool members;
	bool tasks; /* there are durable calls: a table of them, and leases of gateways */
};

/* What a revision is like: its spec, and how its process behaves. Travels to the nodes in the
 * spec's text, as any spec does. */
struct gt_world_kind {
	uint32_t start_least_ms, start_most_ms; /* until it answers: evenly between the two */
	uint32_t fail_permille;                 /* of the starts */
	uint32_t crash_permille;                /* of the ready ones, within 90 s */
	uint32_t crash_mean_s; /* of all ready ones, evenly in 0..2 of it; 0 = never */
	uint32_t min, max, target, concurrency, idle_ms, drain_ms, memory_mib;
	uint32_t gpus, gpu_milli;      /* so many, of each so much (of 1000); gpus 0 = none */
	uint32_t gang, gang_spread;    /* members of each; 0 = none; enum gt_gang_spread */
	uint32_t queue, wait_ms;       /* calls that may wait, and for how long */
	uint32_t park_after_ms;        /* idle ones are parked after so long; 0 = never */
	uint32_t park_ms, unpark_ms;   /* at most, each way */
	uint32_t park_refuse_permille; /* of the tries: it stays ready */
	uint32_t unpark_fail_permille; /* of the ways back: it is killed */
	uint32_t stop_after_ms, lost_after_ms, reconcile; /* disconnect; 0 = as without it */
	uint32_t serial;                                  /* makes texts differ */
};

struct gt_world *gt_world_new(const struct gt_world_config *config);
struct gt_world *gt_world_free(struct gt_world *w); /* NULL is fine; returns NULL */
GT_CLEANUP_TYPE(world, struct gt_world *, gt_world_free)

uint64_t gt_world_now(const struct gt_world *w);
uint64_t gt_world_hash(const struct gt_world *w); /* of all that control was told and said */
/* NULL while its process is down. For reading. */
struct gt_control *gt_world_control(struct gt_world *w);
/* Lets time pass until then, or until a rule is broken. Calls of `source` come on the way: next_ns
 * tells when (UINT64_MAX = no more), fire makes it happen. NULL = none. */
struct gt_world_source {
	uint64_t (*next_ns)(void *arg);
	void (*fire)(void *arg);
	void *arg;
};
void gt_world_run(struct gt_world *w, uint64_t until_ns, const struct gt_world_source *source);

/* The rule that was broken first, NULL while all hold. rule: "capacity", "bounds", "start",
 * "calls", "parked", "owner", "books", "gang", "epoch", "ticks", "list", "wanted", "wait",
 * "cordon", "results", "fence". */
struct gt_world_broken {
	char rule[16], text[600];
	uint64_t at_ns, step;
};
const struct gt_world_broken *gt_world_broken(const struct gt_world *w);

/* ---- functions and their callers ---- */
/* Index of a new function, which is not deployed yet. The name must be a new one. */
size_t gt_world_function(struct gt_world *w, const char *name);
void gt_world_deploy(struct gt_world *w, size_t fn, const struct gt_world_kind *kind);
void gt_world_delete(struct gt_world *w, size_t fn, bool force);
/* Puts the row into the store and control at once, as if it had been deployed before: no message
 * is sent. For the setting up of large worlds, before the first run. */
void gt_world_load(struct gt_world *w, size_t fn, const struct gt_world_kind *kind);
/* One call, now, through a random gateway. */
void gt_world_call(struct gt_world *w, size_t fn, uint64_t service_ns);
/* One durable call, now, if control runs; it takes up to service_ns each time that it is run. */
void gt_world_task(struct gt_world *w, size_t fn, uint64_t service_ns);
/* A call of the function every so many seconds, from now on (where the world has durable calls, and
 * control is up). */
void gt_world_schedule(struct gt_world *w, size_t fn, uint64_t every_s);
/* Due times that are late by more than that and have no call; *ret_made: those that have. */
uint64_t gt_world_schedules_missed(const struct gt_world *w, uint64_t late_s, uint64_t *ret_made);
uint64_t gt_world_tasks_open(const struct gt_world *w); /* that have not ended */
/* Calls from now on: `every_ms` apart on average (steady: exactly), over all gateways; 0 = none. */
void gt_world_callers(struct gt_world *w, size_t fn, uint32_t every_ms, uint32_t service_ms,
		      bool steady);

/* ---- faults ---- */
void gt_world_control_kill(struct gt_world *w); /* it comes back within 1.5 s */
void gt_world_store_fail(struct gt_world *w, unsigned permille, uint64_t slow_ms);
void gt_world_posts_fail(struct gt_world *w, unsigned permille); /* lost, or their answer */
void gt_world_wall_jump(struct gt_world *w, int64_t ms);
/* The process ends and comes back; what runs on the node goes on. */
void gt_world_agent_crash(struct gt_world *w, size_t node, uint64_t back_ms);
/* What an operator says of a node; control may refuse it, or be away. */
void gt_world_node_set(struct gt_world *w, size_t node, enum gt_node_duty duty,
		       uint64_t deadline_ms);
void gt_world_node_reboot(struct gt_world *w, size_t node, uint64_t back_ms);
/* Nothing passes for so long: from the node to control, and from control to the node. */
void gt_world_node_cut(struct gt_world *w, size_t node, uint64_t up_ms, uint64_t down_ms);
void gt_world_gateway_crash(struct gt_world *w, size_t gateway, uint64_t back_ms);
void gt_world_gateway_cut(struct gt_world *w, size_t gateway, uint64_t up_ms, uint64_t down_ms);
/* From now on nothing goes wrong by itself: a call may wait and a function may lack replicas for
 * wait_ms at most, else the rules "wait" and "wanted" are broken. UINT64_MAX = no such rule. */
void gt_world_calm(struct gt_world *w, uint64_t wait_ms);

/* ---- figures ---- */
struct gt_world_counts {
	uint64_t accepted, served, refused, lost; /* refused: also those never accepted */
	uint64_t turned_away;                     /* of the refused: never accepted */
	uint64_t waiting, running;                /* now */
};
struct gt_world_stats {
	struct gt_world_counts calls;
	uint64_t tasks_accepted; /* durable calls that were acknowledged */
	uint64_t cold;           /* served by a replica that was not ready when they came */
	double wait_sum_s;
	uint64_t wait_max_ns;
	uint64_t starts, failed_starts, crashes, nodes_lost, control_starts;
	uint64_t parks, unparks, park_refusals, unpark_fails;
	uint64_t steps, checks, decisions, scale_events;
	uint64_t admissions; /* times that a gang was seen in a route, in strict worlds */
	/* now, and the time they add up to */
	uint32_t held, ready, busy; /* replicas that hold their memory; answer; have a call */
	uint32_t gpus_milli;        /* given to replicas */
	double held_s, busy_s, gpus_s;
	uint32_t peak_held;
	uint32_t nodes_up;
};
void gt_world_stats(struct gt_world *w, struct gt_world_stats *ret);
struct gt_world_counts gt_world_counts(const struct gt_world *w, size_t fn);
/* Of the waits of calls that were started: at most 1/64 above the true one. */
uint64_t gt_world_wait_ns(const struct gt_world *w, double quantile);

#endif
