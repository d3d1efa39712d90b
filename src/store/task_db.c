/* store/task_db.c - statements about durable calls, prepared once. */
#include <stdarg.h>

#include "task_sql.h"

void gt_tasks_db_fini(struct gt_tasks_db *t)
{
	for (size_t i = 0; i < GT_SQL_N; i++) {
		sqlite3_finalize(t->at[i]);
		t->at[i] = NULL;
	}
	gt_body_list_clear(&t->unused);
}

static int bind_one(sqlite3_stmt *q, int i, char type, va_list *args)
{
	const void *bytes;
	const char *text;

	switch (type) {
	case 't':
		text = va_arg(*args, const char *);
		return text ? sqlite3_bind_text(q, i, text, -1, SQLITE_STATIC)
			    : sqlite3_bind_null(q, i);
	case 'b':
		bytes = va_arg(*args, const void *);
		return sqlite3_bind_blob64(q, i, bytes, va_arg(*args, size_t), SQLITE_STATIC);
	default:
		return sqlite3_bind_int64(q, i, va_arg(*args, int64_t));
	}
}

sqlite3_stmt *gt_sql(struct gt_tasks_db *t, struct gt_err *err, enum gt_sql which,
		     const char *types, ...)
{
	sqlite3_stmt *q = t->at[which];
	int r = SQLITE_OK;
	va_list args;

	if (!q)
		r = sqlite3_prepare_v3(t->db, gt_task_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
				       &t->at[which], NULL);
	else
		sqlite3_reset(q);
	q = t->at[which];
	va_start(args, types);
	for (int i = 0; r == SQLITE_OK && types[i]; i++)
		r = bind_one(q, i + 1, types[i], &args);
	va_end(args);
	if (r == SQLITE_OK)
		return q;
	gt_db_error(t->db, err, gt_task_sql[which]);
	return NULL;
}

int gt_sql_run(sqlite3_stmt *q, struct gt_err *err)
{
	int r = q ? gt_db_step(q, err) : -EIO;

	if (q)
		sqlite3_reset(q);
	return r < 0 ? r : 0;
}
