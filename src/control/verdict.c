/* verdict.c - what the end of an attempt means for its call: done, failed, or again, and when. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define RETURN_MS                                                                       \
	500 /* one that could not be run is looked at again so soon, at most twice that \
	     */

/* The call was not at fault, and no replica has seen it: this is no try. */
static bool never_ran(const char *slug)
{
	static const char *const slugs[] = {
		"queue_full",  "overloaded",  "wait_timeout",       "start_failed",
		"no_capacity", "unavailable", "function_not_found",
	};

	for (size_t i = 0; i < GT_LEN(slugs); i++)
		if (gt_streq(slug, slugs[i]))
			return true;
	return false;
}

/* GT_RETRY_N: nothing that a retry could be asked for. */
static unsigned reason_of(const struct gt_task_result *r)
{
	if (gt_streq(r->slug, "run_timeout"))
		return GT_RETRY_TIMEOUT;
	if (gt_streq(r->slug, "replica_lost") || gt_streq(r->slug, "bad_gateway"))
		return GT_RETRY_CRASH;
	for (unsigned on = GT_RETRY_408; r->status && on < GT_RETRY_N; on++)
		if (atoi(gt_retry_on_name(on)) == r->status)
			return on;
	return GT_RETRY_N;
}

/* Evenly between half of it and all: calls that failed together do not come back together. */
static uint64_t jitter(struct gt_control *c, uint64_t ms)
{
	uint64_t word;

	c->ports.rnd.fill(c->ports.rnd.arg, &word, sizeof(word));
	return ms - word % (ms / 2 + 1);
}

static uint64_t backoff_ms(const struct gt_spec *spec, uint32_t tries)
{
	uint64_t ms = spec->retry.first_ms;

	for (uint32_t i = 0; i < tries && ms < spec->retry.most_ms; i++)
		ms *= 2;
	return GT_MIN(ms, spec->retry.most_ms);
}

void gt_ctl_verdict(struct gt_control *c, struct gt_task_result *r)
{
	struct gt_ctl_function *f = gt_ctl_function_find(c, r->function);
	const struct gt_spec *spec = f ? f->rev->spec : NULL;
	uint64_t now_ms = gt_wall_ms(&c->ports.clock);
	unsigned reason = reason_of(r);

	r->counts = r->status || !never_ran(r->slug);
	r->due_ms = 0;
	if (!r->counts) {
		r->next = GT_TASK_WAITING;
		r->due_ms = now_ms + jitter(c, 2 * RETURN_MS);
	} else if (r->status && r->status < 400) {
		r->next = GT_TASK_SUCCEEDED;
	} else if (spec && reason < GT_RETRY_N && (spec->retry.on & 1U << reason) &&
		   r->tries < spec->retry.max) {
		r->next = GT_TASK_WAITING;
		r->due_ms = now_ms + jitter(c, backoff_ms(spec, r->tries));
	} else {
		r->next = GT_TASK_FAILED;
	}
}
