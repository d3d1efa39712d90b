/* hosts.c - hosts that were asked of providers: all statements about them. */
#include "hosts.h"

#include "members.h"

/* No more joins by it, and hosts that come and go do not fill the list of tokens. */
static int token_forget(struct gt_db *db, const struct gt_host_row *row, struct gt_err *err)
{
	return gt_db_finish(
		gt_db_query(db, err, "DELETE FROM join_tokens WHERE id = ?1", "t", row->token),
		err);
}

static int put(const struct gt_host_op *op, struct gt_db *db, struct gt_err *err)
{
	const struct gt_host_row *row = &op->row;
	int r = 0;

	if (op->token.id[0])
		r = gt_token_add(db, &op->token, op->token.created_ms, err);
	else if (row->releasing)
		r = token_forget(db, row, err);
	if (r < 0)
		return r;
	return gt_db_finish(
		gt_db_query(db, err,
			    "INSERT INTO hosts(key, provider, id, token, asked_ms, releasing)"
			    " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
			    " ON CONFLICT(key) DO UPDATE SET id = ?3, releasing = ?6",
			    "ttttii", row->key, row->provider, row->id, row->token,
			    (int64_t)row->asked_ms, (int64_t)row->releasing),
		err);
}

static int drop(const struct gt_host_op *op, struct gt_db *db, struct gt_err *err)
{
	int r = token_forget(db, &op->row, err);

	if (r == 0)
		r = gt_db_finish(
			gt_db_query(db, err, "DELETE FROM hosts WHERE key = ?1", "t", op->row.key),
			err);
	return r;
}

int gt_host_run(const struct gt_host_op *op, struct gt_db *db, struct gt_err *err)
{
	return op->verb == GT_HOST_PUT ? put(op, db, err) : drop(op, db, err);
}

int gt_hosts_load(struct gt_db *db, void (*fn)(const struct gt_host_row *row, void *arg), void *arg,
		  struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err,
		"SELECT key, provider, id, token, asked_ms, releasing FROM hosts ORDER BY key", "");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_host_row row = { .asked_ms = (uint64_t)gt_db_int(q, 4),
					   .releasing = gt_db_int(q, 5) != 0 };

		gt_strcopy(row.key, sizeof(row.key), gt_db_text(q, 0));
		gt_strcopy(row.provider, sizeof(row.provider), gt_db_text(q, 1));
		gt_strcopy(row.id, sizeof(row.id), gt_db_text(q, 2));
		gt_strcopy(row.token, sizeof(row.token), gt_db_text(q, 3));
		fn(&row, arg);
	}
	return r;
}
