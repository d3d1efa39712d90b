/* scale.c - takes an input in, asks each rule, and combines what they say. */
#include "scale_priv.h"

#include <stdlib.h>
#include <string.h>

#define AGE_LEAST_NS GT_NS_PER_S /* a call that waited for less is no reason for one more */
#define FAR_NS       (UINT64_MAX / 2)

/* ---- state ---- */
struct gt_scale *gt_scale_new(void)
{
	return gt_alloc(sizeof(struct gt_scale));
}

void gt_scale_free(struct gt_scale *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < LEVEL_GROUPS; i++)
		free(s->levels[i]);
	gt_steps_clear(&s->idle);
	gt_steps_clear(&s->held);
	gt_steps_clear(&s->renewed);
	free(s->off.all);
	free(s->kpa);
	free(s);
}

struct gt_scale *gt_scale_copy(const struct gt_scale *s)
{
	struct gt_scale *copy = gt_scale_new();

	*copy = *s;
	copy->idle = gt_steps_copy(&s->idle);
	copy->held = gt_steps_copy(&s->held);
	copy->renewed = gt_steps_copy(&s->renewed);
	copy->off.all = gt_alloc_array(s->off.cap + 1U, sizeof(s->off.all[0]));
	if (s->off.n > 0)
		memcpy(copy->off.all, s->off.all, s->off.n * sizeof(s->off.all[0]));
	for (size_t i = 0; i < LEVEL_GROUPS; i++) {
		if (!s->levels[i])
			continue;
		copy->levels[i] = gt_alloc(sizeof(struct level));
		*copy->levels[i] = *s->levels[i];
	}
	copy->kpa = gt_kpa_copy(s->kpa);
	return copy;
}

size_t gt_scale_bytes(const struct gt_scale *s)
{
	size_t bytes = sizeof(*s) + s->off.cap * sizeof(s->off.all[0]);

	bytes += (s->idle.cap + s->held.cap + s->renewed.cap + 0U) * sizeof(struct step);
	for (size_t i = 0; i < LEVEL_GROUPS; i++)
		bytes += s->levels[i] ? sizeof(struct level) : 0;
	return bytes + (s->kpa ? gt_kpa_bytes() : 0);
}

struct gt_scale_pool *gt_scale_pool_new(void)
{
	struct gt_scale_pool *pool = gt_alloc(sizeof(*pool));

	gt_levels_pool_init(pool);
	return pool;
}

void gt_scale_pool_free(struct gt_scale_pool *p)
{
	free(p);
}

struct gt_scale_pool *gt_scale_pool_copy(const struct gt_scale_pool *p)
{
	struct gt_scale_pool *copy = gt_alloc(sizeof(*copy));

	*copy = *p;
	return copy;
}

/* ---- time and demand ---- */
/* Times are kept as they were told; when the clock goes back they go with it, so that what was to
 * last for a while yet still does, and no longer. Returns the seconds since the input before. */
static double time_set(struct gt_scale *s, uint64_t now_ns)
{
	uint64_t before_ns = s->now_ns;

	s->now_ns = now_ns;
	if (before_ns == 0)
		return 0;
	if (now_ns >= before_ns)
		return (double)(now_ns - before_ns) / 1e9;
	uint64_t back_ns = before_ns - now_ns;

	gt_steps_shift(&s->idle, back_ns);
	gt_steps_shift(&s->held, back_ns);
	gt_steps_shift(&s->renewed, back_ns);
	gt_levels_shift(s, back_ns);
	gt_kpa_reset(s);
	s->ahead_ns = now_ns;
	s->wait_ns = 0;
	return 0;
}

static uint32_t plus(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - 1 - b ? UINT32_MAX - 1 : a + b;
}

/* Replicas for so many calls beside those that are there. */
static uint32_t levels_for(const struct gt_scale_in *in, uint32_t more)
{
	uint64_t target = GT_MAX(in->params.target, 1U);
	uint64_t n = ((uint64_t)in->in_flight + in->queued + more + target - 1) / target;

	return (uint32_t)GT_MIN(n, (uint64_t)UINT32_MAX - 1);
}

/* ---- rules ---- */
void gt_scale_ask(struct gt_scale_out *out, enum gt_scale_rule rule, uint32_t count, bool start)
{
	out->asked[rule] = count;
	if (start && count > out->need) {
		out->need = count;
		out->need_rule = rule;
	}
	if (count > out->wanted) {
		out->wanted = count;
		out->wanted_rule = rule;
	}
}

static void ask_kept(struct gt_scale_out *out, enum gt_scale_rule rule, struct steps *w,
		     uint64_t now_ns, uint64_t late_ns)
{
	uint64_t end_ns;
	uint32_t count = gt_steps_max(w, now_ns, late_ns, &end_ns);

	if (count == 0)
		return;
	gt_scale_ask(out, rule, count, false);
	out->due_ns = GT_MIN(out->due_ns, end_ns);
}

/* Counts can be right and a call wait all the same: behind one that takes for ever, or on a replica
 * that stands still. */
static void ask_age(struct gt_scale *s, const struct gt_scale_pool *pool,
		    const struct gt_scale_in *in, uint32_t on, struct gt_scale_out *out)
{
	uint64_t limit_ns = (uint64_t)(GT_MIN(gt_load_start_s(s, pool), 1e6) / 2 * 1e9);

	limit_ns = GT_MAX(limit_ns, AGE_LEAST_NS);
	if (in->queued == 0 || in->oldest_wait_ns == 0 || in->starting > 0)
		return;
	if (in->oldest_wait_ns >= limit_ns)
		gt_scale_ask(out, GT_SCALE_AGE, GT_MIN(plus(in->ready, 1), plus(on, 1)), true);
	else if (in->now_ns < FAR_NS)
		out->due_ns = GT_MIN(out->due_ns, in->now_ns + (limit_ns - in->oldest_wait_ns));
}

/* One that was found running, of whose past nothing is known, or whose caller left while it
 * started. While calls are there, levels know for how long theirs are kept. */
static void renew(struct gt_scale *s, const struct gt_scale_pool *pool,
		  const struct gt_scale_in *in, uint32_t on)
{
	uint64_t keep_ns = GT_MIN(in->params.idle_ms, UINT64_MAX / 4 / GT_NS_PER_MS) * GT_NS_PER_MS;

	uint32_t count = in->renew;

	if (in->starts > 0 && !in->params.idle_stated) {
		count = GT_MIN(count, 1U);
		keep_ns = GT_MIN(keep_ns, (uint64_t)(GT_MIN(gt_load_start_s(s, pool), 1e6) * 1e9));
	}
	if (count > on && in->now_ns < FAR_NS)
		gt_steps_put(&s->renewed, count, in->now_ns + keep_ns);
}

static void ask_gantry(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		       uint32_t on, struct gt_scale_out *out)
{
	uint64_t idle_ns = GT_MIN(in->params.idle_ms, UINT64_MAX / GT_NS_PER_MS) * GT_NS_PER_MS;

	renew(s, pool, in, on);
	if (on > 0)
		gt_scale_ask(out, GT_SCALE_QUEUE, on, true);
	ask_age(s, pool, in, on, out);
	if (in->params.idle_stated) {
		ask_kept(out, GT_SCALE_IDLE, &s->idle, in->now_ns, idle_ns);
	} else {
		gt_load_ask(s, pool, in, out);
		ask_kept(out, GT_SCALE_HOLD, &s->held, in->now_ns, 0);
	}
	ask_kept(out, GT_SCALE_RENEW, &s->renewed, in->now_ns, 0);
}

/* Spare replicas are started beside needed ones, and stay as long as anything is kept. */
static void ask_buffer(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	uint32_t buffer = in->params.buffer;

	if (buffer == 0 || out->wanted == 0)
		return;
	out->asked[GT_SCALE_BUFFER] = plus(out->need, buffer);
	if (out->need > 0) {
		out->need = plus(out->need, buffer);
		out->need_rule = GT_SCALE_BUFFER;
	}
	out->wanted = plus(out->wanted, buffer);
	if (out->wanted == out->need)
		out->wanted_rule = GT_SCALE_BUFFER;
}

static void limit(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	uint32_t max = in->params.max;

	if (in->params.min > 0)
		gt_scale_ask(out, GT_SCALE_MIN, in->params.min, true);
	if (out->wanted <= max)
		return;
	out->asked[GT_SCALE_MAX] = max;
	out->wanted = max;
	if (out->need <= max)
		return;
	out->need = max;
	out->need_rule = out->wanted_rule = GT_SCALE_MAX;
}

void gt_scale_decide(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		     struct gt_scale_out *ret)
{
	struct gt_scale_out out = { .due_ns = UINT64_MAX };
	uint32_t on = levels_for(in, 0), before = s->calls;
	uint64_t before_ns = GT_MIN(s->now_ns, in->now_ns);
	double dt_s = time_set(s, in->now_ns);

	memset(out.asked, 0xff, sizeof(out.asked)); /* GT_SCALE_SILENT */
	gt_load_add(s, pool, in, dt_s);
	gt_harm_add(s, pool, in, dt_s);
	if (in->params.idle_stated && on < s->on)
		gt_steps_put(&s->idle, s->on, in->now_ns); /* it lasted until now */
	gt_levels_change(s, pool, in, on);
	s->on = on;
	s->calls = plus(in->in_flight, in->queued);
	s->queued = in->queued;
	if (in->params.policy == GT_SCALE_KPA)
		gt_kpa_ask(s, in, before, before_ns, &out);
	else
		ask_gantry(s, pool, in, on, &out);
	gt_levels_passed(s, pool, in->now_ns);
	if (in->booked)
		gt_scale_ask(&out, GT_SCALE_SCHEDULE, levels_for(in, in->booked), true);
	ask_buffer(in, &out);
	limit(in, &out);
	out.start_s = gt_load_start_s(s, pool);
	gt_scale_why(in, &out);
	*ret = out;
}
