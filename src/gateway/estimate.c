/* estimate.c - how long a call would have waited: those ahead of it, the measured time that a call
 * holds a slot, the slots there are, and those that replicas on their way will bring. */
#include "fn.h"

#include <math.h>

#define RETRY_MAX_S 300

/* Until the replicas that were asked for are here. One that is late is expected to be late by as
 * much again. */
static double start_left_ms(const struct gt_fn *fn, uint64_t now_ns)
{
	double start_ms = (double)fn->route.start_ms;
	double gone_ms = fn->asked_ns ? (double)(now_ns - fn->asked_ns) / 1e6 : 0;

	return fabs(start_ms - gone_ms);
}

/* Before any call has ended, it takes at least as long as the first one so far. */
static double service_ms(const struct gt_fn *fn, uint64_t now_ns)
{
	if (fn->n_service || !fn->first_ns)
		return fn->service_ms;
	return (double)(now_ns - fn->first_ns) / 1e6;
}

/* Until so many calls have begun from now on. */
static double begun_ms(const struct gt_fn *fn, double calls, uint64_t now_ns)
{
	double slots = (double)fn->n_ready * gt_fn_slots(fn);
	uint32_t need = GT_MAX(gt_fn_need(fn), 1u);
	double more = need > fn->n_ready ? (double)(need - fn->n_ready) * gt_fn_slots(fn) : 0;
	double start_ms = more > 0 ? start_left_ms(fn, now_ns) : 0;
	double left = calls - fn->n_free, service = service_ms(fn, now_ns);

	if (left <= 0)
		return 0;
	if (slots > 0) {
		double alone_ms = left * service / slots;

		if (more <= 0 || alone_ms <= start_ms)
			return alone_ms;
		if (service > 0)
			left -= start_ms * slots / service;
	}
	left -= more; /* the new slots take so many at once */
	return start_ms + (left > 0 ? left * service / (slots + more) : 0);
}

uint32_t gt_fn_retry_after_s(const struct gt_fn *fn, const struct gt_waiter *w, uint64_t now_ns)
{
	double ms = begun_ms(fn, gt_queue_ahead(&fn->queue, w->caller, w->class) + 1.0, now_ns);

	if (gt_fn_failing(fn, now_ns))
		ms = (double)(fn->fail_until_ns - now_ns) / 1e6;
	double s = ceil(ms / 1000);

	return s < 1 ? 1 : s > RETRY_MAX_S ? RETRY_MAX_S : (uint32_t)s;
}
