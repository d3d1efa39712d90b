/* health.c - replicas that fail, and how often a call may be tried again. That a replica is dead is
 * for the route to say; until it does, calls keep away from it. What it answers, 5xx included, says
 * nothing about its health. */
#include "fn.h"

#include <utlist.h>

#define SUSPECT_FAILS  3
#define SUSPECT_MAX_MS 60000
#define BUDGET_SHARE   5

void gt_target_failed(struct gt_target *t, uint64_t now_ns)
{
	if (gt_target_rests(t, now_ns))
		return; /* calls that fail together are one failure */
	t->fails++;
	uint64_t rest_ms = t->fails == 1 ? GT_FN_REST_MS : GT_FN_REST2_MS;

	t->rest_until_ns = now_ns + rest_ms * GT_NS_PER_MS;
	if (t->fails < SUSPECT_FAILS)
		return;
	uint64_t suspect_ms = (uint64_t)GT_FN_SUSPECT_MS * (t->fails - SUSPECT_FAILS + 1);

	t->suspect_until_ns = now_ns + GT_MIN(suspect_ms, (uint64_t)SUSPECT_MAX_MS) * GT_NS_PER_MS;
}

void gt_target_answered(struct gt_target *t)
{
	t->fails = 0;
	t->suspect_until_ns = 0;
}

uint64_t gt_fn_rest_end_ns(const struct gt_fn *fn, uint64_t now_ns)
{
	const struct gt_target *t;
	uint64_t end_ns = UINT64_MAX;

	DL_FOREACH (fn->targets, t) {
		if (!gt_target_serves(t))
			continue;
		if (gt_target_rests(t, now_ns))
			end_ns = GT_MIN(end_ns, t->rest_until_ns);
		else if (now_ns < t->suspect_until_ns)
			end_ns = GT_MIN(end_ns, t->suspect_until_ns);
	}
	return end_ns == UINT64_MAX ? 0 : end_ns;
}

bool gt_fn_retry_take(struct gt_fn *fn)
{
	uint32_t most = (fn->in_flight + fn->n_waiting) / BUDGET_SHARE;

	if (fn->n_retrying >= GT_MAX(most, (uint32_t)GT_FN_RETRIES))
		return false;
	fn->n_retrying++;
	return true;
}

void gt_fn_retry_give(struct gt_fn *fn)
{
	fn->n_retrying--;
}
