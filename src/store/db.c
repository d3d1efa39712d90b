/* store/db.c - what both kinds of database have in common; see db.h. */
#include <stdarg.h>
#include <string.h>

#include "db_kind.h"

bool gt_db_is_url(const char *path)
{
	return strncmp(path, "postgresql://", 13) == 0 || strncmp(path, "postgres://", 11) == 0;
}

int gt_db_open(const struct gt_db_config *config, struct gt_db **ret, struct gt_err *err)
{
	return gt_db_is_url(config->path) ? gt_db_pg_open(config, ret, err)
					  : gt_db_sqlite_open(config, ret, err);
}

void gt_db_close(struct gt_db *db, bool trusted)
{
	if (db)
		db->kind->close(db, trusted);
}

int gt_db_ready(struct gt_db *db, struct gt_err *err)
{
	return db->kind->ready(db, err);
}

/* ---- transactions --------------------------------------------------------------------------- */

int gt_db_begin(struct gt_db *db, struct gt_err *err)
{
	return db->kind->begin(db, err);
}

int gt_db_commit(struct gt_db *db, struct gt_err *err)
{
	return db->kind->commit(db, err);
}

void gt_db_rollback(struct gt_db *db)
{
	db->kind->rollback(db);
}

int gt_db_savepoint(struct gt_db *db, struct gt_err *err)
{
	return db->kind->say(db, "SAVEPOINT job", err);
}

void gt_db_savepoint_undo(struct gt_db *db)
{
	struct gt_err err;

	(void)!db->kind->say(db, "ROLLBACK TO SAVEPOINT job", &err); /* gt_db_broken tells */
}

int gt_db_savepoint_end(struct gt_db *db, struct gt_err *err)
{
	return db->kind->say(db, "RELEASE SAVEPOINT job", err);
}

bool gt_db_broken(struct gt_db *db)
{
	return db->kind->broken(db);
}

int gt_db_exec(struct gt_db *db, const char *sql, struct gt_err *err)
{
	return db->kind->exec(db, sql, err);
}

/* ---- statements ----------------------------------------------------------------------------- */

static int params_read(struct gt_param *params, const char *types, va_list *args)
{
	int n = 0;

	for (; types[n] && n < GT_PARAMS_MAX; n++) {
		struct gt_param *p = &params[n];

		*p = (struct gt_param){ .type = types[n] };
		switch (types[n]) {
		case 't':
			p->p = va_arg(*args, const char *);
			break;
		case 'b':
			p->p = va_arg(*args, const void *);
			p->len = va_arg(*args, size_t);
			break;
		default:
			p->i = va_arg(*args, int64_t);
		}
	}
	return n;
}

struct gt_query *gt_db_query(struct gt_db *db, struct gt_err *err, const char *sql,
			     const char *types, ...)
{
	struct gt_param params[GT_PARAMS_MAX];
	va_list args;
	int n;

	va_start(args, types);
	n = params_read(params, types, &args);
	va_end(args);
	return db->kind->query(db, -1, sql, params, n, err);
}

struct gt_query *gt_sql(struct gt_db *db, struct gt_err *err, enum gt_sql which, const char *types,
			...)
{
	struct gt_param params[GT_PARAMS_MAX];
	va_list args;
	int n;

	va_start(args, types);
	n = params_read(params, types, &args);
	va_end(args);
	return db->kind->query(db, (int)which, gt_sql_text[which], params, n, err);
}

static int not_made(const struct gt_err *err)
{
	return -(err && err->code ? err->code : EIO);
}

struct gt_query *gt_sql_group(struct gt_db *db, struct gt_err *err, enum gt_sql which,
			      const uint64_t *seqs, size_t n, const char *types, ...)
{
	struct gt_param params[GT_SQL_GROUP + GT_PARAMS_MAX];
	va_list args;
	int more;

	for (size_t i = 0; i < GT_SQL_GROUP; i++)
		params[i] = (struct gt_param){ .type = 'i', .i = i < n ? (int64_t)seqs[i] : 0 };
	va_start(args, types);
	more = params_read(params + GT_SQL_GROUP, types, &args);
	va_end(args);
	return db->kind->query(db, (int)which, gt_sql_text[which], params, GT_SQL_GROUP + more,
			       err);
}

int gt_db_step(struct gt_query *q, struct gt_err *err)
{
	return q ? q->db->kind->step(q, err) : not_made(err);
}

int gt_db_finish(struct gt_query *q, struct gt_err *err)
{
	int r = q ? q->db->kind->finish(q, err) : not_made(err);

	gt_query_release(q);
	return r;
}

void gt_query_release(struct gt_query *q)
{
	if (q)
		q->db->kind->release(q);
}

/* ---- rows ----------------------------------------------------------------------------------- */

int64_t gt_db_int(struct gt_query *q, int column)
{
	return q->db->kind->column_int(q, column);
}

const char *gt_db_text_null(struct gt_query *q, int column)
{
	return q->db->kind->column(q, column, NULL);
}

const char *gt_db_text(struct gt_query *q, int column)
{
	const char *s = gt_db_text_null(q, column);

	return s ? s : "";
}

const void *gt_db_bytes(struct gt_query *q, int column, size_t *len)
{
	return q->db->kind->column(q, column, len);
}

int gt_db_columns(struct gt_query *q)
{
	return q->db->kind->columns(q);
}
