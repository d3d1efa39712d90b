/* fleet.h - small fleets for the tests. */
#ifndef TEST_SCHED_FLEET_H
#define TEST_SCHED_FLEET_H

#include <gantry/sched/sched.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static inline uint8_t model(struct gt_sched *s, const char *name)
{
	uint8_t id;

	assert_int_equal(gt_sched_model(s, name, &id, NULL), 0);
	return id;
}

static inline uint32_t label(struct gt_sched *s, const char *name)
{
	uint32_t id;

	assert_int_equal(gt_sched_label(s, name, &id, NULL), 0);
	return id;
}

/* A node that is up, with `gpus` of one kind, 64 cpus and 256 GiB. */
static inline struct gt_sched_node box(struct gt_sched *s, const char *name, size_t gpus,
				       const char *kind, uint64_t vram_bytes)
{
	struct gt_sched_node n = { .name = name,
				   .state = GT_SCHED_UP,
				   .cpu_milli = 64000,
				   .memory_bytes = 256 * GT_GIB,
				   .n_gpus = gpus };

	for (size_t i = 0; i < gpus; i++)
		n.gpus[i] = (struct gt_sched_gpu){ .model = model(s, kind),
						   .vram_bytes = vram_bytes };
	return n;
}

static inline void add(struct gt_sched *s, uint32_t index, const struct gt_sched_node *n)
{
	assert_int_equal(gt_sched_node_set(s, index, n, NULL), 0);
}

/* The node that takes it; -1 = none. */
static inline int placed(struct gt_sched *s, const struct gt_sched_want *want,
			 struct gt_sched_spot *spot)
{
	struct gt_sched_spot own;

	spot = spot ? spot : &own;
	return gt_sched_place(s, want, spot, NULL) == 0 ? (int)spot->node : -1;
}

#endif
