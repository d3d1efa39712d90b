/* place.c - what the scheduler is told: wants out of specs, nodes out of reports. */
#include "place.h"

/* What a function states of memory and cpu are limits, and most replicas stay far below them: a
 * node takes limits up to this many times its size. */
#define MEMORY_OVERCOMMIT 4
#define CPU_OVERCOMMIT    16

struct gt_sched *gt_ctl_fleet_new(void)
{
	return gt_sched_new(&(struct gt_sched_config){ .memory_overcommit = MEMORY_OVERCOMMIT,
						       .cpu_overcommit = CPU_OVERCOMMIT });
}

/* What one replica of this revision takes. */
static void want_of(const struct gt_ctl_revision *rev, uint32_t number, struct gt_sched_want *ret)
{
	const struct gt_spec *spec = rev->spec;

	*ret = (struct gt_sched_want){ .cpu_milli = spec->resources.cpu_milli,
				       .memory_bytes = spec->resources.memory_bytes,
				       .function = number };
}

int gt_ctl_place(struct gt_control *c, struct gt_ctl_live *live, struct gt_sched_spot *ret,
		 struct gt_err *err)
{
	struct gt_sched_want want;

	want_of(live->f->rev, live->number, &want);
	return gt_sched_place(c->sched, &want, ret, err);
}

void gt_ctl_book(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_sched_want want = { 0 };

	if (r->f)
		want_of(r->rev, gt_ctl_live(c, r->f)->number, &want);
	/* A node that is known and no GPUs: nothing can be in the way. */
	(void)!gt_sched_book(c->sched, &want, r->node->index, 0, &r->spot, NULL);
}

void gt_ctl_node_tell(struct gt_control *c, const struct gt_ctl_node *node)
{
	const struct gt_sched_node told = {
		.name = node->name,
		.state = node->up && node->reported ? GT_SCHED_UP : GT_SCHED_DOWN,
		.cpu_milli = node->cpu_milli,
		.memory_bytes = node->memory_bytes,
	};

	/* Within all bounds: CTL_NODES_MAX is below the scheduler's. */
	(void)!gt_sched_node_set(c->sched, node->index, &told, NULL);
}
