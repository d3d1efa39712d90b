/* place.c - what the scheduler is told: wants out of specs, nodes out of reports. */
#include "place.h"

struct gt_sched *gt_ctl_fleet_new(void)
{
	return gt_sched_new(&(struct gt_sched_config){ .memory_overcommit = CTL_MEMORY_OVERCOMMIT,
						       .cpu_overcommit = CTL_CPU_OVERCOMMIT,
						       .learn = true });
}

/* What one replica of this revision takes. */
static int want_of(struct gt_control *c, struct gt_ctl_revision *rev, uint32_t number,
		   struct gt_sched_want *ret, struct gt_err *err)
{
	const struct gt_spec *spec = rev->spec;

	*ret = (struct gt_sched_want){ .cpu_milli = spec->resources.cpu_milli,
				       .memory_bytes = spec->resources.memory_bytes,
				       .exclusive = spec->isolation == GT_ISOLATION_EXCLUSIVE,
				       .owner = number,
				       .function = number };
	return gt_ctl_gpus_want(c, rev, ret, err);
}

/* Where one of this revision has served, its image is, as a rule; elsewhere it has to be got first,
 * which takes as long as it took. Likewise its weights, of which nodes tell. */
struct hints {
	struct hint {
		uint32_t node;
		bool image, weights;
		uint64_t weights_ms;
	} all[GT_SCHED_HINTS_MAX];
	size_t n;
	uint64_t pull_ms, weights_ms; /* on other nodes */
};

static struct hint *hint_get(struct hints *h, uint32_t node)
{
	size_t i = 0;

	while (i < h->n && h->all[i].node != node)
		i++;
	if (i == GT_LEN(h->all))
		return NULL;
	if (i == h->n)
		h->all[h->n++] = (struct hint){ .node = node };
	return &h->all[i];
}

/* Looks at the newest few replicas. */
static void hints_images(struct hints *h, const struct gt_ctl_replica *list, uint32_t revision)
{
	const struct gt_ctl_replica *r;
	struct hint *hint;

	DL_FOREACH (list, r) {
		if (!r->ready_ns || r->revision != revision)
			continue;
		h->pull_ms = GT_MAX(h->pull_ms, r->phases.image_us / 1000);
		hint = hint_get(h, r->node->index);
		if (!hint)
			return;
		hint->image = true;
	}
}

static void hints_weights(struct hints *h, const struct gt_control *c,
			  const struct gt_ctl_revision *rev)
{
	struct gt_ctl_weights_hint on[GT_SCHED_HINTS_MAX];
	size_t n = gt_ctl_weights_hints(c, rev, on, GT_LEN(on), &h->weights_ms);

	for (size_t i = 0; i < n; i++) {
		struct hint *hint = hint_get(h, on[i].node);

		if (!hint)
			return;
		hint->weights = true;
		hint->weights_ms = on[i].ms;
	}
}

static uint32_t short_ms(uint64_t ms)
{
	return (uint32_t)GT_MIN(ms, (uint64_t)UINT32_MAX);
}

/* The expected time to ready, where something is known of a node and elsewhere. */
static void hints_add_up(const struct hints *h, uint64_t start_ms,
			 struct gt_sched_hint ret[GT_SCHED_HINTS_MAX], struct gt_sched_want *want)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct hint *hint = &h->all[i];
		uint64_t ms = start_ms + (hint->image ? 0 : h->pull_ms) +
			      (hint->weights ? hint->weights_ms : h->weights_ms);

		ret[i] = (struct gt_sched_hint){ .node = hint->node, .ms = short_ms(ms) };
	}
	want->hints = ret;
	want->n_hints = h->n;
	want->usual_ms = short_ms(start_ms + h->pull_ms + h->weights_ms);
}

/* `list` must live as long as the want. */
static int want_next(struct gt_control *c, struct gt_ctl_live *live,
		     struct gt_sched_hint list[GT_SCHED_HINTS_MAX], struct gt_sched_want *want,
		     struct gt_err *err)
{
	struct hints hints = { .n = 0 };
	int r = want_of(c, live->f->rev, live->number, want, err);

	if (r < 0 || c->n_nodes < 2)
		return r;
	hints_images(&hints, live->replicas, live->f->rev->row.revision);
	hints_images(&hints, live->ended, live->f->rev->row.revision);
	if (live->f->rev->spec->weights.n_paths > 0)
		hints_weights(&hints, c, live->f->rev);
	hints_add_up(&hints, live->start_ms, list, want);
	return 0;
}

int gt_ctl_place(struct gt_control *c, struct gt_ctl_live *live, struct gt_sched_spot *ret,
		 struct gt_sched_look *look, struct gt_err *err)
{
	struct gt_sched_hint list[GT_SCHED_HINTS_MAX];
	struct gt_sched_want want;
	int r = want_next(c, live, list, &want, err);

	if (r == 0 && look)
		gt_sched_look(c->sched, &want, look);
	return r < 0 ? r : gt_sched_place(c->sched, &want, ret, err);
}

int gt_ctl_place_gang(struct gt_control *c, struct gt_ctl_live *live, uint32_t size,
		      struct gt_sched_spot *ret, struct gt_sched_look *look, struct gt_err *err)
{
	static const enum gt_sched_spread spreads[] = { [GT_GANG_NODE] = GT_SCHED_TOGETHER,
							[GT_GANG_NODES] = GT_SCHED_APART,
							[GT_GANG_ANY] = GT_SCHED_ANYWHERE };
	struct gt_sched_hint list[GT_SCHED_HINTS_MAX];
	struct gt_sched_want wants[GT_GANG_MAX];
	int r = want_next(c, live, list, &wants[0], err);

	if (r < 0)
		return r;
	if (look)
		gt_sched_look(c->sched, &wants[0], look);
	for (uint32_t i = 1; i < size; i++)
		wants[i] = wants[0];
	return gt_sched_place_gang(c->sched, wants, size,
				   spreads[gt_spec_spread(live->f->rev->spec)], ret, err);
}

void gt_ctl_rehold(struct gt_control *c, const struct gt_sched_spot *was, struct gt_sched_spot *ret)
{
	const struct gt_sched_want want = {
		.cpu_milli = was->cpu_milli,
		.memory_bytes = was->memory_bytes,
		.gpus = (uint32_t)__builtin_popcount(was->gpu_mask),
		.gpu_milli = was->gpu_milli,
		.gpu_bytes = was->gpu_mib * GT_MIB,
		.exclusive = was->exclusive,
		.owner = was->owner,
		.function = was->function,
	};

	/* Where it can not be, it is not held. */
	if (was->generation)
		(void)!gt_sched_book(c->sched, &want, was->node, was->gpu_mask, ret, NULL);
}

/* It is there, whatever its function asks for today. One that is parked has no GPU; what was in a
 * GPU's memory is in its node's. */
static uint32_t want_of_found(struct gt_control *c, const struct gt_ctl_replica *r,
			      struct gt_sched_want *ret)
{
	uint32_t mask;

	*ret = (struct gt_sched_want){ 0 };
	if (r->f)
		(void)!want_of(c, r->rev, gt_ctl_live(c, r->f)->number, ret, NULL);
	ret->cpu_milli = r->cpu_milli;
	ret->memory_bytes = r->memory_bytes;
	mask = gt_ctl_gpus_booked(r, ret);
	if (!r->off_gpu)
		return mask;
	ret->gpus = 0;
	ret->memory_bytes += gt_ctl_park_gpu_bytes(r);
	return 0;
}

int gt_ctl_book_again(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_sched_want want;
	uint32_t mask = want_of_found(c, r, &want);

	return gt_sched_book(c->sched, &want, r->node->index, mask, &r->spot, NULL);
}

void gt_ctl_book(struct gt_control *c, struct gt_ctl_replica *r)
{
	struct gt_sched_want want;
	struct gt_err err = { 0 };
	uint32_t mask = want_of_found(c, r, &want);

	want.is_there = true;
	if (gt_sched_book(c->sched, &want, r->node->index, mask, &r->spot, &err) == 0)
		return;
	/* Its node has a book of its own and does not give a GPU to two; so this one is another by
	 * now. */
	gt_ctl_event(c, "node.gpus", r->function, r->id, r->node->name, "gpu_conflict", "%s",
		     err.text);
	want.gpus = 0;
	(void)!gt_sched_book(c->sched, &want, r->node->index, 0, &r->spot, NULL);
}

void gt_ctl_node_tell(struct gt_control *c, const struct gt_ctl_node *node)
{
	struct gt_sched_node told = {
		.name = node->name,
		.state = !node->up || !node->reported || node->silent ? GT_SCHED_DOWN
			 : node->duty == GT_DUTY_ALL                  ? GT_SCHED_UP
								      : GT_SCHED_CORDONED,
		.cpu_milli = node->cpu_milli,
		.memory_bytes = node->memory_bytes,
	};
	struct gt_err err = { 0 };

	if (gt_ctl_gpus_tell(c, node, &told, &err) &&
	    gt_sched_node_set(c->sched, node->index, &told, &err) == 0)
		return;
	gt_ctl_event(c, "node.gpus", NULL, NULL, node->name, "overloaded",
		     "its GPUs are not used: %s", err.text);
	told.n_gpus = told.n_labels = 0;
	/* Within all bounds: CTL_NODES_MAX is below the scheduler's. */
	(void)!gt_sched_node_set(c->sched, node->index, &told, NULL);
}
