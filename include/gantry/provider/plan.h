/* provider/plan.h - how many more hosts, of which provider, would give every replica a place that
 * has none. Pure: no I/O, no clock, no randomness. The scheduler itself places them, in a fleet of
 * hosts that do not exist yet. */
#ifndef GANTRY_PROVIDER_PLAN_H
#define GANTRY_PROVIDER_PLAN_H

#include <gantry/model/provider.h>
#include <gantry/model/spec.h>

#define GT_PLAN_NEW_MAX  64   /* hosts asked for by one plan; the next one asks for the rest */
#define GT_PLAN_EACH_MAX 1024 /* replicas of one function that are looked at */

/* Replicas of one function (or gangs) for which no node has room. */
struct gt_plan_want {
	const struct gt_spec *spec;
	uint32_t function; /* number of it, not 0 */
	uint32_t missing;
	uint32_t placed; /* out: so many have room on hosts that come, or are asked for now */
};

/* In order of preference. */
struct gt_plan_provider {
	const struct gt_offer *offer;
	uint32_t room; /* how many hosts may be asked for */
};

/* One that is not a node yet, or that leaves and may still be called back. */
struct gt_plan_host {
	uint32_t provider;
	bool leaves;
	bool needed; /* out */
};

struct gt_plan {
	uint32_t memory_overcommit, cpu_overcommit; /* of nodes */
	struct gt_plan_want *wants;
	size_t n_wants;
	const struct gt_plan_provider *providers;
	size_t n_providers;
	struct gt_plan_host *hosts;
	size_t n_hosts;
	/* Out: whom to ask, and for which want. */
	struct gt_plan_new {
		uint32_t provider, want;
	} news[GT_PLAN_NEW_MAX];
	size_t n_news;
};

/* Fills in what is marked as out. Wants are served in their order; each replica goes to a host that
 * comes anyway, else to one that leaves, else to a new one of the first provider that has room and
 * whose offer takes it. A gang is placed whole or not at all. */
void gt_plan_run(struct gt_plan *p);

#endif
