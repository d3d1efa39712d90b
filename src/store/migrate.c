/* store/migrate.c - the schema, as the steps that made it. Append only: a database remembers in
 * user_version how many of them it has seen. */
#include "db.h"

static const char *const migrations[] = {
	/* 1 */
	"CREATE TABLE meta("
	"	key TEXT PRIMARY KEY,"
	"	value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"INSERT INTO meta VALUES('epoch', 0);"
	"CREATE TABLE functions("
	"	name TEXT PRIMARY KEY,"
	"	revision INTEGER NOT NULL," /* the current one */
	"	created_ms INTEGER NOT NULL,"
	"	updated_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE revisions("
	"	function TEXT NOT NULL REFERENCES functions(name) ON DELETE CASCADE,"
	"	revision INTEGER NOT NULL,"
	"	etag TEXT NOT NULL,"
	"	spec TEXT NOT NULL," /* canonical JSON */
	"	created_ms INTEGER NOT NULL,"
	"	PRIMARY KEY(function, revision)) STRICT;",
	/* 2 */
	"CREATE TABLE nodes("
	"	name TEXT PRIMARY KEY,"
	"	duty INTEGER NOT NULL," /* enum gt_node_duty, never 0 */
	"	drain_until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
};

static int version_read(sqlite3 *db, int64_t *ret, struct gt_err *err)
{
	gt_auto(query) sqlite3_stmt *q = gt_db_query(db, err, "PRAGMA user_version", "");
	int r = q ? gt_db_step(q, err) : -EIO;

	if (r < 0)
		return r;
	*ret = sqlite3_column_int64(q, 0);
	return 0;
}

static int version_apply(sqlite3 *db, size_t version, struct gt_err *err)
{
	gt_auto(free) char *sql = gt_asprintf("BEGIN IMMEDIATE; %s PRAGMA user_version=%zu; COMMIT",
					      migrations[version], version + 1);
	int r = gt_db_exec(db, sql, err);

	if (r < 0)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int gt_db_migrate(sqlite3 *db, const char *path, struct gt_err *err)
{
	int64_t version;
	int r = version_read(db, &version, err);

	if (r < 0)
		return gt_err_wrap(err, "%s", path);
	if (version < 0 || version > (int64_t)GT_LEN(migrations))
		return gt_err_set(err, EPROTO, "internal",
				  "%s has schema %lld, this program knows up to %zu: run the newer "
				  "gantryd that wrote it",
				  path, (long long)version, GT_LEN(migrations));
	for (; version < (int64_t)GT_LEN(migrations); version++) {
		r = version_apply(db, (size_t)version, err);
		if (r < 0)
			return gt_err_wrap(err, "%s: schema %lld", path, (long long)version + 1);
	}
	return 0;
}
