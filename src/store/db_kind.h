/* store/db_kind.h - what a kind of database does for db.c. */
#ifndef GANTRY_SRC_STORE_DB_KIND_H
#define GANTRY_SRC_STORE_DB_KIND_H

#include "db.h"

#define GT_PARAMS_MAX 32

struct gt_param {
	char type; /* 't', 'i', 'b' */
	int64_t i;
	const void *p; /* NULL is NULL */
	size_t len;    /* of 'b' */
};

struct gt_db_kind {
	void (*close)(struct gt_db *db, bool trusted);
	int (*ready)(struct gt_db *db, struct gt_err *err);
	int (*exec)(struct gt_db *db, const char *sql, struct gt_err *err);
	int (*begin)(struct gt_db *db, struct gt_err *err);
	int (*commit)(struct gt_db *db, struct gt_err *err);
	void (*rollback)(struct gt_db *db);
	/* A word that needs no answer before the transaction's end. */
	int (*say)(struct gt_db *db, const char *sql, struct gt_err *err);
	bool (*broken)(struct gt_db *db);
	/* which: of a kept statement, or -1. Parameters as in db.h. */
	struct gt_query *(*query)(struct gt_db *db, int which, const char *sql,
				  const struct gt_param *params, int n, struct gt_err *err);
	int (*step)(struct gt_query *q, struct gt_err *err);
	int (*finish)(struct gt_query *q, struct gt_err *err); /* does not release */
	void (*release)(struct gt_query *q);
	const void *(*column)(struct gt_query *q, int column, size_t *len); /* NULL is NULL */
	int64_t (*column_int)(struct gt_query *q, int column);
	int (*columns)(struct gt_query *q);
};

struct gt_db {
	const struct gt_db_kind *kind;
};

struct gt_query {
	struct gt_db *db;
};

GT_MUST_USE int gt_db_sqlite_open(const struct gt_db_config *config, struct gt_db **ret,
				  struct gt_err *err);
struct sqlite3 *gt_db_sqlite_handle(struct gt_db *db); /* for copies */
GT_MUST_USE int gt_db_pg_open(const struct gt_db_config *config, struct gt_db **ret,
			      struct gt_err *err);
/* The file layer that leaves relative paths relative. vfs.c */
GT_MUST_USE int gt_db_vfs(const char **name, struct gt_err *err);
/* The errno of the last read of a file of SQLite's that failed in this thread, once; 0 = none. */
int gt_db_unread(void);

#endif
