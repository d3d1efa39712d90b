/* base/skew.h - was the wall's clock set back? What waits for a time of it would wait for as long
 * as it was set back by, once more. */
#ifndef GANTRY_BASE_SKEW_H
#define GANTRY_BASE_SKEW_H

#include <gantry/base/clock.h>

#define GT_SKEW_JUMP_MS 2000            /* so much less is no drift */
#define GT_SKEW_NONE    (INT64_MIN / 2) /* before the first look */

/* Since the last look. skew_ms: how far it was ahead of the clock that goes on. */
static inline bool gt_clock_set_back(const struct gt_clock *c, int64_t *skew_ms)
{
	int64_t was = *skew_ms;

	*skew_ms = (int64_t)gt_wall_ms(c) - (int64_t)(gt_mono_ns(c) / GT_NS_PER_MS);
	return *skew_ms < was - GT_SKEW_JUMP_MS;
}

#endif
