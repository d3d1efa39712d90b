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
#define HIST_FEW     5   /* gaps before the histogram is believed */

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
#define RAY_LOOK_S     30
#define RAY_UP_TICKS   300
#define RAY_DOWN_TICKS 6000

struct ray {
	uint64_t tick_ns; /* next */
	double ongoing[RAY_LOOK_S * 10];
	uint32_t at, n;
	double sum;
	int32_t counter;
	uint32_t target;
};

static void ray_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	(void)s;
	(void)f;
	(void)cause;
	(void)ret;
}

const struct policy gt_sim_ray = { .name = "ray", .decide = ray_decide, .fn_close = state_free };

static void keda_decide(struct sim *s, struct fn *f, enum cause cause, struct order *ret)
{
	(void)s;
	(void)f;
	(void)cause;
	(void)ret;
}

const struct policy gt_sim_keda = { .name = "keda", .decide = keda_decide, .fn_close = state_free };
