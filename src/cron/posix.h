/* cron/posix.h - the rule at the end of a TZif file, as POSIX's TZ has it:
 * "CET-1CEST,M3.5.0,M10.5.0/3" (RFC 9636, 3.3). */
#ifndef GANTRY_SRC_CRON_POSIX_H
#define GANTRY_SRC_CRON_POSIX_H

#include <gantry/cron/zone.h>

#define POSIX_TEXT_MAX 127

struct posix_day {
	enum { POSIX_JULIAN, POSIX_DAY, POSIX_MONTH } kind; /* J1..J365, 0..365, Mm.w.d */
	unsigned month, week, day;
	int32_t time_s; /* of the day, by the clock that it ends */
};

struct posix_rule {
	int32_t standard_s, summer_s; /* ahead of UTC */
	bool has_summer;
	struct posix_day begin, end; /* of summer */
};

int posix_parse(const char *text, struct posix_rule *ret); /* 0 or -EINVAL */
/* What of the rule holds at t. ret->begin is where the file's own times end: no span of the rule
 * begins before. */
void posix_span_at(const struct posix_rule *rule, int64_t t, struct gt_zone_span *ret);

#endif
