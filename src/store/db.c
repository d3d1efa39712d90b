/* store/db.c - see db.h. */
#include <stdarg.h>
#include <string.h>

#include "db.h"

/* See db.h. */
static int errno_of(int code)
{
	if (code == SQLITE_IOERR_NOMEM)
		return EAGAIN;
	switch (code & 0xff) {
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_NOTADB:
		return EIO;
	case SQLITE_CORRUPT:
		return EBADMSG;
	default:
		return EAGAIN;
	}
}

int gt_db_error(sqlite3 *db, struct gt_err *err, const char *what)
{
	int code = sqlite3_errcode(db);
	int system = sqlite3_system_errno(db);
	bool io = code != SQLITE_IOERR_NOMEM &&
		  ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN);

	if ((code & 0xff) == SQLITE_FULL || (io && (system == ENOSPC || system == EDQUOT)))
		return gt_err_set(err, ENOSPC, "storage_full",
				  "%s: the state disk is full; free some space and try again",
				  what);
	if (io && system)
		return gt_err_set(err, EIO, "unavailable", "%s: %s: %s", what, sqlite3_errmsg(db),
				  strerror(system));
	return gt_err_set(err, errno_of(code), "unavailable", "%s: %s", what, sqlite3_errmsg(db));
}

int gt_db_exec(sqlite3 *db, const char *sql, struct gt_err *err)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return gt_db_error(db, err, sql);
}

/* FULL: an answer of ours is a promise that a power cut must not break. The cache is small because
 * all that is hot lives in control's memory. */
static const char pragmas[] = "PRAGMA journal_mode=WAL;"
			      "PRAGMA synchronous=FULL;"
			      "PRAGMA foreign_keys=ON;"
			      "PRAGMA journal_size_limit=67108864;"
			      "PRAGMA cache_size=-1024;"
			      "PRAGMA trusted_schema=OFF;";

int gt_db_open(const char *path, uint32_t pages_max, sqlite3 **ret, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) sqlite3 *db = NULL;
	const char *vfs;
	int r = gt_db_vfs(&vfs, err);

	if (r < 0)
		return r;
	if (sqlite3_open_v2(path, &db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
			    vfs) != SQLITE_OK) {
		if (!db)
			return gt_err_set(err, ENOMEM, "internal", "%s: no memory", path);
		return gt_db_error(db, err, path);
	}
	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, 5000); /* somebody looks with the sqlite3 tool */
	if (sqlite3_exec(db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
		return gt_db_error(db, err, path);
	if (pages_max) {
		gt_auto(free) char *sql = gt_asprintf("PRAGMA max_page_count=%u", pages_max);

		r = gt_db_exec(db, sql, err);
		if (r < 0)
			return r;
	}
	*ret = gt_steal(&db);
	return 0;
}

sqlite3_stmt *gt_db_query(sqlite3 *db, struct gt_err *err, const char *sql, const char *types, ...)
{
	sqlite3_stmt *q = NULL;
	int r = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
	va_list args;

	va_start(args, types);
	for (int i = 0; r == SQLITE_OK && types[i]; i++) {
		if (types[i] == 't')
			r = sqlite3_bind_text(q, i + 1, va_arg(args, const char *), -1,
					      SQLITE_TRANSIENT);
		else
			r = sqlite3_bind_int64(q, i + 1, va_arg(args, int64_t));
	}
	va_end(args);
	if (r == SQLITE_OK)
		return q;
	gt_db_error(db, err, sql);
	sqlite3_finalize(q);
	return NULL;
}

int gt_db_step(sqlite3_stmt *q, struct gt_err *err)
{
	switch (sqlite3_step(q)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return gt_db_error(sqlite3_db_handle(q), err, "the state database");
	}
}

int gt_db_finish(sqlite3_stmt *q, struct gt_err *err)
{
	int r = q ? gt_db_step(q, err) : -EIO;

	sqlite3_finalize(q);
	return r < 0 ? r : 0;
}

int gt_db_wal_empty(sqlite3 *db, struct gt_err *err)
{
	return gt_db_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

int gt_db_check(sqlite3 *db, struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(db, err, "PRAGMA quick_check(1)", "");
	int r = q ? gt_db_step(q, err) : -err->code;

	if (r < 0)
		return r;
	if (r > 0 && strcmp(gt_db_text(q, 0), "ok") == 0)
		return 0;
	return gt_err_set(err, EBADMSG, "unavailable", "%s",
			  r > 0 ? gt_db_text(q, 0) : "no answer");
}
