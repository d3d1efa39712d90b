/* store/look.c - is a PostgreSQL one that a control could use? For people, before the start.
 * Nothing is written: the session is read-only. */
#include <gantry/base/buf.h>
#include <gantry/store/store.h>

#include "db.h"
#include "lease_row.h"

#define PATIENCE_MS 3000
#define LEAST       120000 /* 12: generated names and what else the statements need */

/* The tables of this program: its owner's, where schema_version is. */
#define OURS                                                                            \
	" FROM pg_class c JOIN pg_class v ON v.oid = to_regclass('schema_version') AND" \
	" c.relnamespace = v.relnamespace AND c.relowner = v.relowner WHERE c.relkind = 'r'"

/* A truth about the database. */
static int is(struct gt_db *db, const char *sql, bool *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(db, err, sql, "");
	int r = gt_db_step(q, err);

	if (r < 0)
		return r;
	*ret = r > 0 && gt_db_int(q, 0) != 0;
	return 0;
}

static int look_server(struct gt_db *db, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err,
		"SELECT current_setting('server_version'),"
		" current_setting('server_version_num')::bigint, pg_is_in_recovery(),"
		" current_setting('fsync') = 'on', current_user::text",
		"");
	int r = gt_db_step(q, err);

	if (r < 0)
		return r;
	gt_buf_addf(ret, "store: PostgreSQL %s is reachable as user %s\n", gt_db_text(q, 0),
		    gt_db_text(q, 4));
	if (gt_db_int(q, 1) < LEAST)
		return gt_err_set(err, EPROTO, "internal",
				  "store: PostgreSQL %s is too old: 12 is the least",
				  gt_db_text(q, 0));
	if (gt_db_int(q, 2))
		return gt_err_set(
			err, EROFS, "internal",
			"store: that server is a standby, which takes no writes: name the "
			"primary, or several with target_session_attrs=read-write");
	if (!gt_db_int(q, 3))
		gt_buf_adds(ret, "store: its fsync is off: a power cut may lose or damage what was "
				 "promised\n");
	return 0;
}

static int look_empty(struct gt_db *db, struct gt_buf *ret, struct gt_err *err)
{
	bool may;
	int r = is(db, "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)",
		   &may, err);

	if (r < 0)
		return r;
	if (!may)
		return gt_err_set(
			err, EACCES, "internal",
			"store: the database has no tables yet, and this user may not make "
			"them: GRANT CREATE, USAGE ON SCHEMA public TO it");
	gt_buf_adds(ret, "store: it is empty; the first start makes its tables\n");
	return 0;
}

/* Of the tables that are there. */
static int look_rights(struct gt_db *db, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err,
		"SELECT string_agg(c.relname::text, ', ' ORDER BY c.relname)" OURS
		" AND NOT (has_table_privilege(c.oid, 'SELECT')"
		" AND has_table_privilege(c.oid, 'INSERT')"
		" AND has_table_privilege(c.oid, 'UPDATE')"
		" AND has_table_privilege(c.oid, 'DELETE'))",
		"");
	int r = gt_db_step(q, err);

	if (r < 0 || !gt_db_text_null(q, 0))
		return GT_MIN(r, 0);
	return gt_err_set(
		err, EACCES, "internal",
		"store: this user needs SELECT, INSERT, UPDATE and DELETE on all tables; it may "
		"not do all of them on %.120s",
		gt_db_text(q, 0));
}

static int look_schema(struct gt_db *db, struct gt_buf *ret, struct gt_err *err)
{
	struct gt_schema s;
	bool owner;
	int r = gt_db_readable(db, "store: it", &s, err);

	if (r == 0)
		r = is(db,
		       "SELECT coalesce(bool_and(pg_has_role(c.relowner, 'USAGE')), false)" OURS,
		       &owner, err);
	if (r < 0)
		return r;
	if (s.version == s.known) {
		gt_buf_addf(ret, "store: its schema is %lld, as this program's\n",
			    (long long)s.version);
	} else if (s.version > s.known) {
		gt_buf_addf(ret,
			    "store: its schema is %lld, of a newer program, and one of schema %lld "
			    "may use it\n",
			    (long long)s.version, (long long)s.known);
	} else if (owner) {
		gt_buf_addf(ret, "store: its schema is %lld; this program's start makes it %lld\n",
			    (long long)s.version, (long long)s.known);
	} else {
		return gt_err_set(
			err, EACCES, "internal",
			"store: its schema is %lld and has to become %lld, which only the "
			"owner of its tables may do",
			(long long)s.version, (long long)s.known);
	}
	return 0;
}

static int look_leader(struct gt_db *db, const char *token_print, struct gt_buf *ret,
		       struct gt_err *err)
{
	struct gt_lease_view v;
	int64_t left_ms;
	bool there;
	int r = is(db, "SELECT to_regclass('leader') IS NOT NULL", &there, err);

	if (r < 0 || !there)
		return r;
	r = gt_lease_row_read(db, &v, &left_ms, err);
	if (r < 0)
		return r;
	if (left_ms > 0)
		gt_buf_addf(ret, "store: node %s leads, at %s (epoch %llu)\n", v.holder, v.door,
			    (unsigned long long)v.epoch);
	else
		gt_buf_addf(ret, "store: nobody leads (the last epoch was %llu)\n",
			    (unsigned long long)v.epoch);
	if (left_ms > 0 && token_print &&
	    gt_lease_token_other(db, v.epoch, token_print, &(struct gt_err){ 0 }) > 0)
		gt_buf_addf(
			ret,
			"store: node %s has another admin.token than this state directory: who "
			"has the one is refused while the other's daemon leads; copy that file\n",
			v.holder);
	return 0;
}

int gt_store_look(const char *url, const char *token_print, struct gt_buf *ret, struct gt_err *err)
{
	__attribute__((cleanup(gt_cleanup_db))) struct gt_db *db = NULL;
	const struct gt_db_config config = { .path = url,
					     .reads = true,
					     .patience_ms = PATIENCE_MS };
	bool made;
	int r = gt_db_open(&config, &db, err);

	if (r < 0)
		return gt_err_wrap(err, "store");
	r = look_server(db, ret, err);
	if (r == 0)
		r = is(db, "SELECT to_regclass('schema_version') IS NOT NULL", &made, err);
	if (r < 0)
		return r;
	if (!made)
		return look_empty(db, ret, err);
	r = look_rights(db, err);
	if (r == 0)
		r = look_schema(db, ret, err);
	return r < 0 ? r : look_leader(db, token_print, ret, err);
}
