/* learned.c - what the autoscaler has learned, saved and taken up again. */
#include <gantry/control/learned.h>
#include <gantry/scale/learned.h>

#include "control_priv.h"

void gt_control_learned_save(const struct gt_control *c, bool final, struct gt_buf *out)
{
	const struct gt_learned_head head = { .now_ns = gt_ctl_now(c),
					      .wall_ms = gt_wall_ms(&c->ports.clock),
					      .final = final };
	const struct gt_ctl_live *live;

	gt_learned_begin(out, &head, c->pool);
	DL_FOREACH (c->lives, live)
		if (!gt_learned_add(out, gt_ctl_name(live->f), live->start_ms, live->scale))
			break;
	gt_learned_end(out);
}

struct load {
	struct gt_control *c;
	bool final;
};

static void take(const struct gt_learned_function *l, void *arg)
{
	struct load *load = arg;
	struct gt_ctl_function *f = gt_ctl_function_find(load->c, l->name);
	struct gt_ctl_live *live = f ? gt_ctl_live(load->c, f) : NULL;

	if (!live) { /* deleted meanwhile */
		gt_scale_free(l->scale);
		return;
	}
	gt_scale_free(live->scale);
	live->scale = l->scale;
	live->start_ms = GT_MAX(l->start_ms, 1ULL);
	/* For the start alone: what idle replicas are kept for was saved. */
	live->holds_known = load->final && !l->busy;
}

int gt_control_learned_load(struct gt_control *c, const void *data, size_t len, struct gt_err *err)
{
	uint64_t wall_ms = gt_wall_ms(&c->ports.clock);
	struct gt_learned_head head;
	struct load load = { .c = c };
	struct gt_scale_pool *pool;
	int r = gt_learned_head_read(data, len, &head, err);

	if (r < 0)
		return r;
	load.final = head.final;
	/* A clock that was set back meanwhile: as if no time had passed. */
	uint64_t elapsed_ms = wall_ms > head.wall_ms ? wall_ms - head.wall_ms : 0;

	r = gt_learned_read(data, len, gt_ctl_now(c),
			    GT_MIN(elapsed_ms, UINT64_MAX / 8 / GT_NS_PER_MS) * GT_NS_PER_MS, take,
			    &load, &pool, err);
	if (r < 0)
		return r;
	gt_scale_pool_free(c->pool);
	c->pool = pool;
	return 0;
}
