/* cron/zone.h - a time zone: how far its clocks are from UTC, and when that changes. Read from the
 * bytes of a TZif file (RFC 9636), strictly, by code of our own: libc has one zone for a process,
 * set through its environment, and does not say where its clock jumps. */
#ifndef GANTRY_CRON_ZONE_H
#define GANTRY_CRON_ZONE_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_ZONE_NAME_MAX  63
#define GT_ZONE_BYTES_MAX 65536 /* of a file; the largest of 2026 has 4 KiB */
#define GT_ZONE_DIR       "/usr/share/zoneinfo"

struct gt_zone;

/* A time in which it does not change. */
struct gt_zone_span {
	int64_t begin, end; /* seconds since 1970, the end not included; INT64_MIN, INT64_MAX */
	int32_t offset_s;   /* what its clocks are ahead of UTC */
};

/* "Europe/Berlin": a relative path of letters, digits, +, - and _, with no part that is empty. */
bool gt_zone_name_ok(const char *name);
/* -EINVAL (invalid_schedule) for bytes that are no such file, or one with leap seconds in its
 * times. */
GT_MUST_USE int gt_zone_parse(const void *data, size_t len, struct gt_zone **ret,
			      struct gt_err *err);
/* Reads the file of a zone below `dir`. Blocks. -EINVAL (invalid_schedule), -ENOENT
 * (invalid_schedule). */
GT_MUST_USE int gt_zone_read(const char *dir, const char *name, struct gt_zone **ret,
			     struct gt_err *err);
void gt_zone_free(struct gt_zone *z); /* NULL is fine */
/* The one with the time t in it. z NULL: UTC. */
void gt_zone_span_at(const struct gt_zone *z, int64_t t, struct gt_zone_span *ret);

GT_CLEANUP_TYPE(zone, struct gt_zone *, gt_zone_free)

#endif
