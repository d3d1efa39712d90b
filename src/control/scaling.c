/* scaling.c - what the scale room is told of a function, and what it decided. Samples are collected
 * between two decisions: control hears of calls in lumps, not one by one. */
#include "control_priv.h"

#include <stdlib.h>
#include <string.h>

/* Counters of a gateway only grow; one that is lower than before belongs to a gateway that has
 * started again, from 0. */
static uint64_t grown(uint64_t was, uint64_t is)
{
	return is < was ? is : is - was;
}

static uint64_t slots_given(const struct gt_demand_function *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < GT_LEN(f->wait.n); i++)
		n += f->wait.n[i];
	return n;
}

/* Calls that had a slot and gave it back. in_flight may be a peak: then they show in the next post.
 */
static uint64_t slots_freed(const struct gt_demand_function *f)
{
	uint64_t given = slots_given(f);

	return given > f->in_flight ? given - f->in_flight : 0;
}

/* What a gateway counts may be anything: sums end at the largest number, and do not wrap. */
static void add_u32(uint32_t *to, uint64_t n)
{
	*to = (uint32_t)GT_MIN(*to + GT_MIN(n, (uint64_t)UINT32_MAX), (uint64_t)UINT32_MAX);
}

static void add_us(uint64_t *to_ns, uint64_t us)
{
	uint64_t ns = GT_MIN(us, UINT64_MAX / GT_NS_PER_US) * GT_NS_PER_US;

	*to_ns += GT_MIN(ns, UINT64_MAX - *to_ns);
}

void gt_ctl_sample_traffic(struct gt_ctl_live *live, const struct gt_demand_function *was,
			   const struct gt_demand_function *is)
{
	add_u32(&live->sample.arrivals, grown(was->calls, is->calls));
	add_u32(&live->sample.completions, grown(slots_freed(was), slots_freed(is)));
	add_us(&live->sample.service_ns, grown(was->busy_us, is->busy_us));
}

void gt_ctl_sample_start(struct gt_ctl_live *live, uint64_t start_ns)
{
	add_u32(&live->sample.starts, 1);
	live->sample.start_ns += start_ns;
	live->starts_ms[live->n_starts++ % CTL_STARTS_KEPT] = (uint32_t)GT_MIN(
		start_ns / GT_NS_PER_MS, (uint64_t)UINT32_MAX);
	if (live->n_starts == 2 * CTL_STARTS_KEPT) /* a ring that is full stays so */
		live->n_starts = CTL_STARTS_KEPT;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t gt_ctl_start_high_ms(const struct gt_ctl_live *live)
{
	uint32_t sorted[CTL_STARTS_KEPT];
	size_t n = live ? GT_MIN((size_t)live->n_starts, GT_LEN(sorted)) : 0;

	if (!n) { /* what others teach, or a start of before this control */
		double s = live ? live->decision.start_s : 0;

		return GT_MAX(live && s > 0 ? (uint64_t)(GT_MIN(s, 1e6) * 1000) : 10000ULL,
			      live ? live->start_ms : 0);
	}
	memcpy(sorted, live->starts_ms, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_size);
	return sorted[(95 * n + 99) / 100 - 1];
}

static struct gt_scale_params params_of(const struct gt_ctl_live *live)
{
	const struct gt_spec *spec = live->f->rev->spec;
	/* What is parked is back in a moment: there is no hold to learn. */
	bool parks = spec->park.method != GT_PARK_STOP && live->parking.able;
	bool stated = spec->scale.idle_ms != GT_IDLE_LEARNED || parks;
	uint64_t idle_ms = parks ? spec->park.after_ms : spec->scale.idle_ms;
	/* What a replica without a GPU holds is cheap, and its start short: by the price it would
	 * go at once, and each call meet a cold one. */
	bool learned = !stated && spec->resources.gpu.count > 0;

	return (struct gt_scale_params){
		.policy = spec->scale_policy,
		.target = spec->scale.target,
		.min = spec->scale.min,
		.max = spec->scale.max,
		.buffer = spec->scale.buffer,
		.idle_stated = !learned,
		.idle_ms = stated ? idle_ms : GT_DEFAULT_IDLE_MS,
		.price = spec->scale.delay_price,
	};
}

static uint64_t oldest_wait_ns(const struct gt_ctl_live *live)
{
	const struct gt_ctl_traffic *t;
	uint64_t ms = 0;

	DL_FOREACH (live->traffic, t)
		if (t->said.queued > 0)
			ms = GT_MAX(ms, t->said.oldest_wait_ms);
	return GT_MIN(ms, UINT64_MAX / GT_NS_PER_MS) * GT_NS_PER_MS;
}

void gt_ctl_scale(struct gt_control *c, struct gt_ctl_live *live, uint32_t ready, uint32_t starting,
		  struct gt_scale_in *ret_in)
{
	gt_ctl_demand_sum(c, live);
	*ret_in = (struct gt_scale_in){
		.now_ns = gt_ctl_now(c),
		.params = params_of(live),
		.in_flight = live->in_flight,
		.queued = live->queued,
		.booked = live->booked,
		.oldest_wait_ns = oldest_wait_ns(live),
		.ready = ready,
		.starting = starting,
		.arrivals = live->sample.arrivals,
		.completions = live->sample.completions,
		.service_ns = live->sample.service_ns,
		.starts = live->sample.starts,
		.start_ns = live->sample.start_ns,
		.renew = live->sample.renew,
	};
	live->sample = (struct gt_ctl_sample){ 0 };
	gt_scale_decide(live->scale, c->pool, ret_in, &live->decision);
	if (c->ports.on_scale)
		c->ports.on_scale(c->ports.ctx, gt_ctl_name(live->f), ret_in, &live->decision);
	if (live->shadow)
		gt_scale_shadow_feed(live->shadow, c->shadow_pool, ret_in, &live->decision);
}

int gt_control_bills(struct gt_control *c, const char *name, struct gt_scale_bill *ret_live,
		     struct gt_scale_bill *ret_shadow, struct gt_err *err)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, name);

	if (!f)
		return gt_err_set(err, ENOENT, "function_not_found", "there is no function %s",
				  name);
	if (!c->candidate.on)
		return gt_err_set(err, ENOENT, "not_found",
				  "no candidate runs beside the live policy: set shadow in "
				  "[control] of the daemon's configuration");
	*ret_live = *ret_shadow = (struct gt_scale_bill){ 0 };
	if (f->live)
		gt_scale_shadow_bills(f->live->shadow, ret_live, ret_shadow);
	return 0;
}

const char *gt_control_candidate(const struct gt_control *c)
{
	return c->candidate.text;
}
