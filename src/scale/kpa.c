/* kpa.c - the rule of Knative's pod autoscaler (knative/serving
 * pkg/autoscaler/scaling/autoscaler.go, aggregation/bucketing.go, config/config.go; its defaults):
 * calls at once in one-second buckets, a decision each 2 s. Target per replica 0.7 of `target`; the
 * higher of the mean of 60 s and, in panic, that of 6 s. Panic begins when the 6 s mean asks for
 * twice the ready replicas, ends 60 s after it last did, and never goes down. From zero the first
 * call decides at once; to zero after a minute without calls and the time in which its proxy takes
 * over. */
#include "scale_priv.h"

#include <math.h>
#include <string.h>

#define STABLE_S 60
#define BUCKETS  64 /* those of a minute, the one that is filled, and some */
#define PANIC_S  6
#define TICK_S   2
#define PART     0.7
#define PANIC    2.0
#define RATE_UP  1000.0
#define GRACE_S  3 /* to zero: calls come through the proxy first */

struct kpa {
	float sum[BUCKETS]; /* call-seconds of each second, by second % BUCKETS */
	uint64_t begin_ns;
	uint64_t first, second; /* of the oldest and of the newest bucket, from begin_ns on */
	uint64_t tick_ns, panic_end_ns, quiet_ns;
	uint32_t want, least; /* least: was found running, kept until keep_ns */
	uint64_t keep_ns;
	bool active, panic;
	uint32_t stable, peak; /* what the two means asked for at the last tick */
	double load;
};

static void bucket_to(struct kpa *k, uint64_t second)
{
	uint64_t gap = second - k->second;

	if (gap >= BUCKETS) {
		memset(k->sum, 0, sizeof(k->sum));
	} else {
		for (uint64_t i = 1; i <= gap; i++)
			k->sum[(k->second + i) % BUCKETS] = 0;
	}
	k->second = second;
}

/* `calls` were there from `from_ns` until `to_ns`. */
static void add(struct kpa *k, double calls, uint64_t from_ns, uint64_t to_ns)
{
	if (to_ns / GT_NS_PER_S - from_ns / GT_NS_PER_S > BUCKETS)
		from_ns = to_ns - BUCKETS * GT_NS_PER_S;
	while (from_ns < to_ns) {
		uint64_t second = from_ns / GT_NS_PER_S;
		uint64_t end_ns = GT_MIN((second + 1) * GT_NS_PER_S, to_ns);

		bucket_to(k, GT_MAX(second, k->second));
		k->sum[second % BUCKETS] += (float)(calls * (double)(end_ns - from_ns) / 1e9);
		from_ns = end_ns;
	}
	bucket_to(k, GT_MAX(to_ns / GT_NS_PER_S, k->second));
}

/* Of the last whole seconds; those before the first sample do not count. */
static double mean(const struct kpa *k, uint32_t window_s, double instant)
{
	uint64_t end = k->second;
	uint64_t from = GT_MAX(k->first, end >= window_s ? end - window_s : 0);
	double sum = 0;

	if (from >= end)
		return instant;
	for (uint64_t i = from; i < end; i++)
		sum += (double)k->sum[i % BUCKETS];
	return sum / (double)(end - from);
}

static uint32_t replicas_for(const struct gt_scale_in *in, double calls)
{
	double ready = GT_MAX(in->ready, 1U);
	double n = ceil(calls / (PART * GT_MAX(in->params.target, 1U)));

	n = GT_MIN(n, ceil(RATE_UP * ready));
	n = GT_MAX(n, floor(in->ready / 2.0));
	return (uint32_t)GT_MIN(n, (double)UINT32_MAX - 1);
}

static void tick(struct kpa *k, const struct gt_scale_in *in, double instant)
{
	double stable_load = mean(k, STABLE_S, instant), panic_load = mean(k, PANIC_S, instant);
	uint32_t stable = replicas_for(in, stable_load), panic = replicas_for(in, panic_load);
	double ready = GT_MAX(in->ready, 1U);
	double raw = ceil(panic_load / (PART * GT_MAX(in->params.target, 1U)));

	if (raw / ready >= PANIC) {
		if (!k->panic)
			k->want = 0;
		k->panic = true;
		k->panic_end_ns = in->now_ns + STABLE_S * GT_NS_PER_S;
	} else if (k->panic && in->now_ns >= k->panic_end_ns) {
		k->panic = false;
	}
	k->load = k->panic ? panic_load : stable_load;
	if (k->panic)
		k->want = GT_MAX(k->want, GT_MAX(stable, panic));
	else
		k->want = stable;
	if (stable_load > 0 || instant > 0)
		k->quiet_ns = in->now_ns;
	else if (in->now_ns - k->quiet_ns < GRACE_S * GT_NS_PER_S)
		k->want = GT_MAX(k->want, 1U);
	else
		k->want = 0;
	k->active = k->want > 0;
	k->stable = stable;
	k->peak = panic;
}

static void begin(struct kpa *k, const struct gt_scale_in *in)
{
	*k = (struct kpa){ .begin_ns = in->now_ns, .quiet_ns = in->now_ns, .active = true };
}

/* Seconds are counted from the first call on. */
void gt_kpa_ask(struct gt_scale *s, const struct gt_scale_in *in, uint32_t before,
		uint64_t before_ns, struct gt_scale_out *out)
{
	double instant = (double)in->in_flight + in->queued;
	bool first = !s->kpa || !s->kpa->active;

	if (first && instant == 0 && in->renew == 0)
		return;
	if (!s->kpa)
		s->kpa = gt_alloc(sizeof(*s->kpa));
	struct kpa *k = s->kpa;

	if (first) {
		begin(k, in);
		k->least = in->renew;
		k->keep_ns = in->now_ns + STABLE_S * GT_NS_PER_S;
	} else {
		add(k, before, before_ns - k->begin_ns, in->now_ns - k->begin_ns);
	}
	if (first || in->now_ns >= k->tick_ns) {
		tick(k, in, instant);
		k->tick_ns = k->begin_ns +
			     ((in->now_ns - k->begin_ns) / (TICK_S * GT_NS_PER_S) + 1) * TICK_S *
				     GT_NS_PER_S;
	}
	if (k->least > 0 && in->now_ns < k->keep_ns) {
		k->want = GT_MAX(k->want, k->least);
		k->active = true;
	}
	gt_scale_ask(out, k->panic ? GT_SCALE_KPA_PANIC : GT_SCALE_KPA_STABLE, k->want, true);
	out->load = k->load;
	out->asked[GT_SCALE_KPA_STABLE] = k->stable;
	if (k->panic)
		out->asked[GT_SCALE_KPA_PANIC] = k->peak;
	if (k->active)
		out->due_ns = GT_MIN(out->due_ns, k->tick_ns);
}

void gt_kpa_reset(struct gt_scale *s)
{
	if (s->kpa)
		*s->kpa = (struct kpa){ 0 };
}

struct kpa *gt_kpa_copy(const struct kpa *k)
{
	struct kpa *copy = k ? gt_alloc(sizeof(*copy)) : NULL;

	if (k)
		*copy = *k;
	return copy;
}

size_t gt_kpa_bytes(void)
{
	return sizeof(struct kpa);
}
