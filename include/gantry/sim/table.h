/* sim/table.h - a CSV file with a heading line, plain or gzip, read row by row.
 *
 * Fields may be quoted ("" is a quote in quotes); a field does not reach over a line's end. Blank
 * lines are skipped. Every error names file, line and column: "nodes.csv.gz:17: gpu: 'x' is not a
 * number". A table is used by one thread at a time; two tables share nothing. */
#ifndef GANTRY_SIM_TABLE_H
#define GANTRY_SIM_TABLE_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_TABLE_LINE_MAX    (64 * 1024)         /* bytes of a line */
#define GT_TABLE_COLUMNS_MAX 256                 /* of the heading */
#define GT_TABLE_BYTES_MAX   (4 * 1024 * GT_MIB) /* of a whole file, decompressed */

struct gt_csv;

/* Opens the file and reads its heading. path is copied. 0, -ENOENT and the like, or -EINVAL. */
GT_MUST_USE int gt_csv_open(const char *path, struct gt_csv **ret, struct gt_err *err);
struct gt_csv *gt_csv_free(struct gt_csv *t); /* NULL is fine; returns NULL */
GT_CLEANUP_TYPE(csv, struct gt_csv *, gt_csv_free)

/* The column of that name; -EINVAL lists the columns there are. */
GT_MUST_USE int gt_csv_column(const struct gt_csv *t, const char *name, size_t *ret,
			      struct gt_err *err);
bool gt_csv_has(const struct gt_csv *t, const char *name);

/* 1: a row is there; 0: the file has ended; else -errno. Every row has as many fields as the
 * heading, else -EINVAL. */
GT_MUST_USE int gt_csv_next(struct gt_csv *t, struct gt_err *err);

/* Fields of the row. Text is borrowed until the next row. */
const char *gt_csv_text(const struct gt_csv *t, size_t column);
GT_MUST_USE int gt_csv_u64(const struct gt_csv *t, size_t column, uint64_t max, uint64_t *ret,
			   struct gt_err *err);
/* A finite decimal number that is not negative: digits, at most one point, an exponent. */
GT_MUST_USE int gt_csv_double(const struct gt_csv *t, size_t column, double max, double *ret,
			      struct gt_err *err);
/* An error of the reader's own about a field of this row: "file:line: column: text". -EINVAL. */
int gt_csv_bad(const struct gt_csv *t, size_t column, struct gt_err *err, const char *fmt, ...)
	GT_PRINTF(4, 5);

uint64_t gt_csv_line(const struct gt_csv *t); /* of the row, from 1 */
uint64_t gt_csv_rows(const struct gt_csv *t); /* read so far */
/* FNV-1a, 64 bits, of all bytes read so far after decompression: the whole file's once
 * gt_csv_next has returned 0. The same for the plain file and the gzip. */
uint64_t gt_csv_hash(const struct gt_csv *t);

#endif
