/* load.c - averages of calls, service and start times, and the floor for dense load.
 *
 * The floor is square-root staffing: of m calls at once on average, sqrt(m) is how far they swing
 * by chance, so that the spare part of a large load is small. How far they swung in fact, against
 * what the means had said one start earlier, is measured; it counts up to SWING_MOST times sqrt(m),
 * where starting on demand takes over. (Borst, Mandelbaum, Reiman, "Dimensioning large call
 * centers", Operations Research 2004.) */
#include "scale_priv.h"

#include <math.h>

#define FAST_S      20.0
#define SLOW_S      90.0
#define RECENT_S    600.0
#define TODAY_S     14400.0
#define ERROR_S     300.0
#define RISE_S      70.0 /* starts as long as this look at the whole trend */
#define SERVICES    32.0
#define STARTS      8.0
#define POOL_STARTS 256.0
#define START_S     10.0 /* while none was seen */
#define DENSE       3.0  /* replicas' worth of calls from which on the floor speaks */
#define SPARE       2.2  /* swings at the default price */
#define SWING_MOST  1.5
#define ROUND       0.5 /* to the nearest number of replicas */
#define RECHECK_NS  (10 * GT_NS_PER_S)

double gt_load_start_s(const struct gt_scale *s, const struct gt_scale_pool *pool)
{
	if (s->start_n > 0)
		return (double)s->start_s;
	return pool->start_n > 0 ? (double)pool->start_s : START_S;
}

double gt_load_service_s(const struct gt_scale *s)
{
	return s->service_n > 0 ? GT_MAX((double)s->service_s, 0.001) : 1;
}

static float toward(float mean, double value, double part)
{
	return (float)(value + ((double)mean - value) * part);
}

/* `more` values with this sum enter a mean over about the last `look`. */
static void sample(float *mean, float *n, uint32_t more, uint64_t sum_ns, double look)
{
	if (more == 0)
		return;
	double weight = GT_MIN((double)*n + more, look);
	double value = (double)sum_ns / 1e9 / more;

	*mean += (float)((value - (double)*mean) * GT_MIN(more / weight, 1.0));
	*n = (float)weight;
}

/* Each quarter of a start: how wrong was what the means said four quarters ago? */
static void error_add(struct gt_scale *s, double start_s, uint64_t now_ns)
{
	uint64_t step_ns = (uint64_t)(GT_MIN(GT_MAX(start_s / 4, 0.5), 60.0) * 1e9);
	uint64_t steps = (now_ns - s->ahead_ns) / step_ns;

	if (steps == 0)
		return;
	double said = (double)s->ahead[(s->ahead_at + AHEAD - 3) % AHEAD];
	double error = (double)s->calls - said;
	double part = exp(-(double)GT_MIN(steps, 4ULL) * (double)step_ns / 1e9 / ERROR_S);

	if (s->ahead_ns != 0)
		s->error2 = toward(s->error2, error * error, part);
	for (uint64_t i = 0; i < GT_MIN(steps, (uint64_t)AHEAD); i++) {
		s->ahead_at = (uint8_t)((s->ahead_at + 1) % AHEAD);
		s->ahead[s->ahead_at] = GT_MAX(s->fast, s->slow);
	}
	s->ahead_ns = s->ahead_ns == 0 ? now_ns : s->ahead_ns + steps * step_ns;
}

void gt_load_add(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 double dt_s)
{
	if (dt_s > 0) {
		s->recent = toward(s->recent, 0, exp(-dt_s / RECENT_S));
		s->today = toward(s->today, 0, exp(-dt_s / TODAY_S));
		s->fast = toward(s->fast, s->calls, exp(-dt_s / FAST_S));
		s->slow = toward(s->slow, s->calls, exp(-dt_s / SLOW_S));
	}
	error_add(s, gt_load_start_s(s, pool), in->now_ns);
	s->recent += (float)in->arrivals;
	s->today += (float)in->arrivals;
	sample(&s->service_s, &s->service_n, in->completions, in->service_ns, SERVICES);
	sample(&s->start_s, &s->start_n, in->starts, in->start_ns, STARTS);
	sample(&pool->start_s, &pool->start_n, in->starts, in->start_ns, POOL_STARTS);
}

void gt_load_ask(struct gt_scale *s, const struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 struct gt_scale_out *out)
{
	double target = GT_MAX(in->params.target, 1U), fast = (double)s->fast,
	       slow = (double)s->slow;
	double trend = GT_MIN(gt_load_start_s(s, pool) / RISE_S, 1.0);
	double mean = GT_MAX(fast + GT_MAX(fast - slow, 0.0) * trend, slow);

	if (mean < DENSE * target)
		return;
	/* The dearer a waiting second, the rarer it should be; the tail falls with exp(-z^2 / 2).
	 */
	double z = SPARE * sqrt(log1p(in->params.price) / log1p(GT_SCALE_PRICE_DEFAULT));
	double swing = GT_MIN((double)s->error2, SWING_MOST * SWING_MOST * mean);
	double n = ceil((mean + z * sqrt(GT_MAX(mean, swing))) / target - ROUND);
	uint32_t count = (uint32_t)GT_MIN(GT_MAX(n, 0.0), 1e9);

	out->load = mean;
	gt_scale_ask(out, GT_SCALE_FLOOR, count, true);
	if (count > s->on) /* it must end though no input comes */
		out->due_ns = GT_MIN(out->due_ns, in->now_ns + RECHECK_NS);
}
