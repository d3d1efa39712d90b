/* names.c - rules and policies by name, and the sentence that tells people why. */
#include "scale_priv.h"

#include <gantry/base/units.h>

#include <stdio.h>

static const char *const policies[] = { [GT_SCALE_GANTRY] = "gantry", [GT_SCALE_KPA] = "kpa" };

static const char *const rules[] = {
	[GT_SCALE_NONE] = "none",
	[GT_SCALE_QUEUE] = "queue",
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

static void why_demand(const struct gt_scale_in *in, char *out, size_t size)
{
	snprintf(out, size, "%u in flight + %u queued, target %u", in->in_flight, in->queued,
		 GT_MAX(in->params.target, 1U));
}

static void why_keep(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	char idle[32];

	gt_format_duration_ms(in->params.idle_ms, idle, sizeof(idle));
	switch (out->wanted_rule) {
	case GT_SCALE_IDLE:
		snprintf(out->why, sizeof(out->why), "%u needed within the last %s, %u now",
			 out->wanted, idle, out->need);
		break;
	case GT_SCALE_HOLD:
		snprintf(out->why, sizeof(out->why),
			 "%u held: a call may come back soon, %u needed now", out->wanted,
			 out->need);
		break;
	case GT_SCALE_RENEW:
		snprintf(out->why, sizeof(out->why), "%u ready for less than a hold, %u needed now",
			 out->wanted, out->need);
		break;
	default:
		snprintf(out->why, sizeof(out->why), "%u kept, %u needed now", out->wanted,
			 out->need);
		break;
	}
}

static void why_nothing(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	char idle[32];

	gt_format_duration_ms(in->params.idle_ms, idle, sizeof(idle));
	if (in->params.idle_stated)
		snprintf(out->why, sizeof(out->why), "idle for %s", idle);
	else
		snprintf(out->why, sizeof(out->why), "idle, and no call is expected soon");
}

void gt_scale_why(const struct gt_scale_in *in, struct gt_scale_out *out)
{
	char demand[64];

	why_demand(in, demand, sizeof(demand));
	if (out->wanted > out->need) {
		why_keep(in, out);
		return;
	}
	switch (out->need_rule) {
	case GT_SCALE_NONE:
		why_nothing(in, out);
		break;
	case GT_SCALE_MIN:
		snprintf(out->why, sizeof(out->why), "min %u", in->params.min);
		break;
	case GT_SCALE_MAX:
		snprintf(out->why, sizeof(out->why), "%s: max %u", demand, in->params.max);
		break;
	case GT_SCALE_BUFFER:
		snprintf(out->why, sizeof(out->why), "%s, and %u to spare", demand,
			 in->params.buffer);
		break;
	case GT_SCALE_AGE:
		snprintf(out->why, sizeof(out->why), "a call waits for %.1f s and nothing starts",
			 (double)in->oldest_wait_ns / 1e9);
		break;
	case GT_SCALE_FLOOR:
		snprintf(out->why, sizeof(out->why), "%.1f calls at once on average, target %u",
			 out->load, GT_MAX(in->params.target, 1U));
		break;
	case GT_SCALE_KPA_STABLE:
	case GT_SCALE_KPA_PANIC:
		snprintf(out->why, sizeof(out->why), "%.2f calls at once over the last %s",
			 out->load, out->need_rule == GT_SCALE_KPA_PANIC ? "6s" : "60s");
		break;
	default:
		gt_strcopy(out->why, sizeof(out->why), demand);
		break;
	}
}
