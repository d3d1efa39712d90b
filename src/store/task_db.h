/* store/task_db.h - what the files about durable calls share: statements that are prepared once for
 * a connection, and the directory of bodies that are too large for rows. One thread a connection.
 */
#ifndef GANTRY_SRC_STORE_TASK_DB_H
#define GANTRY_SRC_STORE_TASK_DB_H

#include <gantry/model/task.h>

#include "db.h"

enum gt_sql {
	GT_SQL_BY_ID,
	GT_SQL_BY_KEY,
	GT_SQL_INSERT,
	GT_SQL_INPUT_PUT,
	GT_SQL_READY,
	GT_SQL_LEASE,
	GT_SQL_LEASED,
	GT_SQL_LEASES,
	GT_SQL_FINISH,
	GT_SQL_ATTEMPT_PUT,
	GT_SQL_RESULT_PUT,
	GT_SQL_LOSE,
	GT_SQL_DUE,
	GT_SQL_LATE,
	GT_SQL_OLD,
	GT_SQL_NEXT,
	GT_SQL_READY_SET,
	GT_SQL_END,
	GT_SQL_AGAIN,
	GT_SQL_INPUT_FILE,
	GT_SQL_RESULT_FILE,
	GT_SQL_INPUT_DROP,
	GT_SQL_RESULT_DROP,
	GT_SQL_ATTEMPTS_DROP,
	GT_SQL_DROP,
	GT_SQL_ATTEMPTS,
	GT_SQL_RESULT,
	GT_SQL_LIST,
	GT_SQL_LIST_DEAD,
	GT_SQL_LIST_OF,
	GT_SQL_LIST_DEAD_OF,
	GT_SQL_LIST_BATCH,
	GT_SQL_LIST_SCHEDULE,
	GT_SQL_COUNT,
	GT_SQL_FILE_USED,
	GT_SQL_HOOK_PUT,
	GT_SQL_HOOK_SET,
	GT_SQL_HOOK_TOLD,
	GT_SQL_HOOK_DROP,
	GT_SQL_HOOKS,
	GT_SQL_HOOK_NEXT,
	GT_SQL_PLAN,
	GT_SQL_PLAN_INSERT,
	GT_SQL_PLAN_DROP,
	GT_SQL_PLAN_PAUSE,
	GT_SQL_PLAN_FIRED,
	GT_SQL_PLANS,
	GT_SQL_PLANS_ACTIVE,
	GT_SQL_PLANS_DUE,
	GT_SQL_N
};

#define GT_BODY_NAME_SIZE (GT_ULID_LEN + 1)

/* Files that a job made before its transaction, or that nothing needs after it. */
struct gt_body_list {
	char (*names)[GT_BODY_NAME_SIZE];
	size_t n;
};

struct gt_tasks_db {
	sqlite3 *db;
	int bodies_fd; /* of the directory; -1 = there is none: bodies stay in rows */
	sqlite3_stmt *at[GT_SQL_N];
	struct gt_body_list unused; /* since the last commit or rollback */
};

void gt_tasks_db_fini(struct gt_tasks_db *t); /* the connection and the directory stay */

/* A prepared statement with parameters bound, one letter an argument: 't' const char * (NULL is
 * NULL), 'i' int64_t, 'b' const void * and size_t. The values are borrowed until it is reset.
 * NULL on failure. */
sqlite3_stmt *gt_sql(struct gt_tasks_db *t, struct gt_err *err, enum gt_sql which,
		     const char *types, ...);
/* For a statement that gives no rows. */
GT_MUST_USE int gt_sql_run(sqlite3_stmt *q, struct gt_err *err);

static inline void gt_cleanup_sql(sqlite3_stmt **q)
{
	if (*q)
		sqlite3_reset(*q);
}

/* body.c. A body is durable, with its name, when write has returned. */
GT_MUST_USE int gt_body_write(int dir_fd, const struct gt_blob *body, char name[GT_BODY_NAME_SIZE],
			      struct gt_err *err);
GT_MUST_USE int gt_body_read(int dir_fd, const char *name, size_t len, struct gt_blob *ret,
			     struct gt_err *err);
void gt_body_list_add(struct gt_body_list *l, const char *name);
void gt_body_list_remove(struct gt_body_list *l, int dir_fd); /* the files, and empties the list */
void gt_body_list_clear(struct gt_body_list *l);
/* Removes every file that no row knows. */
GT_MUST_USE int gt_bodies_sweep(struct gt_tasks_db *t, struct gt_err *err);

/* tasks.c, task_care.c: changes, inside of a transaction. `files` has a name for each body of the
 * operation that lies in a file, "" for others: first those of tasks[], then those of results[]. */
GT_MUST_USE int gt_task_write(struct gt_tasks_db *t, struct gt_task_op *op,
			      const struct gt_body_list *files, struct gt_err *err);
GT_MUST_USE int gt_task_release(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_reconcile(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_wake(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_cancel(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_replay(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
/* Without a result; whoever is to be told of it is told. */
GT_MUST_USE int gt_task_end(struct gt_tasks_db *t, const struct gt_task_op *op, uint64_t seq,
			    enum gt_task_state state, const char *slug, struct gt_err *err);
/* Deletes the input or the result of a task; its file goes with the commit. */
GT_MUST_USE int gt_task_drop_body(struct gt_tasks_db *t, enum gt_sql file, enum gt_sql drop,
				  uint64_t seq, struct gt_err *err);

/* Of a call that has ended: whoever is to be told is told. */
GT_MUST_USE int gt_task_hook_arm(struct gt_tasks_db *t, uint64_t seq, uint64_t due_ms,
				 uint32_t tries, struct gt_err *err);

/* Takes one call in; file: its body's, NULL = it goes into a row. Its `taken` says whether it came
 * before. */
GT_MUST_USE int gt_task_accept(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_task *task,
			       const char *file, struct gt_err *err);

/* schedules.c: changes, inside of a transaction; and what only reads. */
GT_MUST_USE int gt_plan_write(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_plan_read(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);

/* task_read.c */
GT_MUST_USE int gt_task_count(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_read(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_next(struct gt_tasks_db *t, uint64_t *ret, struct gt_err *err);
void gt_task_row(sqlite3_stmt *q, struct gt_task *ret); /* of a statement that has ROW */
/* By op->id; -ENOENT (call_not_found). */
GT_MUST_USE int gt_task_find(struct gt_tasks_db *t, const char *id, struct gt_task *ret,
			     struct gt_err *err);
GT_MUST_USE int gt_task_blob(struct gt_tasks_db *t, sqlite3_stmt *q, int body, int file,
			     size_t size, struct gt_blob *ret, struct gt_err *err);

#endif
