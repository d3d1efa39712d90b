/* scale_others.c - policies that are found elsewhere, by their published rules. */
#include "sim_scale.h"

#include <math.h>
#include <stdlib.h>

#define S GT_NS_PER_S

/* ---- fixed: a start for each call that finds no slot; idle for so long ends it ---- */
/* Replicas that are there and on their way, until each waiting call has a slot. */
static uint32_t on_demand(const struct sim *s, const struct fn *f)
{
	return f->n_ready + GT_MAX(f->n_starting, div_up(f->queue.n, s->run->slots));
}

static void fixed_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	(void)cause;
	ret->need = on_demand(s, f);
	ret->idle_ns = (uint64_t)(s->param * 1e9);
}

const struct policy gt_sim_fixed = { .name = "fixed:", .decide = fixed_decide };

/* ---- hist: ATC'20, hybrid histogram policy ---- */
#define HIST_BINS    240 /* minutes */
#define HIST_EXTRA_S 60  /* replicas beyond the first: idle for so long ends them */
#define HIST_FEW     3   /* gaps before the histogram is believed; the paper gives no number */

struct hist {
	uint32_t n, out, bins[HIST_BINS];
	bool busy, seen;
	uint64_t idle_ns;            /* since then */
	uint64_t unload_ns, load_ns; /* from idle_ns: kept until, wanted again from */
	uint64_t keep_ns;
};

static double hist_percentile(const struct hist *h, double q, bool upper)
{
	double rank = q * h->n;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < HIST_BINS; i++) {
		sum += h->bins[i];
		if (sum >= rank && sum > 0)
			return 60.0 * (i + upper);
	}
	return 60.0 * HIST_BINS;
}

/* Few gaps, or spread evenly (coefficient of variation of the bins at most 2), or mostly longer
 * than 4 h: kept for 4 h. */
static bool hist_believed(const struct hist *h)
{
	double mean = (double)h->n / HIST_BINS, sum = 0;

	if (h->n < HIST_FEW || h->out > h->n)
		return false;
	for (uint32_t i = 0; i < HIST_BINS; i++)
		sum += ((double)h->bins[i] - mean) * ((double)h->bins[i] - mean);
	return sqrt(sum / HIST_BINS) > 2 * mean;
}

static void hist_window(struct hist *h)
{
	double from = 0, to = 60.0 * HIST_BINS;

	if (hist_believed(h)) {
		from = 0.9 * hist_percentile(h, 0.05, false);
		to = 1.1 * hist_percentile(h, 0.99, true);
	}
	h->load_ns = (uint64_t)(from * 1e9);
	h->keep_ns = (uint64_t)(to * 1e9);
}

static void hist_gap(struct hist *h, uint64_t gap_ns)
{
	uint64_t bin = gap_ns / (60 * S);

	if (bin < HIST_BINS) {
		h->bins[bin]++;
		h->n++;
	} else {
		h->out++;
	}
}

static void hist_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	struct hist *h = f->policy ? f->policy : (f->policy = gt_alloc(sizeof(*h)));
	bool busy = concurrency(f) > 0;
	uint32_t base = 1;

	(void)cause;
	if (busy && !h->busy && h->seen)
		hist_gap(h, s->now_ns - h->idle_ns);
	if (!busy && h->busy) {
		h->idle_ns = s->now_ns;
		hist_window(h);
	}
	h->busy = busy;
	h->seen = true;
	ret->need = on_demand(s, f);
	if (!busy) {
		uint64_t idle = s->now_ns - h->idle_ns;

		base = idle >= h->load_ns && idle < h->keep_ns;
		ret->need = GT_MAX(base, 0U);
		if (idle < h->load_ns)
			ret->due_ns = h->idle_ns + h->load_ns;
		else if (idle < h->keep_ns)
			ret->due_ns = h->idle_ns + h->keep_ns;
	}
	/* The extra ones by their own idle time, the last one by the window. */
	if (f->n_ready > base)
		ret->idle_ns = base ? HIST_EXTRA_S * S : 0;
	if (!base)
		ret->wanted = 0;
}

static void state_free(struct fn *f)
{
	free(f->policy);
}

const struct policy gt_sim_hist = { .name = "hist", .decide = hist_decide, .fn_close = state_free };

/* ---- ray: Ray Serve ---- */
#define RAY_TICK_NS    (S / 10)
#define RAY_SEE_TICKS  5   /* a replica records what it has each 0.5 s */
#define RAY_SEEN       60  /* the mean of 30 s */
#define RAY_UP_TICKS   300 /* agreement in a row before it acts */
#define RAY_DOWN_TICKS 6000

struct ray {
	uint64_t tick_ns; /* next; 0 = asleep */
	uint32_t seen[RAY_SEEN];
	uint32_t at, n, ticks;
	uint64_t sum;
	int32_t agreed; /* ticks in a row: up > 0, down < 0 */
	uint32_t target;
};

static void ray_see(struct ray *r, uint32_t ongoing)
{
	if (r->n == RAY_SEEN)
		r->sum -= r->seen[r->at];
	else
		r->n++;
	r->seen[r->at] = ongoing;
	r->sum += ongoing;
	r->at = (r->at + 1) % RAY_SEEN;
}

static void ray_tick(struct ray *r, const struct sim *s, const struct fn *f)
{
	if (r->ticks++ % RAY_SEE_TICKS == 0)
		ray_see(r, concurrency(f));
	double mean = (double)r->sum / RAY_SEEN; /* before it woke there was nothing */
	uint32_t want = (uint32_t)ceil(mean / s->run->slots);

	if (r->target > 1)
		want = GT_MAX(want, 1U); /* to 0 from exactly 1 */
	if (want > r->target) {
		r->agreed = GT_MAX(r->agreed, 0) + 1;
		if (r->agreed > RAY_UP_TICKS) {
			r->target = want;
			r->agreed = 0;
		}
	} else if (want < r->target) {
		r->agreed = GT_MIN(r->agreed, 0) - 1;
		if (r->agreed < -RAY_DOWN_TICKS) {
			r->target = want;
			r->agreed = 0;
		}
	} else {
		r->agreed = 0;
	}
}

static void ray_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	struct ray *r = f->policy ? f->policy : (f->policy = gt_alloc(sizeof(*r)));

	(void)cause;
	if (r->target == 0 && concurrency(f) > 0) {
		r->target = 1; /* from zero at once */
		r->agreed = 0;
	}
	if (r->tick_ns == 0 && r->target > 0)
		r->tick_ns = s->now_ns + RAY_TICK_NS;
	if (r->tick_ns != 0 && s->now_ns >= r->tick_ns) {
		ray_tick(r, s, f);
		r->tick_ns = s->now_ns + RAY_TICK_NS;
		if (r->target == 0 && concurrency(f) == 0) {
			r->tick_ns = 0;
			r->n = r->at = r->ticks = 0;
			r->sum = 0;
		}
	}
	ret->need = ret->wanted = r->target;
	ret->any = false;
	if (r->tick_ns != 0)
		ret->due_ns = r->tick_ns;
}

const struct policy gt_sim_ray = { .name = "ray", .decide = ray_decide, .fn_close = state_free };

/* ---- keda: 0 to 1 and back by KEDA, the rest by the horizontal pod autoscaler ---- */
#define KEDA_POLL_NS     (30 * S)
#define KEDA_FIRST_NS    (9 * S) /* from a function's first call to the poll that finds it */
#define KEDA_COOLDOWN_NS (300 * S)
#define HPA_TICK_NS      (15 * S)
#define HPA_WINDOW       20 /* ticks of 15 s: the highest want of 300 s */
#define HPA_TOLERANCE    0.1

struct keda {
	uint64_t poll_ns;  /* next, when it is awake */
	uint64_t tick_ns;  /* next; 0 = asleep */
	uint64_t begin_ns; /* the first poll; others each 30 s from then */
	bool begun, awake;
	uint64_t active_ns; /* last call */
	uint32_t target;
	uint32_t wants[HPA_WINDOW], at;
};

static void hpa_tick(struct keda *k, const struct sim *s, const struct fn *f)
{
	double ratio = concurrency(f) / ((double)k->target * s->run->slots);
	uint32_t want = fabs(ratio - 1) <= HPA_TOLERANCE ? k->target
							 : div_up(concurrency(f), s->run->slots);
	uint32_t most = 0;

	want = GT_MAX(want, 1U); /* its default of at most 100 is none here: GPUs have no end */
	k->wants[k->at] = want;
	k->at = (k->at + 1) % HPA_WINDOW;
	for (size_t i = 0; i < HPA_WINDOW; i++)
		most = GT_MAX(most, k->wants[i]);
	if (want > k->target)
		k->target = GT_MIN(want, GT_MAX(k->target + 4, 2 * k->target));
	else if (most < k->target)
		k->target = most;
}

static void keda_poll(struct keda *k, const struct sim *s, const struct fn *f)
{
	if (concurrency(f) > 0 && k->target == 0) {
		k->target = 1;
		k->tick_ns = s->now_ns + HPA_TICK_NS;
	} else if (k->target > 0 && s->now_ns - k->active_ns >= KEDA_COOLDOWN_NS) {
		for (size_t i = 0; i < HPA_WINDOW; i++)
			k->wants[i] = 0;
		k->target = 0;
		k->tick_ns = 0;
	}
}

static void keda_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	struct keda *k = f->policy ? f->policy : (f->policy = gt_alloc(sizeof(*k)));

	(void)cause;
	if (concurrency(f) > 0)
		k->active_ns = s->now_ns;
	if (!k->begun && concurrency(f) > 0) {
		k->begun = true;
		k->begin_ns = s->now_ns + KEDA_FIRST_NS;
	}
	/* It sleeps while there is nothing to find, but its polls keep their times. */
	if (!k->awake && concurrency(f) > 0) {
		uint64_t late_ns = GT_MAX(s->now_ns, k->begin_ns) - k->begin_ns;

		k->awake = true;
		k->poll_ns = k->begin_ns +
			     (late_ns + KEDA_POLL_NS - 1) / KEDA_POLL_NS * KEDA_POLL_NS;
	}
	if (k->awake && s->now_ns >= k->poll_ns) {
		keda_poll(k, s, f);
		k->awake = k->target > 0 || concurrency(f) > 0;
		k->poll_ns += KEDA_POLL_NS;
	}
	if (k->tick_ns != 0 && s->now_ns >= k->tick_ns) {
		hpa_tick(k, s, f);
		k->tick_ns += HPA_TICK_NS;
	}
	ret->need = ret->wanted = k->target;
	ret->any = true;
	if (k->awake)
		ret->due_ns = k->poll_ns;
	if (k->tick_ns != 0)
		ret->due_ns = GT_MIN(ret->due_ns, k->tick_ns);
}

const struct policy gt_sim_keda = { .name = "keda", .decide = keda_decide, .fn_close = state_free };
