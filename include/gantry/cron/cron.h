/* cron/cron.h - times that come again: cron expressions in a time zone, and periods. Pure: times
 * are seconds since 1970 in UTC, whole ones; nobody is asked for the time that it is now.
 *
 * What becomes of a zone's changed clocks is the rule of Vixie's and Debian's cron. An expression
 * whose minute and hour both begin with no star names times of day: one that is left out, because
 * the clock is put forward, comes at the moment of that; one that there is twice, because it is put
 * back, comes the first time alone. Any other is about time that passes: it comes at each minute
 * whose clock shows a match, however often that is. */
#ifndef GANTRY_CRON_CRON_H
#define GANTRY_CRON_CRON_H

#include <gantry/base/err.h>
#include <gantry/cron/zone.h>

#define GT_CRON_TEXT_MAX 255

/* A bit for each value that matches. */
struct gt_cron {
	uint64_t minutes;
	uint32_t hours, days; /* days of the month from bit 1 on, as months */
	uint16_t months;
	uint8_t weekdays; /* from Sunday on */
	bool times;       /* it names times of day: see above */
	bool both;        /* day and weekday must match; else one of them is enough */
};

/* Five fields: minute, hour, day of the month, month, day of the week; each a list of *, a value or
 * a range, the first and the last with a step behind a slash. Months and weekdays also by their
 * first three letters, Sunday also as 7. Or @hourly @daily @midnight @weekly @monthly @yearly
 * @annually. -EINVAL (invalid_schedule) says which field is wrong; also for one that no day ever
 * matches. */
GT_MUST_USE int gt_cron_parse(const char *text, struct gt_cron *ret, struct gt_err *err);

/* A time that comes again. */
struct gt_timing {
	uint64_t every_s; /* > 0: since_s and each every_s before and after it; else: */
	int64_t since_s;
	struct gt_cron cron;
	const struct gt_zone *zone; /* borrowed; NULL = UTC */
};

/* The first one later than `after`; INT64_MAX when none is left. */
int64_t gt_timing_next(const struct gt_timing *t, int64_t after);
/* The last of those from `from` to `to`, both inclusive, in order: at most `most`. Returns how
 * many. */
size_t gt_timing_last(const struct gt_timing *t, int64_t from, int64_t to, size_t most,
		      int64_t *ret);

#endif
