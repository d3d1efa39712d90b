/* task_ask.c - see task_ask.h. */
#include "task_ask.h"

#include <gantry/base/clock.h>

bool gt_task_ask_due(const struct gt_task_ask *a, uint64_t now_ns)
{
	return a->told > a->answered && a->rests_ns <= now_ns;
}

void gt_task_ask_sent(struct gt_task_ask *a, uint32_t n)
{
	a->n = n;
	a->freed = false;
}

void gt_task_ask_freed(struct gt_task_ask *a)
{
	a->rests_ns = 0;
	a->freed = true;
}

/* What ended while the post was under way made room that the answer knows nothing of: with short
 * calls that may be the whole window, and nobody would be left to end a rest. */
void gt_task_ask_answered(struct gt_task_ask *a, const struct gt_task_want *want, uint32_t leases,
			  uint64_t now_ns)
{
	bool full = want->n < a->n && leases >= want->n;

	if (!want->queued)
		a->answered = GT_MAX(a->answered, want->seen);
	else if ((full || !leases) && !a->freed)
		a->rests_ns = now_ns + GT_TASK_REST_MS * GT_NS_PER_MS;
}
