/* store/migrate.c - the schema, as the steps that made it. Append only: a database remembers in
 * user_version (PostgreSQL: in a table) how many of them it has seen. */
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
	/* 2: durable calls. A row of `tasks` is written at each move of its call, so it is small:
	 * bodies lie beside it, and large ones (`file`) in the directory of bodies. `state` counts
	 * as enum gt_task_state does. */
	"CREATE TABLE tasks("
	"	seq INTEGER PRIMARY KEY AUTOINCREMENT," /* never used twice: it is part of a lease
							 */
	"	id TEXT NOT NULL UNIQUE,"
	"	function TEXT NOT NULL,"
	"	state INTEGER NOT NULL,"
	"	priority INTEGER NOT NULL,"
	"	attempt INTEGER NOT NULL DEFAULT 0,"
	"	tries INTEGER NOT NULL DEFAULT 0,"
	"	lost INTEGER NOT NULL DEFAULT 0," /* leases in a row that nobody answered for */
	"	created_ms INTEGER NOT NULL,"
	"	due_ms INTEGER NOT NULL DEFAULT 0,"
	"	deadline_ms INTEGER NOT NULL,"
	"	leased_ms INTEGER NOT NULL DEFAULT 0,"
	"	ended_ms INTEGER NOT NULL DEFAULT 0,"
	"	expires_ms INTEGER NOT NULL DEFAULT 0," /* of one that ended */
	"	gateway TEXT,"                          /* of the lease, with its session */
	"	session INTEGER NOT NULL DEFAULT 0,"
	"	method TEXT NOT NULL,"
	"	path TEXT NOT NULL,"
	"	type TEXT,"
	"	key TEXT,"
	"	print TEXT NOT NULL," /* digest of the request, to tell repetitions from others */
	"	batch TEXT,"
	"	size INTEGER NOT NULL," /* of the body */
	"	status INTEGER NOT NULL DEFAULT 0,"
	"	slug TEXT) STRICT;"
	"CREATE INDEX tasks_ready ON tasks(function, priority, seq) WHERE state = 0;"
	"CREATE INDEX tasks_due ON tasks(due_ms) WHERE state = 1;"
	"CREATE INDEX tasks_leased ON tasks(session) WHERE state = 2;"
	"CREATE INDEX tasks_late ON tasks(deadline_ms) WHERE state < 2;"
	"CREATE INDEX tasks_old ON tasks(expires_ms) WHERE state > 2;"
	"CREATE INDEX tasks_function ON tasks(function, seq);"
	"CREATE INDEX tasks_dead ON tasks(seq) WHERE state > 3;"
	"CREATE INDEX tasks_dead_of ON tasks(function, seq) WHERE state > 3;"
	"CREATE INDEX tasks_batch ON tasks(batch, seq) WHERE batch IS NOT NULL;"
	"CREATE UNIQUE INDEX tasks_key ON tasks(function, key) WHERE key IS NOT NULL;"
	"CREATE TABLE task_inputs("
	"	seq INTEGER PRIMARY KEY,"
	"	body BLOB,"
	"	file TEXT) STRICT;"
	"CREATE TABLE task_results("
	"	seq INTEGER PRIMARY KEY," /* one for each call, and no second one */
	"	attempt INTEGER NOT NULL,"
	"	epoch INTEGER NOT NULL,"
	"	status INTEGER NOT NULL,"
	"	type TEXT,"
	"	size INTEGER NOT NULL,"
	"	body BLOB,"
	"	file TEXT) STRICT;"
	"CREATE TABLE task_attempts("
	"	seq INTEGER NOT NULL,"
	"	attempt INTEGER NOT NULL,"
	"	epoch INTEGER NOT NULL,"
	"	gateway TEXT,"
	"	replica TEXT,"
	"	revision INTEGER NOT NULL,"
	"	status INTEGER NOT NULL,"
	"	slug TEXT,"
	"	detail TEXT,"
	"	started_ms INTEGER NOT NULL,"
	"	ended_ms INTEGER NOT NULL,"
	"	wait_ms INTEGER NOT NULL,"
	"	start_ms INTEGER NOT NULL,"
	"	PRIMARY KEY(seq, attempt)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX task_inputs_file ON task_inputs(file) WHERE file IS NOT NULL;"
	"CREATE INDEX task_results_file ON task_results(file) WHERE file IS NOT NULL;",
	/* 3 */
	"CREATE TABLE nodes("
	"	name TEXT PRIMARY KEY,"
	"	duty INTEGER NOT NULL," /* enum gt_node_duty, never 0 */
	"	drain_until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
	/* 4: who is told of the end of a call. due_ms 0: nothing is to be told now. */
	"CREATE TABLE task_hooks("
	"	seq INTEGER PRIMARY KEY,"
	"	url TEXT NOT NULL,"
	"	due_ms INTEGER NOT NULL DEFAULT 0,"
	"	tries INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE INDEX task_hooks_due ON task_hooks(due_ms) WHERE due_ms > 0;",
	/* 5: machines that joined, and what lets them: of tokens there are digests alone. */
	"CREATE TABLE members("
	"	node TEXT PRIMARY KEY,"
	"	since_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE join_tokens("
	"	id TEXT PRIMARY KEY,"
	"	digest TEXT NOT NULL UNIQUE,"
	"	node TEXT NOT NULL," /* '' = for any name */
	"	created_ms INTEGER NOT NULL,"
	"	expires_ms INTEGER NOT NULL,"
	"	used_ms INTEGER NOT NULL DEFAULT 0,"
	"	used_by TEXT NOT NULL DEFAULT '',"
	"	used_key TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;",
	/* 6: who leads, one row. Every transaction begins with a change of it under the epoch that
	 * it knows (sql.c), so that one that was replaced writes nothing; `commits` tells whether a
	 * transaction whose end nobody heard of was made. epoch is a key: PostgreSQL's locks on a
	 * row tell changes of keys from others. Numbers of calls are taken from meta in blocks. */
	"CREATE TABLE leader("
	"	epoch INTEGER PRIMARY KEY,"
	"	holder TEXT NOT NULL,"
	"	place TEXT NOT NULL,"         /* how controls of the same machine reach it */
	"	door TEXT NOT NULL,"          /* and all others */
	"	expires_ms INTEGER NOT NULL," /* by the database's clock; 0: at once */
	"	commits INTEGER NOT NULL) STRICT;"
	"INSERT INTO leader SELECT value, '', '', '', 0, 0 FROM meta WHERE key = 'epoch';"
	"INSERT INTO meta VALUES('seq', 0);"
	/* Large bodies in pieces, where no directory is seen by all who may lead. */
	"CREATE TABLE bodies("
	"	id TEXT NOT NULL,"
	"	n INTEGER NOT NULL,"
	"	data BLOB NOT NULL,"
	"	PRIMARY KEY(id, n)) STRICT;",
	/* 7: schedules, and which of them made a call. One that is paused is in no index of times.
	 */
	"CREATE TABLE schedules("
	"	name TEXT PRIMARY KEY,"
	"	etag TEXT NOT NULL,"
	"	cron TEXT," /* NULL: every_ms */
	"	zone TEXT NOT NULL,"
	"	every_ms INTEGER NOT NULL,"
	"	catch_up INTEGER NOT NULL," /* enum gt_catch_up */
	"	cold INTEGER NOT NULL,"
	"	function TEXT NOT NULL,"
	"	priority INTEGER NOT NULL,"
	"	method TEXT NOT NULL,"
	"	path TEXT NOT NULL,"
	"	type TEXT,"
	"	print TEXT NOT NULL,"
	"	callback TEXT,"
	"	deadline_ms INTEGER NOT NULL," /* from when a call is made */
	"	paused INTEGER NOT NULL DEFAULT 0,"
	"	created_ms INTEGER NOT NULL,"
	"	updated_ms INTEGER NOT NULL,"
	"	since_ms INTEGER NOT NULL,"
	"	resumed_ms INTEGER NOT NULL DEFAULT 0,"
	"	next_ms INTEGER NOT NULL," /* 0: no time is left */
	"	fired_ms INTEGER NOT NULL DEFAULT 0,"
	"	passed_ms INTEGER NOT NULL DEFAULT 0,"
	"	reason TEXT,"
	"	body BLOB) STRICT, WITHOUT ROWID;"
	"CREATE INDEX schedules_due ON schedules(next_ms) WHERE paused = 0 AND next_ms > 0;"
	"CREATE INDEX schedules_active ON schedules(name) WHERE paused = 0 AND next_ms > 0;"
	"ALTER TABLE tasks ADD COLUMN schedule TEXT;"
	"ALTER TABLE tasks ADD COLUMN slot_ms INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX tasks_schedule ON tasks(schedule, seq) WHERE schedule IS NOT NULL;",
	/* 8: of whom it is asked; '' is one of before. */
	"ALTER TABLE task_hooks ADD COLUMN host TEXT NOT NULL DEFAULT '';"
	"CREATE INDEX task_hooks_host ON task_hooks(host, due_ms) WHERE due_ms > 0;",
	/* 9: the authority that certificates of nodes and gateways come from: one row. */
	"CREATE TABLE authority("
	"	id INTEGER PRIMARY KEY," /* 1 */
	"	key TEXT NOT NULL,"
	"	cert TEXT NOT NULL) STRICT;",
	/* 10: keys that all controls of a database have in common, by name. */
	"CREATE TABLE keys("
	"	name TEXT PRIMARY KEY,"
	"	value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
	/* 11: hosts that were asked of providers, from before the asking until they are released.
	 */
	"CREATE TABLE hosts("
	"	key TEXT PRIMARY KEY,"
	"	provider TEXT NOT NULL,"
	"	id TEXT NOT NULL,"    /* '' = not told */
	"	token TEXT NOT NULL," /* id of its join token; '' = none */
	"	asked_ms INTEGER NOT NULL,"
	"	releasing INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
	/* 12: keys follow one another; 0 = not noted, no end. */
	"ALTER TABLE keys ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE keys ADD COLUMN ends_ms INTEGER NOT NULL DEFAULT 0;",
};

/* The oldest program, by the number of steps that it knows, that may use a database that has seen
 * all of the above: raise it together with a step that older ones would misunderstand. One that
 * does not add rows or columns alone is such a step. */
#define MIN_READER 9

/* ---- which of them a database has seen ------------------------------------------------------ */

#define PRAGMA "PRAGMA user_version"

/* Two that start at once on an empty database make it one after the other. */
static const char version_table[] =
	"SELECT pg_advisory_xact_lock(7205759403);"
	"CREATE TABLE IF NOT EXISTS schema_version("
	"	id BIGINT PRIMARY KEY,"
	"	version BIGINT NOT NULL);"
	"INSERT INTO schema_version VALUES(1, 0) ON CONFLICT DO NOTHING;";

static int version_select(struct gt_db *db, const char *sql, int64_t *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(db, err, sql, "");
	int r = q ? gt_db_step(q, err) : -err->code;

	if (r < 0)
		return r;
	*ret = r > 0 ? gt_db_int(q, 0) : 0;
	return 0;
}

static int version_read(struct gt_db *db, int64_t *ret, struct gt_err *err)
{
	if (!gt_db_is_pg(db))
		return version_select(db, PRAGMA, ret, err);
	if (gt_db_exec(db, version_table, err) < 0)
		return -err->code;
	return version_select(db, "SELECT version FROM schema_version FOR UPDATE", ret, err);
}

static int version_apply(struct gt_db *db, size_t version, struct gt_err *err)
{
	const char *set = gt_db_is_pg(db) ? "UPDATE schema_version SET version =" : PRAGMA " =";
	gt_auto(free) char *sql = gt_asprintf("%s%s %zu", migrations[version], set, version + 1);

	return gt_db_exec(db, sql, err);
}

/* 1 = it is of a newer program, which says that this one may use it. */
static int version_check(struct gt_db *db, int64_t version, const char *path, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = NULL;
	int64_t least = version;

	if (version >= 0 && version <= (int64_t)GT_LEN(migrations))
		return 0;
	if (version > 0) {
		q = gt_db_query(db, err, "SELECT value FROM meta WHERE key = 'min_reader'", "");
		if (gt_db_step(q, err) > 0)
			least = gt_db_int(q, 0);
	}
	if (version > 0 && least <= (int64_t)GT_LEN(migrations))
		return 1;
	return gt_err_set(err, EPROTO, "internal",
			  "%s has schema %lld, this program knows up to %zu: run the newer gantryd "
			  "that wrote it",
			  path, (long long)version, GT_LEN(migrations));
}

int gt_db_readable(struct gt_db *db, const char *path, struct gt_schema *ret, struct gt_err *err)
{
	struct gt_schema is = { .known = GT_LEN(migrations) };
	int r = version_select(db, gt_db_is_pg(db) ? "SELECT version FROM schema_version" : PRAGMA,
			       &is.version, err);

	if (r == 0)
		r = version_check(db, is.version, path, err);
	if (r < 0)
		return r;
	if (ret)
		*ret = is;
	return 0;
}

static int min_reader_write(struct gt_db *db, struct gt_err *err)
{
	return gt_db_finish(gt_db_query(db, err,
					"INSERT INTO meta VALUES('min_reader', ?1) ON CONFLICT(key)"
					" DO UPDATE SET value = ?1",
					"i", (int64_t)MIN_READER),
			    err);
}

static int migrate(struct gt_db *db, const char *path, struct gt_err *err)
{
	int64_t version = 0;
	int r = version_read(db, &version, err);

	if (r < 0)
		return gt_err_wrap(err, "%s", path);
	r = version_check(db, version, path, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (version == (int64_t)GT_LEN(migrations))
		return 0;
	for (; version < (int64_t)GT_LEN(migrations); version++) {
		r = version_apply(db, (size_t)version, err);
		if (r < 0)
			return gt_err_wrap(err, "%s: schema %lld", path, (long long)version + 1);
	}
	return min_reader_write(db, err);
}

/* All steps in one transaction: it has the new schema, or the old one. */
int gt_db_migrate(struct gt_db *db, const char *path, struct gt_err *err)
{
	int r = gt_db_begin(db, err);

	if (r == 0)
		r = migrate(db, path, err);
	if (r == 0)
		r = gt_db_commit(db, err);
	if (r < 0)
		gt_db_rollback(db);
	return r;
}
