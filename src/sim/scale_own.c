/* scale_own.c - the policies "gantry" and "kpa": the daemon's own rules. */
#include "sim_scale.h"

#include <gantry/scale/scale.h>

#include <stdlib.h>

static void own_open(struct sim *s)
{
	s->shared = gt_scale_pool_new();
}

static void own_close(struct sim *s)
{
	gt_scale_pool_free(s->shared);
}

static void own_fn_close(struct fn *f)
{
	gt_scale_free(f->policy);
}

static void own_decide(struct sim *s, struct fn *f, enum gt_scale_policy policy, struct order *ret)
{
	const struct gt_sim_call *oldest = f->queue.n
						   ? &s->load->calls[f->queue.calls[f->queue.first]]
						   : NULL;
	const struct gt_scale_in in = {
		.now_ns = s->now_ns,
		.params = { .policy = policy,
			    .target = s->run->slots,
			    .max = UINT32_MAX - 1,
			    .idle_ms = 60000,
			    .price = s->run->price },
		.in_flight = f->in_flight,
		.queued = (uint32_t)f->queue.n,
		.oldest_wait_ns = oldest ? s->now_ns - oldest->arrival_ns : 0,
		.ready = f->n_ready,
		.starting = f->n_starting,
		.arrivals = f->arrivals,
		.completions = f->completions,
		.service_ns = f->service_ns,
		.starts = f->became_ready,
		.start_ns = f->start_ns,
		.renew = f->became_ready ? f->n_ready : 0,
	};
	struct gt_scale_out out;

	if (!f->policy)
		f->policy = gt_scale_new();
	gt_scale_decide(f->policy, s->shared, &in, &out);
	ret->need = out.need;
	ret->wanted = out.wanted;
	ret->due_ns = out.due_ns;
}

static void gantry_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	(void)cause;
	own_decide(s, f, GT_SCALE_GANTRY, ret);
}

static void kpa_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	(void)cause;
	own_decide(s, f, GT_SCALE_KPA, ret);
	ret->any = true;
}

const struct policy gt_sim_gantry = {
	.name = "gantry",
	.open = own_open,
	.close = own_close,
	.decide = gantry_decide,
	.fn_close = own_fn_close,
};

const struct policy gt_sim_kpa = {
	.name = "kpa",
	.open = own_open,
	.close = own_close,
	.decide = kpa_decide,
	.fn_close = own_fn_close,
};
