/* names.c - rules and policies by name, and the sentence that tells people why. */
#include "scale_priv.h"

#include <gantry/base/units.h>

static const char *const policies[] = { [GT_SCALE_GANTRY] = "gantry", [GT_SCALE_KPA] = "kpa" };

static const char *const rules[] = {
	[GT_SCALE_NONE] = "none",
	[GT_SCALE_QUEUE] = "queue",
	[GT_SCALE_SCHEDULE] = "schedule",
	[GT_SCALE_AGE] = "age",
	[GT_SCALE_FLOOR] = "floor",
	[GT_SCALE_HOLD] = "hold",
	[GT_SCALE_IDLE] = "idle",
	[GT_SCALE_RENEW] = "renew",
	[GT_SCALE_BUFFER] = "buffer",
	[GT_SCALE_MIN] = "min",
	[GT_SCALE_MAX] = "max",
	[GT_SCALE_KPA_STABLE] = "kpa_stable",
	[GT_SCALE_KPA_PANIC] = "kpa_panic",
};

_Static_assert(GT_LEN(policies) == GT_SCALE_POLICIES, "every policy has a name");
_Static_assert(GT_LEN(rules) == GT_SCALE_RULES, "every rule has a name");

const char *gt_scale_policy_name(enum gt_scale_policy p)
{
	return (unsigned)p < GT_SCALE_POLICIES ? policies[p] : "unknown";
}

int gt_scale_policy_parse(const char *name, enum gt_scale_policy *ret)
{
	for (unsigned i = 0; i < GT_SCALE_POLICIES; i++) {
		if (!gt_streq(name, policies[i]))
			continue;
		*ret = (enum gt_scale_policy)i;
		return 0;
	}
	return -ENOENT;
}

const char *gt_scale_rule_name(enum gt_scale_rule r)
{
	return (unsigned)r < GT_SCALE_RULES ? rules[r] : "unknown";
}

/* Decisions are taken for each call that comes or ends, so that printf would be felt. */
struct text {
	char *at, *end;
};

static void add(struct text *t, const char *s)
{
	while (*s && t->at < t->end)
		*t->at++ = *s++;
	*t->at = '\0';
}

static void add_u64(struct text *t, uint64_t n)
{
	char digits[GT_U64_SIZE + 1];

	*gt_put_u64(digits, n) = '\0';
	add(t, digits);
}

static void add_tenths(struct text *t, double value)
{
	uint64_t n = (uint64_t)(GT_MIN(value, 1e15) * 10 + 0.5);

	add_u64(t, n / 10);
	add(t, ".");
	add_u64(t, n % 10);
}

static void add_idle(struct text *t, const struct gt_scale_in *in)
{
	char idle[32];

	gt_format_duration_ms(in->params.idle_ms, idle, sizeof(idle));
	add(t, idle);
}

static void add_demand(struct text *t, const struct gt_scale_in *in)
{
	add_u64(t, in->in_flight);
	add(t, " in flight + ");
	add_u64(t, in->queued);
	add(t, " queued, target ");
	add_u64(t, GT_MAX(in->params.target, 1U));
}

static void why_keep(const struct gt_scale_in *in, const struct gt_scale_out *out, struct text *t)
{
	add_u64(t, out->wanted);
	switch (out->wanted_rule) {
	case GT_SCALE_IDLE:
		add(t, " needed within the last ");
		add_idle(t, in);
		add(t, ", ");
		add_u64(t, out->need);
		add(t, " now");
		return;
	case GT_SCALE_HOLD:
		add(t, " held: a call may come back soon, ");
		break;
	case GT_SCALE_RENEW:
		add(t, " ready for less than a hold, ");
		break;
	default:
		add(t, " kept, ");
		break;
	}
	add_u64(t, out->need);
	add(t, " needed now");
}

static void why_need(const struct gt_scale_in *in, const struct gt_scale_out *out, struct text *t)
{
	switch (out->need_rule) {
	case GT_SCALE_NONE:
		add(t, in->params.idle_stated ? "idle for " : "idle, and no call is expected soon");
		if (in->params.idle_stated)
			add_idle(t, in);
		break;
	case GT_SCALE_MIN:
		add(t, "min ");
		add_u64(t, in->params.min);
		break;
	case GT_SCALE_MAX:
		add_demand(t, in);
		add(t, ": max ");
		add_u64(t, in->params.max);
		break;
	case GT_SCALE_BUFFER:
		add_demand(t, in);
		add(t, ", and ");
		add_u64(t, in->params.buffer);
		add(t, " to spare");
		break;
	case GT_SCALE_SCHEDULE:
		add_demand(t, in);
		add(t, ", and ");
		add_u64(t, in->booked);
		add(t, " due soon");
		break;
	case GT_SCALE_AGE:
		add(t, "a call waits for ");
		add_tenths(t, (double)in->oldest_wait_ns / 1e9);
		add(t, " s and nothing starts");
		break;
	case GT_SCALE_FLOOR:
	case GT_SCALE_KPA_STABLE:
	case GT_SCALE_KPA_PANIC:
		add_tenths(t, out->load);
		add(t, " calls at once on average, target ");
		add_u64(t, GT_MAX(in->params.target, 1U));
		break;
	default:
		add_demand(t, in);
		break;
	}
}

void gt_scale_why(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	struct text t = { .at = out->why, .end = out->why + sizeof(out->why) - 1 };

	if (out->wanted > out->need)
		why_keep(in, out, &t);
	else
		why_need(in, out, &t);
}
