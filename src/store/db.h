/* store/db.h - one SQLite connection: opened the safe way, statements that release themselves,
 * errors in our language. Not thread-safe: the caller holds a lock. */
#ifndef GANTRY_SRC_STORE_DB_H
#define GANTRY_SRC_STORE_DB_H

#include <sqlite3.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

GT_MUST_USE int gt_db_open(const char *path, uint32_t pages_max, sqlite3 **ret, struct gt_err *err);
/* Brings the schema to the newest version; refuses a database of a newer program. migrate.c */
GT_MUST_USE int gt_db_migrate(sqlite3 *db, const char *path, struct gt_err *err);
/* Moves all of the write-ahead log into the database: pages that a failed sync left in the page
 * cache alone are written anew. One that somebody else reads is left as it is. */
GT_MUST_USE int gt_db_wal_empty(sqlite3 *db, struct gt_err *err);
/* Reads the whole database; -EBADMSG says what is damaged. */
GT_MUST_USE int gt_db_check(sqlite3 *db, struct gt_err *err);
/* Registers the file layer that leaves relative paths relative. vfs.c */
GT_MUST_USE int gt_db_vfs(const char **name, struct gt_err *err);

GT_MUST_USE int gt_db_exec(sqlite3 *db, const char *sql, struct gt_err *err);
/* The last error of the connection as a gt_err; what names the deed. EIO: a read, write or sync
 * failed, and nothing may be believed of what it was part of; EBADMSG: the file is damaged; ENOSPC:
 * the disk is full; EAGAIN: another failure, of the one statement. */
int gt_db_error(sqlite3 *db, struct gt_err *err, const char *what);

/* A statement with its first parameters bound; one letter an argument: 't' const char *, 'i'
 * int64_t. NULL on failure. */
sqlite3_stmt *gt_db_query(sqlite3 *db, struct gt_err *err, const char *sql, const char *types, ...);
/* 1 = a row is there, 0 = done, or -errno. */
GT_MUST_USE int gt_db_step(sqlite3_stmt *q, struct gt_err *err);
/* Runs a statement that gives no rows. */
GT_MUST_USE int gt_db_finish(sqlite3_stmt *q, struct gt_err *err);

static inline const char *gt_db_text(sqlite3_stmt *q, int column)
{
	const char *s = (const char *)sqlite3_column_text(q, column);

	return s ? s : "";
}

static inline void gt_cleanup_query(sqlite3_stmt **q)
{
	sqlite3_finalize(*q);
}

static inline void gt_cleanup_db(sqlite3 **db)
{
	sqlite3_close_v2(*db);
}

#endif
