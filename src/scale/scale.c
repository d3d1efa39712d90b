/* scale.c - the rule, over an exact sliding maximum of bounded size. */
#include <gantry/scale/scale.h>

#include <gantry/base/units.h>

#include <stdio.h>
#include <string.h>

/* Gives up the step whose loss over-keeps the least: its need is merged into the higher one before
 * it, which then seems to have lasted as long. */
static void window_merge(struct gt_scale_window *w)
{
	uint32_t best = 1;
	double best_cost = -1;

	for (uint32_t i = 1; i < w->n; i++) {
		double cost = (double)(w->past[i].end_ns - w->past[i - 1].end_ns) *
			      (double)(w->past[i - 1].need - w->past[i].need);

		if (best_cost < 0 || cost < best_cost) {
			best = i;
			best_cost = cost;
		}
	}
	w->past[best - 1].end_ns = w->past[best].end_ns;
	memmove(&w->past[best], &w->past[best + 1], (w->n - best - 1) * sizeof(w->past[0]));
	w->n--;
}

/* `need` was in force until now. Steps that are not higher ended earlier, so they no longer matter.
 */
static void window_push(struct gt_scale_window *w, uint32_t need, uint64_t now_ns)
{
	while (w->n > 0 && w->past[w->n - 1].need <= need)
		w->n--;
	if (need == 0)
		return;
	if (w->n == GT_SCALE_STEPS)
		window_merge(w);
	w->past[w->n++] = (struct gt_scale_step){ .need = need, .end_ns = now_ns };
}

static void window_expire(struct gt_scale_window *w, uint64_t now_ns, uint64_t idle_ns)
{
	uint32_t gone = 0;

	while (gone < w->n && now_ns - w->past[gone].end_ns >= idle_ns)
		gone++;
	if (gone == 0)
		return;
	w->n -= gone;
	memmove(w->past, w->past + gone, w->n * sizeof(w->past[0]));
}

void gt_scale_hold(struct gt_scale_window *w, uint32_t count, uint64_t now_ns)
{
	if (count > w->need)
		window_push(w, count, now_ns);
}

static void why_write(const struct gt_scale_in *in, struct gt_scale_out *out, uint64_t raw)
{
	char idle[32];

	gt_format_duration_ms(in->idle_ms, idle, sizeof(idle));
	if (out->wanted > out->need)
		snprintf(out->why, sizeof(out->why), "%u needed within the last %s, %u now",
			 out->wanted, idle, out->need);
	else if (raw > in->max)
		snprintf(out->why, sizeof(out->why), "%u in flight + %u queued, target %u: max %u",
			 in->in_flight, in->queued, in->target, in->max);
	else if (out->need == 0)
		snprintf(out->why, sizeof(out->why), "idle for %s", idle);
	else if (raw < in->min)
		snprintf(out->why, sizeof(out->why), "min %u", in->min);
	else
		snprintf(out->why, sizeof(out->why), "%u in flight + %u queued, target %u",
			 in->in_flight, in->queued, in->target);
}

void gt_scale_decide(struct gt_scale_window *w, const struct gt_scale_in *in,
		     struct gt_scale_out *ret)
{
	uint64_t idle_ns = in->idle_ms * GT_NS_PER_MS;
	uint64_t target = in->target ? in->target : 1;
	uint64_t raw = ((uint64_t)in->in_flight + in->queued + target - 1) / target;
	uint32_t need = (uint32_t)GT_MAX(GT_MIN(raw, (uint64_t)in->max), (uint64_t)in->min);
	struct gt_scale_out out = { .need = need, .wanted = need, .due_ns = UINT64_MAX };

	if (need < w->need)
		window_push(w, w->need, in->now_ns);
	w->need = need;
	window_expire(w, in->now_ns, idle_ns);
	if (w->n > 0 && GT_MIN(w->past[0].need, in->max) > need) {
		out.wanted = GT_MIN(w->past[0].need, in->max);
		out.due_ns = w->past[0].end_ns + idle_ns;
	}
	why_write(in, &out, raw);
	*ret = out;
}
