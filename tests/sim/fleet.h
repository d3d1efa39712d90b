/* fleet.h - one seed of a fleet under faults: a storm, then calm, then quiet. */
#ifndef TEST_SIM_FLEET_H
#define TEST_SIM_FLEET_H

#include "../../src/sim/world_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define FLEET_FNS 5

struct gt_world *fleet_new(uint64_t seed, const char *sabotage);
struct gt_world_kind fleet_kind(struct gt_world *w, bool healthy);
/* All three parts, or up to the first broken rule. The world's hash. */
uint64_t fleet_run(struct gt_world *w);
void fleet_pass(struct gt_world *w, uint64_t seconds);
/* A small world with durable calls: f0, f1 ... of at most `max` replicas each, on two nodes. */
struct gt_world *fleet_tasks_new(uint64_t seed, const char *sabotage, unsigned gateways,
				 unsigned fns, unsigned max);
uint64_t fleet_env(const char *name, uint64_t otherwise);

#endif
