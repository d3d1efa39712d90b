/* scale_bounds.c - what no policy can do better than. */
#include "sim_scale.h"

#include <stdlib.h>

struct change {
	uint64_t at_ns;
	uint32_t fn;
	int32_t by; /* ends (-1) sort before starts at the same time */
};

static int by_function_time(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	if (x->fn != y->fn)
		return x->fn < y->fn ? -1 : 1;
	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return x->by - y->by;
}

struct bound {
	uint64_t *off_ns; /* when level k was last on; NEVER = not yet */
	uint64_t *on_ns;
	uint32_t levels, cap;
	double zero_s, clairvoyant_s;
};

static void levels_to(struct bound *b, uint32_t to, uint64_t now_ns, double start_s)
{
	if (to > b->cap) {
		uint32_t cap = GT_MAX(2 * b->cap, GT_MAX(to, 64U));

		b->off_ns = gt_grow(b->off_ns, cap, sizeof(*b->off_ns));
		b->on_ns = gt_grow(b->on_ns, cap, sizeof(*b->on_ns));
		for (uint32_t k = b->cap; k < cap; k++)
			b->off_ns[k] = NEVER;
		b->cap = cap;
	}
	for (; b->levels < to; b->levels++) {
		uint64_t off = b->off_ns[b->levels];
		double gap = off == NEVER ? 0 : seconds(now_ns - off);

		b->clairvoyant_s += GT_MIN(gap, start_s);
		b->on_ns[b->levels] = now_ns;
	}
	for (; b->levels > to; b->levels--) {
		double on = seconds(now_ns - b->on_ns[b->levels - 1]);

		b->zero_s += on;
		b->clairvoyant_s += on;
		b->off_ns[b->levels - 1] = now_ns;
	}
}

/* As if each call began when it came. */
void gt_sim_bounds(const struct gt_sim_load *load, const struct gt_sim_cold *cold, uint32_t slots,
		   double *zero_hours, double *clairvoyant_hours)
{
	struct change *all = gt_alloc_array(2 * load->n_calls, sizeof(*all));
	struct bound b = { 0 };
	uint64_t running = 0;
	double start_s = 0;

	for (size_t i = 0; i < load->n_calls; i++) {
		const struct gt_sim_call *c = &load->calls[i];

		all[2 * i] = (struct change){ c->arrival_ns, c->function, 1 };
		all[2 * i + 1] = (struct change){ c->arrival_ns + c->service_ns, c->function, -1 };
	}
	qsort(all, 2 * load->n_calls, sizeof(*all), by_function_time);
	for (size_t i = 0; i < 2 * load->n_calls; i++) {
		if (i == 0 || all[i].fn != all[i - 1].fn) {
			for (uint32_t k = 0; k < b.cap; k++)
				b.off_ns[k] = NEVER;
			start_s = seconds(gt_sim_cold_ns(cold, load->ids[all[i].fn], 0));
		}
		running += (uint64_t)(int64_t)all[i].by;
		levels_to(&b, div_up(running, slots), all[i].at_ns, start_s);
	}
	*zero_hours = b.zero_s / 3600;
	*clairvoyant_hours = b.clairvoyant_s / 3600;
	free(b.off_ns);
	free(b.on_ns);
	free(all);
}
