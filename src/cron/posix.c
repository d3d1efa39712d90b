/* posix.c - see posix.h. */
#include "posix.h"

#include <ctype.h>
#include <string.h>

#include "civil.h"

#define YEAR_MOST 100000 /* far behind what anybody asks for, and days fit */

/* ---- reading -------------------------------------------------------------------------------- */

static bool digits(const char **s, unsigned most, unsigned *ret)
{
	unsigned n = 0;
	const char *p = *s;

	while (*p >= '0' && *p <= '9' && n <= most)
		n = n * 10 + (unsigned)(*p++ - '0');
	if (p == *s || n > most)
		return false;
	*s = p;
	*ret = n;
	return true;
}

static bool skip(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/* "CET" or "<+03>". */
static bool name_skip(const char **s)
{
	const char *p = *s;

	if (skip(&p, '<')) {
		while (isalnum((unsigned char)*p) || *p == '+' || *p == '-')
			p++;
		if (p - *s < 4 || !skip(&p, '>'))
			return false;
	} else {
		while (isalpha((unsigned char)*p))
			p++;
		if (p - *s < 3)
			return false;
	}
	*s = p;
	return true;
}

/* "[+-]hh[:mm[:ss]]" */
static bool time_read(const char **s, unsigned hours_most, int32_t *ret)
{
	unsigned h, m = 0, sec = 0;
	bool minus = skip(s, '-');

	if (!minus)
		(void)skip(s, '+');
	if (!digits(s, hours_most, &h))
		return false;
	if (skip(s, ':') && (!digits(s, 59, &m) || (skip(s, ':') && !digits(s, 59, &sec))))
		return false;
	*ret = (int32_t)(h * 3600 + m * 60 + sec) * (minus ? -1 : 1);
	return true;
}

static bool day_read(const char **s, struct posix_day *d)
{
	bool ok;

	if (skip(s, 'M')) {
		d->kind = POSIX_MONTH;
		ok = digits(s, 12, &d->month) && d->month && skip(s, '.') &&
		     digits(s, 5, &d->week) && d->week && skip(s, '.') && digits(s, 6, &d->day);
	} else if (skip(s, 'J')) {
		d->kind = POSIX_JULIAN;
		ok = digits(s, 365, &d->day) && d->day;
	} else {
		d->kind = POSIX_DAY;
		ok = digits(s, 365, &d->day);
	}
	d->time_s = 2 * 3600;
	return ok && (!skip(s, '/') || time_read(s, 167, &d->time_s));
}

int posix_parse(const char *text, struct posix_rule *ret)
{
	struct posix_rule r = { 0 };
	int32_t west;

	if (!name_skip(&text) || !time_read(&text, 24, &west))
		return -EINVAL;
	r.standard_s = -west;
	r.has_summer = *text != '\0';
	if (r.has_summer) {
		if (!name_skip(&text))
			return -EINVAL;
		r.summer_s = r.standard_s + 3600;
		if (*text != ',') {
			if (!time_read(&text, 24, &west))
				return -EINVAL;
			r.summer_s = -west;
		}
		if (!skip(&text, ',') || !day_read(&text, &r.begin) || !skip(&text, ',') ||
		    !day_read(&text, &r.end) || *text)
			return -EINVAL;
	}
	*ret = r;
	return 0;
}

/* ---- asking --------------------------------------------------------------------------------- */

static bool is_leap(int64_t year)
{
	return days_of(year, 3, 1) - days_of(year, 2, 28) == 2;
}

static int64_t day_of(const struct posix_day *d, int64_t year)
{
	int64_t first = days_of(year, 1, 1), day;

	switch (d->kind) {
	case POSIX_JULIAN: /* February 29 is not counted */
		return first + d->day - 1 + (d->day >= 60 && is_leap(year));
	case POSIX_DAY:
		return first + d->day;
	default:
		break;
	}
	first = days_of(year, d->month, 1);
	day = first + (d->day + 7 - weekday_of(first)) % 7 + 7 * (d->week - 1);
	while (day >= days_of(year + (d->month == 12), d->month % 12 + 1, 1))
		day -= 7;
	return day;
}

struct change {
	int64_t at;
	int32_t offset_s;
};

/* Of three years, in order; of two at the same moment the later one of the list holds. */
static void changes_of(const struct posix_rule *r, int64_t year, struct change all[6])
{
	size_t n = 0;

	for (int64_t y = year - 1; y <= year + 1; y++) {
		struct change pair[2] = {
			{ day_of(&r->begin, y) * DAY_S + r->begin.time_s - r->standard_s,
			  r->summer_s },
			{ day_of(&r->end, y) * DAY_S + r->end.time_s - r->summer_s, r->standard_s },
		};

		for (size_t k = 0; k < 2; k++) {
			size_t i = n++;

			for (; i > 0 && all[i - 1].at > pair[k].at; i--)
				all[i] = all[i - 1];
			all[i] = pair[k];
		}
	}
}

void posix_span_at(const struct posix_rule *r, int64_t t, struct gt_zone_span *ret)
{
	int64_t most = days_of(YEAR_MOST, 1, 1) * DAY_S, least = days_of(-YEAR_MOST, 1, 1) * DAY_S;
	int64_t near = GT_MAX(GT_MIN(t, most), least);
	struct change all[6];

	ret->offset_s = r->standard_s;
	if (!r->has_summer)
		return;
	changes_of(r, civil_of(div_floor(near + r->standard_s, DAY_S)).year, all);
	for (size_t i = 0; i < GT_LEN(all); i++) {
		if (all[i].at > t) {
			ret->end = all[i].at;
			return;
		}
		ret->begin = GT_MAX(ret->begin, all[i].at);
		ret->offset_s = all[i].offset_s;
	}
}
