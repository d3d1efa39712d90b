/* fuzz_cron.c - a cron expression (the text up to the first newline) in a time zone (the bytes of a
 * TZif file behind it). What is refused says why; what is taken has times that grow, each of which
 * its clock shows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/cron/cron.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void walk(struct gt_timing *t, int64_t from)
{
	int64_t at = from;

	for (int i = 0; i < 8; i++) {
		int64_t next = gt_timing_next(t, at);
		struct gt_zone_span s;

		must(next > at);
		if (next == INT64_MAX)
			return;
		at = next;
		gt_zone_span_at(t->zone, at, &s);
		must(s.begin <= at && at < s.end);
		/* a time of day that was left out comes when the clock is changed */
		must((at + s.offset_s) % 60 == 0 || at == s.begin);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;
	gt_auto(free) char *text = gt_strndup((const char *)data, n);
	gt_auto(zone) struct gt_zone *zone = NULL;
	struct gt_timing t = { 0 };
	struct gt_err err = { 0 };

	if (end && gt_zone_parse(end + 1, len - n - 1, &zone, &err) < 0) {
		must(err.code > 0 && err.text[0] && !zone);
		return 0;
	}
	gt_err_clear(&err);
	if (gt_cron_parse(text, &t.cron, &err) < 0) {
		must(err.code > 0 && err.text[0]);
		return 0;
	}
	t.zone = zone;
	walk(&t, 0);
	walk(&t, 1795600000);
	walk(&t, 4000000000);
	walk(&t, 250000000000);
	return 0;
}
