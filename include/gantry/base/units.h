/* base/units.h - numbers as people write them, read strictly: no sign, no blanks, no overflow. */
#ifndef GANTRY_BASE_UNITS_H
#define GANTRY_BASE_UNITS_H

#include <gantry/base/base.h>

/* Decimal digits only. Returns 0, or -EINVAL, or -ERANGE above max. */
int gt_parse_u64(const char *s, uint64_t max, uint64_t *ret);
/* "1500ms" "90s" "10m" "2h" "1d"; a bare number is refused. In milliseconds. */
int gt_parse_duration_ms(const char *s, uint64_t *ret);
/* "512" (bytes) "64KiB" "20MiB" "1GiB" "2TiB", and decimal "64KB" "20MB" "1GB". */
int gt_parse_bytes(const char *s, uint64_t *ret);
/* Writes the shortest exact form that gt_parse_duration_ms reads back ("90s", "1500ms"). */
void gt_format_duration_ms(uint64_t ms, char *out, size_t size);
void gt_format_bytes(uint64_t bytes, char *out, size_t size); /* exact: "64MiB", "1000" */

#define GT_U64_SIZE 20 /* the most digits of one */
/* Writes n in decimal, without an end; returns what is behind it. Where printf would be felt. */
char *gt_put_u64(char *out, uint64_t n);

#endif
