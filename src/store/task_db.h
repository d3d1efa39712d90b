/* store/task_db.h - what the files about durable calls share: a connection, and where bodies lie
 * that are too large for rows. One thread a connection. */
#ifndef GANTRY_SRC_STORE_TASK_DB_H
#define GANTRY_SRC_STORE_TASK_DB_H

#include <gantry/model/task.h>

#include "db.h"

#define GT_BODY_NAME_SIZE (GT_ULID_LEN + 1)

/* Files that a job made before its transaction, or that nothing needs after it. */
struct gt_body_list {
	char (*names)[GT_BODY_NAME_SIZE];
	size_t n;
};

struct gt_tasks_db {
	struct gt_db *db;
	uint64_t epoch; /* that writes are made under */
	int bodies_fd;  /* of the directory; -1 = there is none */
	/* In pieces in the database, beside all else. With neither they stay in their rows. */
	bool bodies_in_rows;
	struct gt_body_list unused;  /* since the last commit or rollback */
	uint64_t seq_next, seq_last; /* numbers of calls that may be given */
};

/* body.c. A body is durable, with its name, when write has returned. Writes and drops in rows are
 * part of the open transaction. */
GT_MUST_USE int gt_body_write(struct gt_tasks_db *t, const struct gt_blob *body,
			      char name[GT_BODY_NAME_SIZE], struct gt_err *err);
GT_MUST_USE int gt_body_read(struct gt_tasks_db *t, const char *name, size_t len,
			     struct gt_blob *ret, struct gt_err *err);
void gt_body_list_add(struct gt_body_list *l, const char *name);
void gt_body_list_remove(struct gt_body_list *l, int dir_fd); /* the files, and empties the list */
GT_MUST_USE int gt_body_list_drop(struct gt_tasks_db *t, struct gt_body_list *l,
				  struct gt_err *err); /* the same, of rows */
void gt_body_list_clear(struct gt_body_list *l);
const char *gt_body_list_at(const struct gt_body_list *l, size_t i); /* NULL: not in a file */
/* Removes all that no row knows. */
GT_MUST_USE int gt_bodies_sweep(struct gt_tasks_db *t, struct gt_err *err);

/* tasks.c, task_care.c: changes, inside of a transaction. `files` has a name for each body of the
 * operation that lies in a file, "" for others: first those of tasks[], then those of results[]. */
GT_MUST_USE int gt_task_write(struct gt_tasks_db *t, struct gt_task_op *op,
			      const struct gt_body_list *files, struct gt_err *err);
/* task_finish.c: op->results. */
GT_MUST_USE int gt_task_finish(struct gt_tasks_db *t, struct gt_task_op *op,
			       const struct gt_body_list *files, struct gt_err *err);
GT_MUST_USE int gt_task_release(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_reconcile(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_wake(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_cancel(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
GT_MUST_USE int gt_task_replay(struct gt_tasks_db *t, struct gt_task_op *op, struct gt_err *err);
/* Without a result; whoever is to be told of it is told. */
GT_MUST_USE int gt_task_end(struct gt_tasks_db *t, const struct gt_task_op *op, uint64_t seq,
			    enum gt_task_state state, const char *slug, struct gt_err *err);
/* Deletes the input or the result of a task (GT_SQL_..._TAKE); its file goes with the commit. */
GT_MUST_USE int gt_task_drop_body(struct gt_tasks_db *t, enum gt_sql take, uint64_t seq,
				  struct gt_err *err);

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
void gt_task_row(struct gt_query *q, struct gt_task *ret); /* of a statement that has ROW */
/* By op->id; -ENOENT (call_not_found). */
GT_MUST_USE int gt_task_find(struct gt_tasks_db *t, const char *id, struct gt_task *ret,
			     struct gt_err *err);
GT_MUST_USE int gt_task_blob(struct gt_tasks_db *t, struct gt_query *q, int body, int file,
			     size_t size, struct gt_blob *ret, struct gt_err *err);

#endif
