/* store/sql.c - the words. Statements are written once, as SQLite says them, in what PostgreSQL
 * knows too; the few words that differ are in `words`, and nowhere else. */
#include <ctype.h>
#include <string.h>

#include <gantry/base/buf.h>

#include "sql.h"

#define ROW                                                                                      \
	"seq, id, function, state, priority, attempt, tries, created_ms, due_ms, deadline_ms,"   \
	" leased_ms, ended_ms, expires_ms, method, path, type, key, print, batch, size, status," \
	" slug, schedule, slot_ms"
#define PLAN                                                                                  \
	"name, etag, cron, zone, every_ms, catch_up, cold, function, priority, method, path," \
	" type, print, callback, deadline_ms, paused, created_ms, updated_ms, since_ms,"      \
	" resumed_ms, next_ms, fired_ms, passed_ms, reason, body"
#define ACTIVE "paused = 0 AND next_ms > 0"
#define GROUP  "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
#define PAGE   " AND seq < ?1 ORDER BY seq DESC LIMIT ?2"

const char *const gt_sql_text[GT_SQL_N] = {
	[GT_SQL_BY_ID] = "SELECT " ROW " FROM tasks WHERE id = ?1",
	[GT_SQL_BY_KEY] = "SELECT " ROW " FROM tasks WHERE function = ?1 AND key = ?2",
	[GT_SQL_INSERT] = "INSERT INTO tasks(seq, id, function, state, priority, created_ms,"
			  " deadline_ms, method, path, type, key, print, batch, size,"
			  " schedule, slot_ms)"
			  " VALUES(?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
			  " ?14, ?15)",
	[GT_SQL_INPUT_PUT] = "INSERT INTO task_inputs(seq, body, file) VALUES(?1, ?2, ?3)",
	[GT_SQL_READY] = "SELECT t.seq, t.id, t.attempt, t.tries, t.created_ms, t.deadline_ms,"
			 " t.method, t.path, t.type, t.size, i.body, i.file, t.priority"
			 " FROM tasks t LEFT JOIN task_inputs i ON i.seq = t.seq"
			 " WHERE t.function = ?1 AND t.state = 0 AND t.priority = ?2"
			 " AND t.deadline_ms > ?3 AND t.seq > ?4 ORDER BY t.seq LIMIT ?5",
	[GT_SQL_LEASE] = "UPDATE tasks SET state = 2, attempt = attempt + 1, gateway = ?17,"
			 " session = ?18, leased_ms = ?19 WHERE seq IN " GROUP,
	[GT_SQL_LEASED] = "SELECT t.seq, t.state, t.attempt, t.id, t.function, t.gateway, t.size,"
			  " h.seq IS NOT NULL"
			  " FROM tasks t LEFT JOIN task_hooks h ON h.seq = t.seq"
			  " WHERE t.seq IN " GROUP,
	[GT_SQL_LEASES] = "SELECT seq, id, function, attempt, gateway, session, leased_ms, lost"
			  " FROM tasks WHERE state = 2",
	[GT_SQL_FINISH] = "UPDATE tasks SET state = ?2, tries = tries + ?3, lost = 0, due_ms = ?4,"
			  " ended_ms = ?5, expires_ms = ?6, status = ?7, slug = ?8, session = 0"
			  " WHERE seq = ?1 AND state = 2 AND attempt = ?9",
	[GT_SQL_ATTEMPT_PUT] = "INSERT INTO task_attempts(seq, attempt, epoch, gateway,"
			       " replica, revision, status, slug, detail, started_ms, ended_ms,"
			       " wait_ms, start_ms)"
			       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
			       " ON CONFLICT(seq, attempt) DO UPDATE SET epoch = ?3, gateway = ?4,"
			       " replica = ?5, revision = ?6, status = ?7, slug = ?8, detail = ?9,"
			       " started_ms = ?10, ended_ms = ?11, wait_ms = ?12, start_ms = ?13",
	[GT_SQL_RESULT_PUT] = "INSERT INTO task_results(seq, attempt, epoch, status, type, size,"
			      " body, file) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	[GT_SQL_LOSE] = "UPDATE tasks SET state = ?2, lost = lost + 1, session = 0, ended_ms = ?3,"
			" expires_ms = ?4, slug = ?5 WHERE seq = ?1",
	[GT_SQL_DUE] = "SELECT seq, function FROM tasks WHERE state = 1 AND due_ms <= ?1"
		       " ORDER BY due_ms LIMIT ?2",
	[GT_SQL_LATE] = "SELECT seq, function, state, id FROM tasks"
			" WHERE state < 2 AND deadline_ms <= ?1 ORDER BY deadline_ms LIMIT ?2",
	[GT_SQL_OLD] = "SELECT seq FROM tasks WHERE state > 2 AND expires_ms <= ?1"
		       " ORDER BY expires_ms LIMIT ?2",
	[GT_SQL_NEXT] = "SELECT min(x) FROM (SELECT min(due_ms) AS x FROM tasks WHERE state = 1"
			" UNION ALL SELECT min(deadline_ms) FROM tasks WHERE state < 2"
			" UNION ALL SELECT min(expires_ms) FROM tasks WHERE state > 2) n",
	[GT_SQL_READY_SET] = "UPDATE tasks SET state = 0 WHERE seq = ?1",
	[GT_SQL_END] = "UPDATE tasks SET state = ?2, ended_ms = ?3, expires_ms = ?4, slug = ?5,"
		       " session = 0 WHERE seq = ?1",
	[GT_SQL_AGAIN] = "UPDATE tasks SET state = 0, tries = 0, lost = 0, ended_ms = 0,"
			 " expires_ms = 0, status = 0, slug = NULL, deadline_ms = ?2"
			 " WHERE seq = ?1",
	[GT_SQL_INPUT_DROP] = "DELETE FROM task_inputs WHERE seq IN " GROUP,
	[GT_SQL_INPUT_TAKE] = "DELETE FROM task_inputs WHERE seq = ?1 RETURNING file",
	[GT_SQL_RESULT_TAKE] = "DELETE FROM task_results WHERE seq = ?1 RETURNING file",
	[GT_SQL_ATTEMPTS_DROP] = "DELETE FROM task_attempts WHERE seq = ?1",
	[GT_SQL_DROP] = "DELETE FROM tasks WHERE seq = ?1",
	[GT_SQL_ATTEMPTS] = "SELECT attempt, epoch, gateway, replica, revision, status, slug,"
			    " detail, started_ms, ended_ms, wait_ms, start_ms"
			    " FROM task_attempts WHERE seq = ?1 ORDER BY attempt",
	[GT_SQL_RESULT] = "SELECT attempt, status, type, size, body, file FROM task_results"
			  " WHERE seq = ?1",
	[GT_SQL_LIST] = "SELECT " ROW " FROM tasks WHERE true" PAGE,
	[GT_SQL_LIST_DEAD] = "SELECT " ROW " FROM tasks WHERE state > 3" PAGE,
	[GT_SQL_LIST_OF] = "SELECT " ROW " FROM tasks WHERE function = ?3" PAGE,
	[GT_SQL_LIST_DEAD_OF] = "SELECT " ROW " FROM tasks WHERE function = ?3 AND state > 3" PAGE,
	[GT_SQL_LIST_BATCH] = "SELECT " ROW " FROM tasks WHERE batch = ?3" PAGE,
	[GT_SQL_LIST_SCHEDULE] = "SELECT " ROW " FROM tasks WHERE schedule = ?3" PAGE,
	[GT_SQL_COUNT] = "SELECT function, count(*) FROM tasks WHERE state = 0 GROUP BY function",
	[GT_SQL_FILE_USED] = "SELECT 1 FROM task_inputs WHERE file = ?1"
			     " UNION ALL SELECT 1 FROM task_results WHERE file = ?1",
	[GT_SQL_HOOK_PUT] = "INSERT INTO task_hooks(seq, url, host) VALUES(?1, ?2, ?3)",
	[GT_SQL_HOOK_SET] = "UPDATE task_hooks SET due_ms = ?2, tries = ?3 WHERE seq = ?1",
	[GT_SQL_HOOK_TOLD] = "UPDATE task_hooks SET due_ms = ?2, tries = ?3"
			     " WHERE seq = ?1 AND due_ms = ?4",
	[GT_SQL_HOOKS_NOW] = "UPDATE task_hooks SET due_ms = ?1 WHERE due_ms > ?1",
	[GT_SQL_HOOK_DROP] = "DELETE FROM task_hooks WHERE seq = ?1",
	/* The first of each host, then the second ones ...: one that is slow stands before none. */
	[GT_SQL_HOOKS] = "SELECT " ROW ", h_url, h_tries, h_due FROM (SELECT t.*, h.url AS h_url,"
			 " h.tries AS h_tries, h.due_ms AS h_due, h.place FROM"
			 " (SELECT seq, url, tries, due_ms, row_number() OVER"
			 " (PARTITION BY host ORDER BY due_ms, seq) AS place FROM task_hooks"
			 " WHERE due_ms > 0 AND due_ms <= ?1) h"
			 " JOIN tasks t ON t.seq = h.seq WHERE h.place <= ?3"
			 " ORDER BY h.place, h.due_ms LIMIT ?2) x ORDER BY place, h_due",
	[GT_SQL_HOOK_NEXT] = "SELECT due_ms FROM task_hooks WHERE due_ms > 0"
			     " ORDER BY due_ms LIMIT 1",
	[GT_SQL_PLAN] = "SELECT " PLAN " FROM schedules WHERE name = ?1",
	[GT_SQL_PLAN_INSERT] = "INSERT INTO schedules(" PLAN ")"
			       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
			       " ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
	[GT_SQL_PLAN_DROP] = "DELETE FROM schedules WHERE name = ?1",
	[GT_SQL_PLAN_PAUSE] = "UPDATE schedules SET paused = ?2, resumed_ms = ?3 WHERE name = ?1",
	[GT_SQL_PLAN_FIRED] = "UPDATE schedules SET next_ms = ?2, fired_ms = ?3, passed_ms = ?4,"
			      " reason = ?5 WHERE name = ?1",
	[GT_SQL_PLANS] = "SELECT " PLAN " FROM schedules WHERE name > ?1 ORDER BY name LIMIT ?2",
	[GT_SQL_PLANS_ACTIVE] = "SELECT " PLAN " FROM schedules WHERE " ACTIVE " AND name > ?1"
				" ORDER BY name LIMIT ?2",
	[GT_SQL_PLANS_DUE] = "SELECT " PLAN " FROM schedules WHERE " ACTIVE
			     " ORDER BY next_ms LIMIT ?1",
	[GT_SQL_BODY_PUT] = "INSERT INTO bodies(id, n, data) VALUES(?1, ?2, ?3)",
	[GT_SQL_BODY_GET] = "SELECT data FROM bodies WHERE id = ?1 AND n = ?2",
	[GT_SQL_BODY_DROP] = "DELETE FROM bodies WHERE id = ?1",
	[GT_SQL_BODIES_SWEEP] = "DELETE FROM bodies WHERE NOT EXISTS"
				" (SELECT 1 FROM task_inputs WHERE file = bodies.id) AND NOT EXISTS"
				" (SELECT 1 FROM task_results WHERE file = bodies.id)",
	/* Holds the epoch until the transaction ends, so that no other can begin before. */
	[GT_SQL_FENCE] = "UPDATE leader SET commits = ?2 WHERE epoch = ?1 RETURNING commits",
	[GT_SQL_FENCE_LIGHT] = "SELECT epoch FROM leader WHERE epoch = ?1 /*pg: FOR KEY SHARE */",
	/* Waits for a transaction whose commit is still under way. */
	[GT_SQL_COMMITS] = "SELECT commits FROM leader WHERE epoch = ?1 /*pg: FOR UPDATE */",
	[GT_SQL_SEQ_GET] = "SELECT max(x) FROM (SELECT value AS x FROM meta WHERE key = 'seq'"
			   " UNION ALL SELECT max(seq) FROM tasks) n",
	[GT_SQL_SEQ_SET] = "UPDATE meta SET value = ?1 WHERE key = 'seq'",
};

#undef ROW
#undef PLAN
#undef ACTIVE
#undef GROUP
#undef PAGE

/* Longer ones first. */
static const struct {
	const char *sqlite, *pg;
} words[] = {
	{ " INTEGER PRIMARY KEY AUTOINCREMENT", " BIGINT PRIMARY KEY" },
	{ " STRICT, WITHOUT ROWID", "" },
	{ " STRICT", "" },
	{ " INTEGER", " BIGINT" },
	{ " TEXT", " TEXT COLLATE \"C\"" }, /* in the order of bytes */
	{ " BLOB", " BYTEA" },
	{ "/*pg:", "" }, /* what SQLite does not know, and does not need */
	{ "*/", "" },
};

static size_t word_at(const char *sql, struct gt_buf *out)
{
	for (size_t i = 0; i < GT_LEN(words); i++) {
		size_t len = strlen(words[i].sqlite);

		if (strncmp(sql, words[i].sqlite, len) == 0 && !isalpha((unsigned char)sql[len])) {
			gt_buf_adds(out, words[i].pg);
			return len;
		}
	}
	return 0;
}

char *gt_sql_for_pg(const char *sql)
{
	struct gt_buf out = { 0 };

	while (*sql) {
		size_t n = word_at(sql, &out);

		if (n == 0) {
			bool param = *sql == '?' && isdigit((unsigned char)sql[1]);

			gt_buf_addc(&out, param ? '$' : *sql);
			n = 1;
		}
		sql += n;
	}
	return gt_buf_steal(&out);
}
