/* store/db_sqlite.c - a connection to a file of SQLite; see db.h. */
#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "db_kind.h"

#define LOG_PAGES 4000 /* of the write-ahead log: then it is moved into the database */

struct lite_query {
	struct gt_query q;
	sqlite3_stmt *stmt;
	bool kept;
};

struct lite {
	struct gt_db db;
	sqlite3 *handle;
	struct lite_query kept[GT_SQL_N];
	ino_t log; /* of the write-ahead log, since the first commit */
	void (*on_trouble)(void *arg, const struct gt_err *err);
	void *trouble_arg;
};

static struct lite *of(struct gt_db *db)
{
	return (struct lite *)db; /* it is the first member */
}

static struct lite_query *query_of(struct gt_query *q)
{
	return (struct lite_query *)q;
}

/* ---- errors --------------------------------------------------------------------------------- */

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

static int failed(sqlite3 *db, struct gt_err *err, const char *what)
{
	int code = sqlite3_errcode(db);
	int system = sqlite3_system_errno(db);
	int unread = gt_db_unread();
	bool io = code != SQLITE_IOERR_NOMEM &&
		  ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN);

	if ((code & 0xff) == SQLITE_FULL || (io && (system == ENOSPC || system == EDQUOT)))
		return gt_err_set(err, ENOSPC, "storage_full",
				  "%s: the state disk is full; free some space and try again",
				  what);
	if (io && system)
		return gt_err_set(err, EIO, "unavailable", "%s: %s: %s", what, sqlite3_errmsg(db),
				  strerror(system));
	if ((code & 0xff) == SQLITE_CORRUPT && unread) /* another process may read it */
		return gt_err_set(err, EIO, "unavailable", "%s: a read failed: %s", what,
				  strerror(unread));
	return gt_err_set(err, errno_of(code), "unavailable", "%s: %s", what, sqlite3_errmsg(db));
}

/* ---- statements ----------------------------------------------------------------------------- */

static int bind(sqlite3_stmt *s, int i, const struct gt_param *p)
{
	switch (p->type) {
	case 't':
		return p->p ? sqlite3_bind_text(s, i, p->p, -1, SQLITE_STATIC)
			    : sqlite3_bind_null(s, i);
	case 'b':
		return sqlite3_bind_blob64(s, i, p->p, p->len, SQLITE_STATIC);
	default:
		return sqlite3_bind_int64(s, i, p->i);
	}
}

static void lite_release(struct gt_query *query)
{
	struct lite_query *q = query_of(query);

	if (q->kept) {
		sqlite3_reset(q->stmt);
		return;
	}
	sqlite3_finalize(q->stmt);
	free(q);
}

static struct gt_query *lite_query(struct gt_db *db, int which, const char *sql,
				   const struct gt_param *params, int n, struct gt_err *err)
{
	struct lite *l = of(db);
	struct lite_query *q = which < 0 ? gt_alloc(sizeof(*q)) : &l->kept[which];
	int r = SQLITE_OK;

	q->q.db = db;
	q->kept = which >= 0;
	if (!q->stmt)
		r = sqlite3_prepare_v3(l->handle, sql, -1, q->kept ? SQLITE_PREPARE_PERSISTENT : 0,
				       &q->stmt, NULL);
	else
		sqlite3_reset(q->stmt);
	for (int i = 0; r == SQLITE_OK && i < n; i++)
		r = bind(q->stmt, i + 1, &params[i]);
	if (r == SQLITE_OK)
		return &q->q;
	failed(l->handle, err, sql);
	lite_release(&q->q);
	return NULL;
}

static int lite_step(struct gt_query *q, struct gt_err *err)
{
	switch (sqlite3_step(query_of(q)->stmt)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return failed(of(q->db)->handle, err, "the state database");
	}
}

static int lite_finish(struct gt_query *q, struct gt_err *err)
{
	int r = lite_step(q, err);

	return r < 0 ? r : 0;
}

static const void *lite_column(struct gt_query *query, int column, size_t *len)
{
	sqlite3_stmt *s = query_of(query)->stmt;

	if (!len)
		return sqlite3_column_text(s, column);
	*len = (size_t)sqlite3_column_bytes(s, column);
	return sqlite3_column_blob(s, column);
}

static int64_t lite_int(struct gt_query *q, int column)
{
	return sqlite3_column_int64(query_of(q)->stmt, column);
}

static int lite_columns(struct gt_query *q)
{
	return sqlite3_column_count(query_of(q)->stmt);
}

/* ---- transactions --------------------------------------------------------------------------- */

static int lite_exec(struct gt_db *db, const char *sql, struct gt_err *err)
{
	if (sqlite3_exec(of(db)->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return failed(of(db)->handle, err, sql);
}

static int lite_begin(struct gt_db *db, struct gt_err *err)
{
	return lite_exec(db, "BEGIN IMMEDIATE", err);
}

/* SQLite goes on writing to files that were removed under it, and all of it would be gone with this
 * process. While it is open nobody else may remove its log, either. */
static int in_place(struct lite *l, struct gt_err *err)
{
	const char *name = sqlite3_db_filename(l->handle, "main");
	int moved = 0;
	struct stat log;

	if (!name || !name[0]) /* in memory */
		return 0;
	/* It takes any failure to look for a file that has moved. */
	for (int i = 0; i < 2 && (i == 0 || moved); i++)
		sqlite3_file_control(l->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	if (!moved && stat(sqlite3_filename_wal(name), &log) < 0) {
		if (errno != ENOENT)
			return gt_err_set(err, EIO, "unavailable", "look at its log: %s",
					  strerror(errno));
		moved = 1;
	}
	if (!moved && !l->log)
		l->log = log.st_ino;
	if (moved || l->log != log.st_ino)
		return gt_err_set(err, EBADMSG, "unavailable",
				  "its file, or that of its log, was removed or replaced while it "
				  "was in use");
	return 0;
}

static int lite_commit(struct gt_db *db, struct gt_err *err)
{
	int r = lite_exec(db, "COMMIT", err);

	return r < 0 ? r : in_place(of(db), err);
}

/* SQLite may have given up the whole transaction: a full disk does that. */
static bool lite_broken(struct gt_db *db)
{
	return sqlite3_get_autocommit(of(db)->handle);
}

static void lite_rollback(struct gt_db *db)
{
	if (!lite_broken(db))
		sqlite3_exec(of(db)->handle, "ROLLBACK", NULL, NULL, NULL);
}

static int lite_ready(struct gt_db *db GT_UNUSED, struct gt_err *err GT_UNUSED)
{
	return 0;
}

/* SQLite's own hook passes over a sync of the database that failed. The commit itself is in the
 * log, durably. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct lite *l = arg;
	struct gt_err err = { 0 };

	if (pages < LOG_PAGES ||
	    sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK)
		return SQLITE_OK;
	failed(db, &err, "move the log into the database");
	if (l->on_trouble)
		l->on_trouble(l->trouble_arg, &err);
	return SQLITE_OK;
}

void gt_db_on_trouble(struct gt_db *db, void (*fn)(void *arg, const struct gt_err *err), void *arg)
{
	of(db)->on_trouble = fn;
	of(db)->trouble_arg = arg;
}

int gt_db_check(struct gt_db *db, bool whole, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, whole ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)", "");
	int r = q ? gt_db_step(q, err) : -err->code;

	if (r < 0)
		return r;
	if (r > 0 && strcmp(gt_db_text(q, 0), "ok") == 0)
		return 0;
	return gt_err_set(err, EBADMSG, "unavailable", "%s",
			  r > 0 ? gt_db_text(q, 0) : "no answer");
}

struct sqlite3 *gt_db_sqlite_handle(struct gt_db *db)
{
	return of(db)->handle;
}

void gt_db_interrupt(struct gt_db *db)
{
	sqlite3_interrupt(of(db)->handle);
}

/* ---- open and close ------------------------------------------------------------------------- */

static void lite_close(struct gt_db *db, bool trusted)
{
	struct lite *l = of(db);

	for (size_t i = 0; i < GT_SQL_N; i++)
		sqlite3_finalize(l->kept[i].stmt);
	if (l->handle && !trusted)
		sqlite3_db_config(l->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close_v2(l->handle);
	free(l);
}

static const struct gt_db_kind lite_kind = {
	.close = lite_close,
	.ready = lite_ready,
	.exec = lite_exec,
	.begin = lite_begin,
	.commit = lite_commit,
	.rollback = lite_rollback,
	.say = lite_exec,
	.broken = lite_broken,
	.query = lite_query,
	.step = lite_step,
	.finish = lite_finish,
	.release = lite_release,
	.column = lite_column,
	.column_int = lite_int,
	.columns = lite_columns,
};

/* FULL: an answer of ours is a promise that a power cut must not break. The cache is small because
 * all that is hot lives in control's memory. */
static const char pragmas[] = "PRAGMA journal_mode=WAL;"
			      "PRAGMA synchronous=FULL;"
			      "PRAGMA foreign_keys=ON;"
			      "PRAGMA journal_size_limit=67108864;"
			      "PRAGMA cache_size=-1024;"
			      "PRAGMA trusted_schema=OFF;";

static int set_up(struct gt_db *db, const struct gt_db_config *config, struct gt_err *err)
{
	struct lite *l = of(db);

	sqlite3_extended_result_codes(l->handle, 1);
	sqlite3_busy_timeout(l->handle, 5000); /* somebody looks with the sqlite3 tool */
	if (sqlite3_exec(l->handle, pragmas, NULL, NULL, NULL) != SQLITE_OK)
		return failed(l->handle, err, config->path);
	if (config->pages_max) {
		gt_auto(free) char *sql = gt_asprintf("PRAGMA max_page_count=%u",
						      config->pages_max);

		if (lite_exec(db, sql, err) < 0)
			return -err->code;
	}
	if (config->reads)
		return lite_exec(db, "PRAGMA query_only=1", err);
	sqlite3_wal_hook(l->handle, on_commit, l);
	/* Pages that a failed sync left in the page cache alone are written anew. A log that
	 * somebody else reads is left as it is. */
	return lite_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

int gt_db_sqlite_open(const struct gt_db_config *config, struct gt_db **ret, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	struct lite *l;
	const char *vfs;
	int r = gt_db_vfs(&vfs, err);

	if (r < 0)
		return r;
	l = gt_alloc(sizeof(*l));
	db = &l->db;
	db->kind = &lite_kind;
	if (sqlite3_open_v2(config->path, &l->handle,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    vfs) != SQLITE_OK) {
		if (!l->handle)
			return gt_err_set(err, ENOMEM, "internal", "%s: no memory", config->path);
		return failed(l->handle, err, config->path);
	}
	r = set_up(db, config, err);
	if (r < 0)
		return r;
	*ret = gt_steal(&db);
	return 0;
}
