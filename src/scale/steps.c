/* steps.c - a sliding maximum of bounded size. */
#include "scale_priv.h"

#include <stdlib.h>
#include <string.h>

/* Gives up the step whose loss over-keeps the least: its count is merged into the higher one before
 * it, which then seems to last as long. */
static void steps_merge(struct steps *w)
{
	uint32_t best = 1;
	double best_cost = -1;

	for (uint32_t i = 1; i < w->n; i++) {
		double cost = (double)(w->all[i].end_ns - w->all[i - 1].end_ns) *
			      (double)(w->all[i - 1].count - w->all[i].count);

		if (best_cost < 0 || cost < best_cost) {
			best = i;
			best_cost = cost;
		}
	}
	w->all[best - 1].end_ns = w->all[best].end_ns;
	memmove(&w->all[best], &w->all[best + 1], (w->n - best - 1) * sizeof(w->all[0]));
	w->n--;
}

/* Where a step with this end belongs: behind those that end before it. */
static uint32_t steps_seek(const struct steps *w, uint64_t end_ns)
{
	uint32_t at = w->n;

	while (at > 0 && w->all[at - 1].end_ns > end_ns)
		at--;
	return at;
}

static void steps_insert(struct steps *w, uint32_t at, uint32_t count, uint64_t end_ns)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 2;
		w->all = gt_grow(w->all, w->cap, sizeof(w->all[0]));
	}
	memmove(&w->all[at + 1], &w->all[at], (w->n - at) * sizeof(w->all[0]));
	w->all[at] = (struct step){ .count = count, .end_ns = end_ns };
	w->n++;
}

void gt_steps_put(struct steps *w, uint32_t count, uint64_t end_ns)
{
	uint32_t at = steps_seek(w, end_ns), keep = at;

	if (count == 0 || (at < w->n && w->all[at].count >= count))
		return; /* one that lasts longer covers it */
	while (keep > 0 && w->all[keep - 1].count <= count)
		keep--;
	if (keep < at) {
		memmove(&w->all[keep], &w->all[at], (w->n - at) * sizeof(w->all[0]));
		w->n = (uint8_t)(w->n - (at - keep));
	}
	if (w->n == STEPS_MAX) {
		steps_merge(w);
		keep = steps_seek(w, end_ns);
		if (keep < w->n && w->all[keep].count >= count)
			return;
	}
	steps_insert(w, keep, count, end_ns);
}

static void steps_shrunk(struct steps *w)
{
	if (w->n == 0)
		gt_steps_clear(w);
}

uint32_t gt_steps_max(struct steps *w, uint64_t now_ns, uint64_t late_ns, uint64_t *end_ns)
{
	uint32_t gone = 0;

	while (gone < w->n && now_ns >= w->all[gone].end_ns &&
	       now_ns - w->all[gone].end_ns >= late_ns)
		gone++;
	if (gone > 0) {
		w->n = (uint8_t)(w->n - gone);
		memmove(w->all, w->all + gone, w->n * sizeof(w->all[0]));
		steps_shrunk(w);
	}
	*end_ns = UINT64_MAX;
	if (w->n == 0)
		return 0;
	if (w->all[0].end_ns <= UINT64_MAX - late_ns)
		*end_ns = w->all[0].end_ns + late_ns;
	return w->all[0].count;
}

void gt_steps_drop(struct steps *w, uint32_t count)
{
	if (w->n == 0 || w->all[w->n - 1].count > count)
		return;
	while (w->n > 0 && w->all[w->n - 1].count <= count)
		w->n--;
	steps_shrunk(w);
}

void gt_steps_shift(struct steps *w, uint64_t back_ns)
{
	for (uint32_t i = 0; i < w->n; i++)
		w->all[i].end_ns = w->all[i].end_ns > back_ns ? w->all[i].end_ns - back_ns : 0;
}

struct steps gt_steps_copy(const struct steps *w)
{
	struct steps copy = { .n = w->n, .cap = w->n };

	if (w->n == 0)
		return copy;
	copy.all = gt_alloc_array(w->n, sizeof(w->all[0]));
	memcpy(copy.all, w->all, w->n * sizeof(w->all[0]));
	return copy;
}

void gt_steps_clear(struct steps *w)
{
	free(w->all);
	*w = (struct steps){ 0 };
}
