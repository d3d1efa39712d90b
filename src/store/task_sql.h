/* store/task_sql.h - every statement about durable calls. What another database would say in other
 * words is here and in migrate.c, and nowhere else. Included by task_db.c alone, which prepares
 * each once for a connection; the order is that of enum gt_sql. */
#ifndef GANTRY_SRC_STORE_TASK_SQL_H
#define GANTRY_SRC_STORE_TASK_SQL_H

#include "task_db.h"

#define ROW                                                                                      \
	"seq, id, function, state, priority, attempt, tries, created_ms, due_ms, deadline_ms,"   \
	" leased_ms, ended_ms, expires_ms, method, path, type, key, print, batch, size, status," \
	" slug, schedule, slot_ms"
#define PLAN                                                                                  \
	"name, etag, cron, zone, every_ms, catch_up, cold, function, priority, method, path," \
	" type, print, callback, deadline_ms, paused, created_ms, updated_ms, since_ms,"      \
	" resumed_ms, next_ms, fired_ms, passed_ms, reason, body"
#define ACTIVE "paused = 0 AND next_ms > 0"
#define PAGE   " AND seq < ?1 ORDER BY seq DESC" /* read until the page is full */

static const char *const gt_task_sql[GT_SQL_N] = {
	[GT_SQL_BY_ID] = "SELECT " ROW " FROM tasks WHERE id = ?1",
	[GT_SQL_BY_KEY] = "SELECT " ROW " FROM tasks WHERE function = ?1 AND key = ?2",
	[GT_SQL_INSERT] = "INSERT INTO tasks(id, function, state, priority, created_ms,"
			  " deadline_ms, method, path, type, key, print, batch, size,"
			  " schedule, slot_ms)"
			  " VALUES(?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
			  " ?14)",
	[GT_SQL_INPUT_PUT] = "INSERT INTO task_inputs(seq, body, file) VALUES(?1, ?2, ?3)",
	[GT_SQL_READY] = "SELECT t.seq, t.id, t.attempt, t.tries, t.created_ms, t.deadline_ms,"
			 " t.method, t.path, t.type, t.size, i.body, i.file, t.priority"
			 " FROM tasks t LEFT JOIN task_inputs i ON i.seq = t.seq"
			 " WHERE t.function = ?1 AND t.state = 0 AND t.priority = ?2"
			 " AND t.deadline_ms > ?3 AND t.seq > ?4 ORDER BY t.seq LIMIT ?5",
	[GT_SQL_LEASE] = "UPDATE tasks SET state = 2, attempt = attempt + 1, gateway = ?2,"
			 " session = ?3, leased_ms = ?4 WHERE seq = ?1",
	[GT_SQL_LEASED] = "SELECT state, attempt, id, function, gateway FROM tasks WHERE seq = ?1",
	[GT_SQL_LEASES] = "SELECT seq, id, function, attempt, gateway, session, leased_ms, lost"
			  " FROM tasks WHERE state = 2",
	[GT_SQL_FINISH] = "UPDATE tasks SET state = ?2, tries = tries + ?3, lost = 0, due_ms = ?4,"
			  " ended_ms = ?5, expires_ms = ?6, status = ?7, slug = ?8, session = 0"
			  " WHERE seq = ?1",
	[GT_SQL_ATTEMPT_PUT] = "INSERT OR REPLACE INTO task_attempts(seq, attempt, epoch, gateway,"
			       " replica, revision, status, slug, detail, started_ms, ended_ms,"
			       " wait_ms, start_ms)"
			       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
	[GT_SQL_NEXT] = "SELECT min(coalesce((SELECT min(due_ms) FROM tasks WHERE state = 1),"
			" 9223372036854775807),"
			" coalesce((SELECT min(deadline_ms) FROM tasks WHERE state < 2),"
			" 9223372036854775807),"
			" coalesce((SELECT min(expires_ms) FROM tasks WHERE state > 2),"
			" 9223372036854775807))",
	[GT_SQL_READY_SET] = "UPDATE tasks SET state = 0 WHERE seq = ?1",
	[GT_SQL_END] = "UPDATE tasks SET state = ?2, ended_ms = ?3, expires_ms = ?4, slug = ?5,"
		       " session = 0 WHERE seq = ?1",
	[GT_SQL_AGAIN] = "UPDATE tasks SET state = 0, tries = 0, lost = 0, ended_ms = 0,"
			 " expires_ms = 0, status = 0, slug = NULL, deadline_ms = ?2"
			 " WHERE seq = ?1",
	[GT_SQL_INPUT_FILE] = "SELECT file FROM task_inputs WHERE seq = ?1 AND file IS NOT NULL",
	[GT_SQL_RESULT_FILE] = "SELECT file FROM task_results WHERE seq = ?1 AND file IS NOT NULL",
	[GT_SQL_INPUT_DROP] = "DELETE FROM task_inputs WHERE seq = ?1",
	[GT_SQL_RESULT_DROP] = "DELETE FROM task_results WHERE seq = ?1",
	[GT_SQL_ATTEMPTS_DROP] = "DELETE FROM task_attempts WHERE seq = ?1",
	[GT_SQL_DROP] = "DELETE FROM tasks WHERE seq = ?1",
	[GT_SQL_ATTEMPTS] = "SELECT attempt, epoch, gateway, replica, revision, status, slug,"
			    " detail, started_ms, ended_ms, wait_ms, start_ms"
			    " FROM task_attempts WHERE seq = ?1 ORDER BY attempt",
	[GT_SQL_RESULT] = "SELECT attempt, status, type, size, body, file FROM task_results"
			  " WHERE seq = ?1",
	[GT_SQL_LIST] = "SELECT " ROW " FROM tasks WHERE true" PAGE,
	[GT_SQL_LIST_DEAD] = "SELECT " ROW " FROM tasks WHERE state > 3" PAGE,
	[GT_SQL_LIST_OF] = "SELECT " ROW " FROM tasks WHERE function = ?2" PAGE,
	[GT_SQL_LIST_DEAD_OF] = "SELECT " ROW " FROM tasks WHERE function = ?2 AND state > 3" PAGE,
	[GT_SQL_LIST_BATCH] = "SELECT " ROW " FROM tasks WHERE batch = ?2" PAGE,
	[GT_SQL_LIST_SCHEDULE] = "SELECT " ROW " FROM tasks WHERE schedule = ?2" PAGE,
	[GT_SQL_COUNT] = "SELECT function, count(*) FROM tasks WHERE state = 0 GROUP BY function",
	[GT_SQL_FILE_USED] = "SELECT 1 FROM task_inputs WHERE file = ?1"
			     " UNION ALL SELECT 1 FROM task_results WHERE file = ?1",
	[GT_SQL_HOOK_PUT] = "INSERT INTO task_hooks(seq, url, host) VALUES(?1, ?2, ?3)",
	[GT_SQL_HOOK_SET] = "UPDATE task_hooks SET due_ms = ?2, tries = ?3 WHERE seq = ?1",
	[GT_SQL_HOOK_TOLD] = "UPDATE task_hooks SET due_ms = ?2, tries = ?3"
			     " WHERE seq = ?1 AND due_ms = ?4",
	[GT_SQL_HOOK_DROP] = "DELETE FROM task_hooks WHERE seq = ?1",
	/* The first of each host, then the second ones ...: one that is slow stands before none. */
	[GT_SQL_HOOKS] = "SELECT " ROW ", h_url, h_tries, h_due FROM (SELECT t.*, h.url AS h_url,"
			 " h.tries AS h_tries, h.due_ms AS h_due, h.place FROM"
			 " (SELECT seq, url, tries, due_ms, row_number() OVER"
			 " (PARTITION BY host ORDER BY due_ms, seq) AS place FROM task_hooks"
			 " WHERE due_ms > 0 AND due_ms <= ?1) h"
			 " JOIN tasks t ON t.seq = h.seq WHERE h.place <= ?3"
			 " ORDER BY h.place, h.due_ms LIMIT ?2) ORDER BY place, h_due",
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
};

#undef ROW
#undef PLAN
#undef ACTIVE
#undef PAGE

#endif
