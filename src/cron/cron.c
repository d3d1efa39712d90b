/* cron.c - cron expressions, and the times that match them. */
#include <gantry/cron/cron.h>

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "civil.h"

/* Weekdays and leap years come together again after 28 years, or 40 around a year as 2100. */
#define SEARCH_S (41LL * 366 * DAY_S)

struct field {
	const char *name;
	unsigned least, most;
	const char *words; /* three letters each, from `least` on */
};
enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };
static const struct field fields[FIELDS] = {
	[MINUTE] = { "minute", 0, 59, NULL },
	[HOUR] = { "hour", 0, 23, NULL },
	[DAY] = { "day of the month", 1, 31, NULL },
	[MONTH] = { "month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec" },
	[WEEKDAY] = { "day of the week", 0, 7, "sunmontuewedthufrisat" },
};

/* ---- reading -------------------------------------------------------------------------------- */

static int bad(const struct field *f, const char *what, size_t len, const char *fix,
	       struct gt_err *err)
{
	return gt_err_set(err, EINVAL, "invalid_schedule", "%s \"%.*s\": %s", f->name,
			  (int)GT_MIN(len, (size_t)80), what, fix);
}

static bool value_read(const struct field *f, const char **s, const char *end, unsigned *ret)
{
	const char *p = *s;
	unsigned n = 0;

	if (f->words && end - p >= 3 && isalpha((unsigned char)*p)) {
		for (size_t i = 0; f->words[3 * i]; i++)
			if (strncasecmp(p, f->words + 3 * i, 3) == 0) {
				*s = p + 3;
				*ret = f->least + (unsigned)i;
				return true;
			}
		return false;
	}
	while (p < end && *p >= '0' && *p <= '9' && p - *s < 3)
		n = n * 10 + (unsigned)(*p++ - '0');
	if (p == *s || n < f->least || n > f->most)
		return false;
	*s = p;
	*ret = n;
	return true;
}

/* One part of a list: [s, end). */
static int part_read(const struct field *f, const char *s, const char *end, uint64_t *bits,
		     struct gt_err *err)
{
	const char *all = s;
	size_t len = (size_t)(end - s);
	unsigned from = f->least, to = f->most, step = 1;
	bool range = false;

	if (s < end && *s == '*') {
		s++;
		range = true;
		to -= f->words && f->most == 7; /* Sunday once */
	} else if (!value_read(f, &s, end, &from)) {
		return bad(f, all, len, "no value that it can have", err);
	} else {
		to = from;
	}
	if (!range && s < end && *s == '-') {
		s++;
		if (!value_read(f, &s, end, &to))
			return bad(f, all, len, "no value that its end can have", err);
		if (f->most == 7 && to == 0 && from > 0)
			to = 7; /* fri-sun */
		if (to < from)
			return bad(f, all, len, "a range goes from the lower to the higher value",
				   err);
		range = true;
	}
	if (s < end && *s == '/') {
		const struct field steps = { f->name, 1, f->most, NULL };

		s++;
		if (!range)
			return bad(f, all, len, "a step is of * or of a range, such as 5-59/15",
				   err);
		if (!value_read(&steps, &s, end, &step))
			return bad(f, all, len, "no step that it can have", err);
	}
	if (s != end)
		return bad(f, all, len, "use *, values, ranges (1-5), lists (1,5) and steps (*/5)",
			   err);
	for (; from <= to; from += step)
		*bits |= 1ULL << from;
	return 0;
}

static int field_read(const struct field *f, const char *s, size_t len, uint64_t *bits,
		      struct gt_err *err)
{
	const char *end = s + len;
	int r = 0;

	for (*bits = 0; r == 0; s++) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *stop = comma ? comma : end;

		r = part_read(f, s, stop, bits, err);
		s = stop;
		if (!comma)
			break;
	}
	return r;
}

static const char *macro_find(const char *text)
{
	static const char *const all[][2] = {
		{ "@hourly", "0 * * * *" },   { "@daily", "0 0 * * *" },
		{ "@midnight", "0 0 * * *" }, { "@weekly", "0 0 * * 0" },
		{ "@monthly", "0 0 1 * *" },  { "@yearly", "0 0 1 1 *" },
		{ "@annually", "0 0 1 1 *" },
	};

	for (size_t i = 0; i < GT_LEN(all); i++)
		if (gt_streq(text, all[i][0]))
			return all[i][1];
	return NULL;
}

static bool local_next(const struct gt_cron *c, int64_t from, int64_t before, int64_t *ret);

static int fields_read(const char *s, struct gt_cron *c, struct gt_err *err)
{
	uint64_t bits[FIELDS];
	bool star[FIELDS];
	size_t n = 0;

	for (s += strspn(s, " \t"); *s; s += strspn(s, " \t")) {
		size_t len = strcspn(s, " \t");

		if (n == FIELDS)
			return gt_err_set(err, EINVAL, "invalid_schedule",
					  "there are more than five fields: minute, hour, day of "
					  "the month, month, day of the week");
		star[n] = *s == '*';
		if (field_read(&fields[n], s, len, &bits[n], err) < 0)
			return -EINVAL;
		n++;
		s += len;
	}
	if (n < FIELDS)
		return gt_err_set(err, EINVAL, "invalid_schedule",
				  "%zu of five fields: minute, hour, day of the month, month, day "
				  "of the week; or one of @hourly, @daily, @weekly, @monthly, "
				  "@yearly",
				  n);
	*c = (struct gt_cron){ .minutes = bits[MINUTE],
			       .hours = (uint32_t)bits[HOUR],
			       .days = (uint32_t)bits[DAY],
			       .months = (uint16_t)bits[MONTH],
			       .weekdays = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7f),
			       .times = !star[MINUTE] && !star[HOUR],
			       .both = star[DAY] || star[WEEKDAY] };
	return 0;
}

int gt_cron_parse(const char *text, struct gt_cron *ret, struct gt_err *err)
{
	const char *full = text;
	struct gt_cron c;
	int64_t first;

	if (strlen(text) > GT_CRON_TEXT_MAX)
		return gt_err_set(err, EINVAL, "invalid_schedule", "it is longer than %d bytes",
				  GT_CRON_TEXT_MAX);
	if (text[0] == '@') {
		full = macro_find(text);
		if (!full)
			return gt_err_set(err, EINVAL, "invalid_schedule",
					  "%.20s: use @hourly, @daily, @weekly, @monthly, @yearly, "
					  "or five fields",
					  text);
	}
	if (fields_read(full, &c, err) < 0)
		return -EINVAL;
	if (!local_next(&c, 0, SEARCH_S, &first))
		return gt_err_set(err, EINVAL, "invalid_schedule",
				  "no day of any year matches it: look at day and month");
	*ret = c;
	return 0;
}

/* ---- times ---------------------------------------------------------------------------------- */

static bool day_matches(const struct gt_cron *c, int64_t days, const struct civil *d)
{
	bool day = c->days >> d->day & 1, weekday = c->weekdays >> weekday_of(days) & 1;

	return (c->months >> d->month & 1) && (c->both ? day && weekday : day || weekday);
}

/* The first minute of a day that matches, from the minute `from` on. */
static bool minute_next(const struct gt_cron *c, unsigned from, unsigned *ret)
{
	unsigned hour = from / 60;
	uint64_t minutes = c->minutes >> from % 60 << from % 60;

	if ((c->hours >> hour & 1) && minutes) {
		*ret = hour * 60 + (unsigned)__builtin_ctzll(minutes);
		return true;
	}
	for (hour++; hour < 24; hour++)
		if (c->hours >> hour & 1) {
			*ret = hour * 60 + (unsigned)__builtin_ctzll(c->minutes);
			return true;
		}
	return false;
}

/* The first minute that matches, by a clock that never changes: from <= it < before. */
static bool local_next(const struct gt_cron *c, int64_t from, int64_t before, int64_t *ret)
{
	int64_t at = div_floor(from + 59, 60), days = div_floor(at, 1440);
	unsigned minute = (unsigned)(at - days * 1440);

	for (; days * DAY_S < before; days++, minute = 0) {
		struct civil d = civil_of(days);

		if (!(c->months >> d.month & 1)) { /* to the last day of the month */
			days = days_of(d.year + (d.month == 12), d.month % 12 + 1, 1) - 1;
			continue;
		}
		if (!day_matches(c, days, &d) || !minute_next(c, minute, &minute))
			continue;
		*ret = days * DAY_S + (int64_t)minute * 60;
		return *ret < before;
	}
	return false;
}

/* The first one in the span, not before t; *was: the offset before it. */
static bool span_next(const struct gt_cron *c, const struct gt_zone_span *s, const int32_t *was,
		      int64_t t, int64_t until, int64_t *ret)
{
	int64_t from = t + s->offset_s, end = GT_MIN(s->end, until), skipped;

	if (c->times && was) {
		int64_t turn = s->begin + *was; /* what clocks showed when they were changed */

		if (t == s->begin && local_next(c, turn, s->begin + s->offset_s, &skipped)) {
			*ret = t;
			return true;
		}
		from = GT_MAX(from, turn); /* before it, they show it for the second time */
	}
	if (!local_next(c, from, end + s->offset_s, ret))
		return false;
	*ret -= s->offset_s;
	return true;
}

static int64_t cron_next(const struct gt_cron *c, const struct gt_zone *z, int64_t after)
{
	int64_t t = after + 1, until = after + SEARCH_S, found;

	while (t < until) {
		struct gt_zone_span s, before;
		bool first;

		gt_zone_span_at(z, t, &s);
		first = s.begin == INT64_MIN;
		if (!first)
			gt_zone_span_at(z, s.begin - 1, &before);
		if (span_next(c, &s, first ? NULL : &before.offset_s, t, until, &found))
			return found;
		t = s.end;
	}
	return INT64_MAX;
}

int64_t gt_timing_next(const struct gt_timing *t, int64_t after)
{
	int64_t every = (int64_t)t->every_s;

	if (after < 0)
		after = 0;
	if (after > INT64_MAX / 4)
		return INT64_MAX;
	if (!every)
		return cron_next(&t->cron, t->zone, after);
	return t->since_s + (div_floor(after - t->since_s, every) + 1) * every;
}

/* Looks back in ever wider windows, so that it takes no long time whether they are dense or rare.
 */
size_t gt_timing_last(const struct gt_timing *t, int64_t from, int64_t to, size_t most,
		      int64_t *ret)
{
	static const int64_t windows[] = { 3600, DAY_S, 31 * DAY_S, 366 * DAY_S, 4383 * DAY_S };
	size_t n = 0;

	if (most == 0 || from > to)
		return 0;
	for (size_t w = 0; w <= GT_LEN(windows); w++) {
		int64_t begin = from;

		if (t->every_s) /* there all are known */
			begin = GT_MAX(begin, to - (int64_t)(most * t->every_s));
		else if (w < GT_LEN(windows))
			begin = GT_MAX(begin, to - windows[w]);
		n = 0;
		for (int64_t at = gt_timing_next(t, begin - 1); at <= to;
		     at = gt_timing_next(t, at)) {
			if (n == most)
				memmove(ret, ret + 1, --n * sizeof(*ret));
			ret[n++] = at;
		}
		if (n == most || begin == from || t->every_s)
			break;
	}
	return n;
}
