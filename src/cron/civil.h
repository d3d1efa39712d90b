/* cron/civil.h - days since 1970 and the calendar's dates (Howard Hinnant, "chrono-compatible
 * low-level date algorithms"). */
#ifndef GANTRY_SRC_CRON_CIVIL_H
#define GANTRY_SRC_CRON_CIVIL_H

#include <stdint.h>

#define DAY_S 86400

struct civil {
	int64_t year;
	unsigned month, day; /* from 1 on */
};

static inline int64_t div_floor(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static inline int64_t days_of(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2), era = div_floor(y, 400), of_era = y - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static inline struct civil civil_of(int64_t days)
{
	int64_t z = days + 719468, era = div_floor(z, 146097), doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);

	return (struct civil){ yoe + era * 400 + (month <= 2), month,
			       (unsigned)(doy - (153 * mp + 2) / 5 + 1) };
}

static inline unsigned weekday_of(int64_t days) /* 0 = Sunday */
{
	return (unsigned)(days + 4 - 7 * div_floor(days + 4, 7));
}

#endif
