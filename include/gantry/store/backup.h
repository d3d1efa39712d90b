/* store/backup.h - copies of a store in files of SQLite: gantry.db, and bodies/ beside it. These
 * calls block, know no thread of a store's, and may run in any process beside a daemon at work. Of
 * PostgreSQL its own tools make copies. */
#ifndef GANTRY_STORE_BACKUP_H
#define GANTRY_STORE_BACKUP_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

/* The store of the directory `from`, as it is at one moment, into the empty directory `to`, synced
 * and checked. Writers are not held up. -EBUSY: bodies came and went faster than they could be
 * copied. */
GT_MUST_USE int gt_store_copy(const char *from, const char *to, struct gt_err *err);
/* Whole? Its pages, its schema (a newer one names both numbers), and each body that a row names.
 * Changes nothing. */
GT_MUST_USE int gt_store_verify(const char *dir, struct gt_err *err);
/* May this program use it? A database of a newer one that does not say so names both numbers; where
 * there is none it may. Changes nothing. */
GT_MUST_USE int gt_store_readable(const char *dir, struct gt_err *err);
/* What was copied is to be used again: what is numbered begins far above all that may have been
 * given since, so that neither agents take an old order for a new one nor an old result finds a new
 * call. */
GT_MUST_USE int gt_store_renumber(const char *dir, struct gt_err *err);

#endif
