/* store/db.h - one connection to the database, whichever it is: statements that release themselves,
 * transactions, errors in our language. db_sqlite.c and db_pg.c are the two kinds. Not thread-safe:
 * one thread a connection, or a lock. */
#ifndef GANTRY_SRC_STORE_DB_H
#define GANTRY_SRC_STORE_DB_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#include "sql.h"

struct gt_db;    /* a connection */
struct gt_query; /* a statement with its parameters and its rows */

struct gt_db_config {
	const char *path;   /* of SQLite's file, or a URL of PostgreSQL */
	uint32_t pages_max; /* SQLite: most pages of 4 KiB; 0 = as many as the disk takes */
	bool reads;         /* nothing is written through it */
	/* PostgreSQL: most time for one answer, and for an open transaction that says nothing, ms;
	 * 0 = 10 s. */
	uint32_t patience_ms;
};

/* Is it a URL of PostgreSQL? What it holds is not shown to anybody. */
bool gt_db_is_url(const char *path);

/* Opens and connects; the schema may be any. Errors of all calls: EIO: a read, write or sync of
 * SQLite's file failed, and nothing may be believed of what it was part of; EBADMSG: the file is
 * damaged; ENOSPC: the disk is full; ENOTCONN: PostgreSQL is not there, or not any more; EAGAIN:
 * another failure, of the one statement. */
GT_MUST_USE int gt_db_open(const struct gt_db_config *config, struct gt_db **ret,
			   struct gt_err *err);
/* With trusted, SQLite's log is moved into the database by the last one to close. NULL is fine. */
void gt_db_close(struct gt_db *db, bool trusted);
/* 0 when statements can be sent: connects again, at most twice a second, when PostgreSQL was lost.
 */
GT_MUST_USE int gt_db_ready(struct gt_db *db, struct gt_err *err);
bool gt_db_is_pg(const struct gt_db *db);

/* SQLite only: reads all pages, with whole what they hold, too; -EBADMSG says what is damaged.
 * gt_db_interrupt, of another thread, ends that. */
GT_MUST_USE int gt_db_check(struct gt_db *db, bool whole, struct gt_err *err);
void gt_db_interrupt(struct gt_db *db);
/* SQLite only: of a failed move of the log into the database `fn` is told, as nobody else is. */
void gt_db_on_trouble(struct gt_db *db, void (*fn)(void *arg, const struct gt_err *err), void *arg);

/* Brings the schema to the newest version; refuses a database that a newer program has made
 * unreadable for this one. migrate.c */
GT_MUST_USE int gt_db_migrate(struct gt_db *db, const char *path, struct gt_err *err);

/* Would that refuse it? Changes nothing; ret may be NULL. Of PostgreSQL with tables only. */
struct gt_schema {
	int64_t version, known; /* the database's, and the newest of this program */
};
GT_MUST_USE int gt_db_readable(struct gt_db *db, const char *path, struct gt_schema *ret,
			       struct gt_err *err);

GT_MUST_USE int gt_db_begin(struct gt_db *db, struct gt_err *err);
/* -EINPROGRESS (and ENOTCONN in err): nobody knows whether it was made. Roll back after any
 * failure. */
GT_MUST_USE int gt_db_commit(struct gt_db *db, struct gt_err *err);
void gt_db_rollback(struct gt_db *db);
/* Its failure takes along nothing else of the transaction; gt_db_broken tells when it did. */
GT_MUST_USE int gt_db_savepoint(struct gt_db *db, struct gt_err *err);
void gt_db_savepoint_undo(struct gt_db *db);
GT_MUST_USE int gt_db_savepoint_end(struct gt_db *db, struct gt_err *err);
bool gt_db_broken(struct gt_db *db); /* the open transaction can only be rolled back */

/* Statements without parameters or rows, separated by ';'. */
GT_MUST_USE int gt_db_exec(struct gt_db *db, const char *sql, struct gt_err *err);

/* A statement with its first parameters bound; one letter an argument: 't' const char * (NULL is
 * NULL), 'i' int64_t, 'b' const void * and size_t. The values are borrowed until it was released.
 * NULL on failure. gt_auto(query) releases it. */
struct gt_query *gt_db_query(struct gt_db *db, struct gt_err *err, const char *sql,
			     const char *types, ...);
/* The same, of a statement that is prepared once for the connection. gt_auto(query), too. */
struct gt_query *gt_sql(struct gt_db *db, struct gt_err *err, enum gt_sql which, const char *types,
			...);
/* The same about n calls, at most GT_SQL_GROUP: its first parameters; `types` are of those behind.
 */
struct gt_query *gt_sql_group(struct gt_db *db, struct gt_err *err, enum gt_sql which,
			      const uint64_t *seqs, size_t n, const char *types, ...);
/* 1 = a row is there, 0 = done, or -errno; NULL: what gt_db_query said. */
GT_MUST_USE int gt_db_step(struct gt_query *q, struct gt_err *err);
/* Runs a statement that gives no rows, and releases it; NULL: what gt_db_query said. In a
 * transaction of PostgreSQL it may fail later: then the transaction does. */
GT_MUST_USE int gt_db_finish(struct gt_query *q, struct gt_err *err);
void gt_query_release(struct gt_query *q); /* NULL is fine */

/* Of the present row; borrowed until the next step. */
int64_t gt_db_int(struct gt_query *q, int column);           /* 0 for NULL */
const char *gt_db_text(struct gt_query *q, int column);      /* "" for NULL */
const char *gt_db_text_null(struct gt_query *q, int column); /* NULL for NULL */
const void *gt_db_bytes(struct gt_query *q, int column, size_t *len);
int gt_db_columns(struct gt_query *q);

static inline void gt_cleanup_query(struct gt_query **q)
{
	gt_query_release(*q);
}

static inline void gt_cleanup_db(struct gt_db **db)
{
	gt_db_close(*db, true);
}

#endif
