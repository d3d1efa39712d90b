/* store/lease_row.h - the row of who leads. PostgreSQL only: a file of SQLite belongs to who has
 * it.
 */
#ifndef GANTRY_SRC_STORE_LEASE_ROW_H
#define GANTRY_SRC_STORE_LEASE_ROW_H

#include <gantry/store/lease.h>

#include "db.h"

/* left_ms: until its time is over, by the database's clock; below 0 it is. lease.c */
GT_MUST_USE int gt_lease_row_read(struct gt_db *db, struct gt_lease_view *ret, int64_t *left_ms,
				  struct gt_err *err);
/* 1: token_print of who leads, with this epoch, is another one than `print`; 0: it is this one, or
 * not known. lease.c */
GT_MUST_USE int gt_lease_token_other(struct gt_db *db, uint64_t epoch, const char *print,
				     struct gt_err *err);

#endif
