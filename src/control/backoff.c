/* backoff.c - crash loops: starts that fail are retried ever more slowly, and nobody waits for
 * them. */
#include "control_priv.h"

#include <stdlib.h>
#include <string.h>

static uint64_t backoff_ms(uint32_t failures)
{
	uint32_t doublings = failures > 0 ? GT_MIN(failures - 1, 20) : 0;

	return GT_MIN((uint64_t)GT_BACKOFF_FIRST_MS << doublings, (uint64_t)GT_BACKOFF_MAX_MS);
}

void gt_ctl_failure_clear(struct gt_ctl_live *live)
{
	if (live->failure)
		gt_end_fini(live->failure);
	free(live->failure);
	live->failure = NULL;
	live->fail_until_ns = 0;
	live->route_changed = true;
}

void gt_ctl_failure_forget(struct gt_ctl_live *live)
{
	gt_ctl_failure_clear(live);
	live->failures = 0;
	live->retry_at_ns = 0;
	live->blocked_ns = 0;
}

void gt_ctl_failure_refuse(struct gt_ctl_live *live, const struct gt_end *end, uint64_t until_ns)
{
	gt_ctl_failure_clear(live);
	live->failure = gt_alloc(sizeof(*live->failure));
	gt_end_copy(live->failure, end);
	live->fail_until_ns = until_ns;
	live->fail_seq++;
}

/* r is about to become history; its end was not asked for. */
void gt_ctl_failure_note(struct gt_control *c, struct gt_ctl_replica *r, const struct gt_end *end)
{
	static const char *const others[] = { "node_lost", "gpu_lost", "unpark_failed" };
	struct gt_ctl_live *live = gt_ctl_live(c, r->f);
	uint64_t now = gt_ctl_now(c);

	for (size_t i = 0; i < GT_LEN(others); i++)
		if (strcmp(end->cause, others[i]) == 0)
			return; /* no fault of the function: it may start elsewhere at once */
	live->failed_total++;
	if (!gt_ctl_current(r))
		return; /* says nothing of the revision that is to run */
	if (now < live->retry_at_ns)
		return; /* several were started at once and failed together: one failure */
	bool was_ready = r->ready_ns != 0;

	if (was_ready && now - r->ready_ns >= GT_BACKOFF_CLEAR_MS * GT_NS_PER_MS)
		live->failures = 0;
	else
		live->failures++;
	/* The first crash of a replica that has served is worth one try at once. */
	bool at_once = was_ready && live->failures <= 1;
	uint64_t retry_at = at_once ? 0 : now + backoff_ms(live->failures) * GT_NS_PER_MS;

	gt_ctl_failure_refuse(live, end, retry_at);
	live->retry_at_ns = retry_at;
}
