/* levels.c - how soon a level that went off comes on again, and for how long to keep its replica.
 *
 * Chances come from life tables: of those that were off for so long, how many returned within the
 * bin. A table of all functions by class of level, arrivals of the last 10 minutes and of the last
 * hours; behind it one by class alone, which is worth POOL_PRIOR returns; on top the function's
 * own, for which the pool is worth OWN_PRIOR. */
#include "scale_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POOL_PRIOR   2.0
#define OWN_PRIOR    4.0
#define FIRST_RISK   2.0 /* what the table by class starts with */
#define FIRST_RETURN 0.1
#define BUCKETS      6
#define LEARNED_MOST 1e6F

void gt_levels_pool_init(struct gt_scale_pool *pool)
{
	for (unsigned b = 1; b <= GAP_BINS; b++)
		pool->edge_s[b] = pow(GAP_MOST_S, (double)b / GAP_BINS);
}

unsigned gt_level_group(uint32_t level)
{
	if (level < 4)
		return level;
	unsigned log = 31 - (unsigned)__builtin_clz(level);
	unsigned group = 2 * log + ((level >> (log - 1)) & 1); /* 4 5 | 6 7 | 8..11 | 12..15 ... */

	return GT_MIN(group, LEVEL_GROUPS - 1U);
}

uint32_t gt_level_last(uint32_t level, uint32_t to)
{
	unsigned group = gt_level_group(level);
	uint32_t end; /* of the group */

	if (group == LEVEL_GROUPS - 1)
		return to - 1;
	if (level < 4)
		return level;
	end = ((group & 1 ? 4U : 3U) << (group / 2 - 1)) - 1;
	return GT_MIN(end, to - 1);
}

struct level *gt_level_get(struct gt_scale *s, uint32_t level)
{
	unsigned group = gt_level_group(level);

	if (!s->levels[group])
		s->levels[group] = gt_alloc(sizeof(struct level));
	return s->levels[group];
}

static unsigned class_of(uint32_t level)
{
	return GT_MIN(level, CLASSES - 1U);
}

static unsigned bin_of(double gap_s)
{
	static const double bins_per_log = GAP_BINS / 10.268130666; /* log(GAP_MOST_S) */

	if (!(gap_s >= 1))
		return 0;
	return (unsigned)GT_MIN(log(gap_s) * bins_per_log, (double)GAP_BINS);
}

static unsigned bucket(double n)
{
	unsigned b = 0;

	for (double edge = 1.5; n > edge && b < BUCKETS - 1; edge *= 3)
		b++;
	return b;
}

static uint8_t context_of(const struct gt_scale *s)
{
	return (uint8_t)(bucket((double)s->recent) * BUCKETS + bucket((double)s->today / 3));
}

/* ---- what was seen ---- */
static void own_add(struct level *l, unsigned bin, bool returned)
{
	if (l->at_risk[bin] == UINT8_MAX) {
		l->at_risk[bin] /= 2;
		l->returned[bin] /= 2;
	}
	l->at_risk[bin]++;
	l->returned[bin] = (uint8_t)(l->returned[bin] + returned);
}

static void cell_add(struct cell *c, float n, bool returned)
{
	if (c->at_risk >= LEARNED_MOST) { /* floats would lose the small steps */
		c->at_risk /= 2;
		c->returned /= 2;
	}
	c->at_risk += n;
	c->returned += returned ? n : 0;
}

static void bin_add(struct gt_scale_pool *pool, struct level *l, unsigned class,
		    const struct off_run *run, unsigned bin, float n, bool returned)
{
	own_add(l, bin, returned);
	cell_add(&pool->cells[class][run->context][bin], n, returned);
	cell_add(&pool->all[class][bin], n, returned);
}

/* Levels from..to-1 of the run passed the bins below `bin`, and maybe returned in it. */
static void run_tell(struct gt_scale *s, struct gt_scale_pool *pool, const struct off_run *run,
		     uint32_t from, uint32_t to, unsigned bin, bool returned)
{
	while (from < to) {
		uint32_t last = gt_level_last(from, to);
		struct level *l = gt_level_get(s, from);
		float n = (float)(last - from + 1);

		for (unsigned b = run->told; b < bin; b++)
			bin_add(pool, l, class_of(from), run, b, n, false);
		if (returned && bin < GAP_BINS && bin >= run->told)
			bin_add(pool, l, class_of(from), run, bin, n, true);
		from = last + 1;
	}
}

static double gap_s(const struct off_run *run, uint64_t now_ns)
{
	return now_ns > run->off_ns ? (double)(now_ns - run->off_ns) / 1e9 : 0;
}

void gt_levels_passed(struct gt_scale *s, struct gt_scale_pool *pool, uint64_t now_ns)
{
	for (uint32_t i = 0; i < s->off.n; i++) {
		struct off_run *run = &s->off.all[i];
		uint32_t from = i + 1U < s->off.n ? s->off.all[i + 1].count : s->on;
		double gap = gap_s(run, now_ns);

		if (run->told == GAP_BINS || gap < pool->edge_s[run->told + 1])
			continue;
		unsigned bin = bin_of(gap);

		if (bin <= run->told)
			continue;
		run_tell(s, pool, run, from, run->count, bin, false);
		run->told = (uint8_t)bin;
	}
}

/* ---- holds ---- */
static double return_chance(const struct gt_scale *s, const struct gt_scale_pool *pool,
			    uint32_t level, unsigned context, unsigned bin)
{
	unsigned class = class_of(level);
	const struct cell *all = &pool->all[class][bin], *cell = &pool->cells[class][context][bin];
	const struct level *l = s->levels[gt_level_group(level)];
	double p = ((double)all->returned + FIRST_RETURN) / ((double)all->at_risk + FIRST_RISK);

	p = ((double)cell->returned + POOL_PRIOR * p) / ((double)cell->at_risk + POOL_PRIOR);
	if (!l)
		return p;
	return ((double)l->returned[bin] + OWN_PRIOR * p) / (l->at_risk[bin] + OWN_PRIOR);
}

/* What a cold return costs, in seconds of a replica. */
static double loss_s(const struct gt_scale *s, const struct gt_scale_pool *pool, uint32_t level,
		     double price)
{
	double start_s = gt_load_start_s(s, pool);

	return start_s + price * gt_harm_of(s, level, start_s);
}

double gt_levels_hold_s(const struct gt_scale *s, const struct gt_scale_pool *pool, uint32_t level,
			double price)
{
	double loss = loss_s(s, pool, level, price);
	double off = 1, spent_s = 0, best = loss, best_s = 0;
	unsigned context = context_of(s);

	for (unsigned b = 0; b < GAP_BINS && pool->edge_s[b] < loss; b++) {
		double to = GT_MIN(pool->edge_s[b + 1], loss);
		double next = off * (1 - return_chance(s, pool, level, context, b));

		spent_s += (to - pool->edge_s[b]) * (off + next) / 2;
		off = next;
		if (spent_s + off * loss >= best)
			continue;
		best = spent_s + off * loss;
		best_s = to;
	}
	return best_s;
}

static void off_push(struct off_runs *r, struct off_run run)
{
	uint32_t best = 0;

	if (r->n == STEPS_MAX) { /* the two that differ least become one */
		for (uint32_t i = 1; i + 1U < r->n; i++)
			if (r->all[i].count - r->all[i + 1].count <
			    r->all[best].count - r->all[best + 1].count)
				best = i;
		memmove(&r->all[best + 1], &r->all[best + 2],
			(r->n - best - 2) * sizeof(r->all[0]));
		r->n--;
	}
	if (r->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 2;
		r->all = gt_grow(r->all, r->cap, sizeof(r->all[0]));
	}
	r->all[r->n++] = run;
}

static void levels_off(struct gt_scale *s, const struct gt_scale_pool *pool,
		       const struct gt_scale_in *in, uint32_t on)
{
	off_push(&s->off, (struct off_run){
				  .count = s->on, .context = context_of(s), .off_ns = in->now_ns });
	for (uint32_t level = on; level < s->on;) {
		uint32_t last = gt_level_last(level, s->on);
		double hold_s = gt_levels_hold_s(s, pool, last, in->params.price);

		hold_s = GT_MIN(hold_s, GAP_MOST_S);
		if (in->now_ns < UINT64_MAX / 2)
			gt_steps_put(&s->held, last + 1, in->now_ns + (uint64_t)(hold_s * 1e9));
		level = last + 1;
	}
}

static void levels_on(struct gt_scale *s, struct gt_scale_pool *pool, uint64_t now_ns, uint32_t on)
{
	uint32_t level = s->on;

	while (s->off.n > 0 && level < on) {
		const struct off_run *run = &s->off.all[s->off.n - 1];
		uint32_t to = GT_MIN(run->count, on);

		run_tell(s, pool, run, level, to, bin_of(gap_s(run, now_ns)), true);
		level = GT_MAX(to, level);
		if (run->count > on)
			break;
		s->off.n--;
	}
	gt_steps_drop(&s->held, on);
}

void gt_levels_change(struct gt_scale *s, struct gt_scale_pool *pool, const struct gt_scale_in *in,
		      uint32_t on)
{
	if (on < s->on)
		levels_off(s, pool, in, on);
	else if (on > s->on)
		levels_on(s, pool, in->now_ns, on);
}

void gt_levels_shift(struct gt_scale *s, uint64_t back_ns)
{
	for (uint32_t i = 0; i < s->off.n; i++) {
		struct off_run *run = &s->off.all[i];

		run->off_ns = run->off_ns > back_ns ? run->off_ns - back_ns : 0;
	}
}

/* ---- when nothing is free ---- */
double gt_scale_worth(const struct gt_scale *s, const struct gt_scale_pool *pool,
		      const struct gt_scale_params *params, uint32_t level, uint64_t now_ns)
{
	double loss = loss_s(s, pool, level, params->price), off = 1;
	uint64_t off_ns = s->now_ns;
	unsigned context = context_of(s);

	for (uint32_t i = s->off.n; i-- > 0;) {
		if (s->off.all[i].count <= level)
			continue;
		off_ns = s->off.all[i].off_ns;
		context = s->off.all[i].context;
		break;
	}
	double gone_s = now_ns > off_ns ? (double)(now_ns - off_ns) / 1e9 : 0;

	for (unsigned b = bin_of(gone_s); b < GAP_BINS && pool->edge_s[b] < gone_s + loss; b++)
		off *= 1 - return_chance(s, pool, level, context, b);
	return (1 - off) * loss;
}
