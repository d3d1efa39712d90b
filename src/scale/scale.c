/* scale.c - takes an input in, asks each rule, and combines what they say. */
#include "scale_priv.h"

#include <stdlib.h>
#include <string.h>

struct gt_scale *gt_scale_new(void)
{
	return gt_alloc(sizeof(struct gt_scale));
}

void gt_scale_free(struct gt_scale *s)
{
	free(s);
}

struct gt_scale *gt_scale_copy(const struct gt_scale *s)
{
	struct gt_scale *copy = gt_scale_new();

	*copy = *s;
	return copy;
}

size_t gt_scale_bytes(const struct gt_scale *s)
{
	return sizeof(*s);
}

struct gt_scale_pool *gt_scale_pool_new(void)
{
	return gt_alloc(sizeof(struct gt_scale_pool));
}

void gt_scale_pool_free(struct gt_scale_pool *p)
{
	free(p);
}

struct gt_scale_pool *gt_scale_pool_copy(const struct gt_scale_pool *p)
{
	struct gt_scale_pool *copy = gt_scale_pool_new();

	*copy = *p;
	return copy;
}

/* Times are kept as they were told; when the clock goes back they go with it, so that what was to
 * last for a while yet still does, and no longer. */
static void time_set(struct gt_scale *s, uint64_t now_ns)
{
	if (now_ns < s->now_ns)
		gt_steps_shift(&s->idle, s->now_ns - now_ns);
	s->now_ns = now_ns;
}

static uint32_t levels_on(const struct gt_scale_in *in)
{
	uint64_t target = GT_MAX(in->params.target, 1U);
	uint64_t n = ((uint64_t)in->in_flight + in->queued + target - 1) / target;

	return (uint32_t)GT_MIN(n, (uint64_t)UINT32_MAX - 1);
}

/* `count` replicas are asked for by this rule; the highest wins, and of equals the first. */
static void ask(struct gt_scale_out *out, enum gt_scale_rule rule, uint32_t count, bool start)
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

static void ask_idle(struct gt_scale *s, const struct gt_scale_in *in, struct gt_scale_out *out)
{
	uint64_t end_ns, idle_ns = in->params.idle_ms * GT_NS_PER_MS;
	uint32_t count = gt_steps_max(&s->idle, in->now_ns, idle_ns, &end_ns);

	if (count == 0)
		return;
	ask(out, GT_SCALE_IDLE, count, false);
	out->due_ns = GT_MIN(out->due_ns, end_ns);
}

static uint32_t plus(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - 1 - b ? UINT32_MAX - 1 : a + b;
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
		ask(out, GT_SCALE_MIN, in->params.min, true);
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
	uint32_t on = levels_on(in);

	(void)pool;
	memset(out.asked, 0xff, sizeof(out.asked));
	time_set(s, in->now_ns);
	if (on < s->on)
		gt_steps_put(&s->idle, s->on, in->now_ns); /* it lasted until now */
	s->on = on;
	if (in->renew > on)
		gt_steps_put(&s->idle, in->renew, in->now_ns);
	if (on > 0)
		ask(&out, GT_SCALE_QUEUE, on, true);
	ask_idle(s, in, &out);
	ask_buffer(in, &out);
	limit(in, &out);
	if (out.wanted <= out.need)
		out.due_ns = UINT64_MAX;
	gt_scale_why(in, &out);
	*ret = out;
}

double gt_scale_worth(const struct gt_scale *s, const struct gt_scale_pool *pool,
		      const struct gt_scale_params *params, uint32_t level, uint64_t now_ns)
{
	(void)s;
	(void)pool;
	(void)params;
	(void)level;
	(void)now_ns;
	return 0;
}

int gt_scale_pressure(const struct gt_scale_held *held, size_t n, size_t *ret)
{
	double least = 0;
	size_t best = n;

	for (size_t i = 0; i < n; i++) {
		if (held[i].spare == 0 || held[i].units == 0)
			continue;
		double worth = held[i].worth / held[i].units;

		if (best == n || worth < least) {
			best = i;
			least = worth;
		}
	}
	if (best == n)
		return -ENOENT;
	*ret = best;
	return 0;
}
