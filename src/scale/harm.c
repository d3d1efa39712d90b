/* harm.c - what the absence of a level's replica costs, in seconds of waiting calls. */
#include "scale_priv.h"

#include <math.h>

#define PRIOR     2.0  /* measured samples that the guess is worth */
#define HARM_MOST 2.0  /* starts: no level is blamed for more in one wait */
#define LOOK      40.0 /* samples */

/* Before anything was measured: the first call waits for the whole start; above, a call among k
 * busy replicas waits until one of them is free. */
static double guess(const struct gt_scale *s, uint32_t level, double start_s)
{
	if (level == 0)
		return start_s;
	return GT_MIN(start_s, gt_load_service_s(s) / (2.0 * level));
}

double gt_harm_of(const struct gt_scale *s, uint32_t level, double start_s)
{
	const struct level *l = s->levels[gt_level_group(level)];
	double prior = guess(s, level, start_s);

	if (!l)
		return prior;
	double harm = (PRIOR * prior + (double)l->harm_s) / (PRIOR + (double)l->harm_n);

	return GT_MAX(harm, prior);
}

static void level_blame(struct level *l, double harm_s)
{
	l->harm_s += (float)harm_s;
	l->harm_n += 1;
	if (l->harm_n > (float)LOOK) {
		l->harm_s /= 2;
		l->harm_n /= 2;
	}
}

/* The wait is over. One more replica at its begin would have served, in the time h in which there
 * was no other, max(1, h/s) calls on each slot, each of which waited T - h/2 on average; and with k
 * replicas instead of the few that there were, n calls at once wait n^2 s / 2 k^2 C less by one
 * more.
 */
static void wait_judge(struct gt_scale *s, const struct gt_scale_pool *pool,
		       const struct gt_scale_in *in)
{
	double target = GT_MAX(in->params.target, 1U), n = s->wait_peak;
	double time_s = (double)(in->now_ns - s->wait_ns) / 1e9;
	double start_s = gt_load_start_s(s, pool), service_s = gt_load_service_s(s);
	double alone_s = GT_MIN(time_s, start_s);
	double most = target * GT_MAX(1.0, alone_s / service_s) * (time_s - alone_s / 2);
	uint32_t to = (uint32_t)ceil(n / target);

	most = GT_MIN(GT_MIN(most, (double)s->wait_call_s), HARM_MOST * start_s);
	/* The first wait of all teaches about level 0 alone: what piles up before anything serves
	 * says nothing of later loads. */
	if (!s->waited && s->wait_ready == 0)
		to = GT_MIN(to, 1U);
	for (uint32_t level = s->wait_ready; level < to;) {
		uint32_t last = gt_level_last(level, to);
		double k = ((double)level + last) / 2 + 1;

		level_blame(gt_level_get(s, level),
			    GT_MIN(most, n * n * service_s / (2 * k * k * target)));
		level = last + 1;
	}
	s->waited = true;
}

void gt_harm_add(struct gt_scale *s, const struct gt_scale_pool *pool, const struct gt_scale_in *in,
		 double dt_s)
{
	uint32_t calls = in->queued > UINT32_MAX - in->in_flight ? UINT32_MAX
								 : in->in_flight + in->queued;

	if (s->wait_ns == 0 && in->queued > 0) {
		s->wait_ns = in->now_ns;
		s->wait_call_s = 0;
		s->wait_ready = in->ready;
		s->wait_peak = calls;
		s->wait_start = in->starting > 0;
	}
	if (s->wait_ns == 0 || s->wait_ns == in->now_ns)
		return;
	s->wait_call_s += (float)(s->queued * dt_s);
	s->wait_peak = GT_MAX(s->wait_peak, calls);
	s->wait_start |= in->starting > 0;
	if (in->queued > 0)
		return;
	if (s->wait_start) /* else it was too short for a start */
		wait_judge(s, pool, in);
	s->wait_ns = 0;
}
