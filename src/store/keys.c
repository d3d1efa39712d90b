/* keys.c - what is secret and made once; whoever comes second finds the first one's. And the keys
 * of webhooks, which follow one another. */
#include "keys.h"

#include <string.h>

int gt_authority_read(struct gt_db *db, struct gt_buf *key, struct gt_buf *cert, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT key, cert FROM authority WHERE id = 1", "");
	int r = gt_db_step(q, err);

	if (r == 0)
		return gt_err_set(err, ENOENT, "not_found", "there is no authority yet");
	if (r > 0)
		r = gt_buf_adds(key, gt_db_text(q, 0)) < 0 ||
				    gt_buf_adds(cert, gt_db_text(q, 1)) < 0
			    ? gt_err_set(err, E2BIG, "internal", "the authority in the store")
			    : 0;
	return r;
}

int gt_key_read(struct gt_db *db, const char *name, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT value FROM keys WHERE name = ?1", "t", name);
	int r = gt_db_step(q, err);

	if (r == 0)
		return gt_err_set(err, ENOENT, "not_found", "there is no key %s yet", name);
	if (r > 0)
		r = gt_buf_adds(ret, gt_db_text(q, 0)) < 0
			    ? gt_err_set(err, E2BIG, "internal", "the key %s in the store", name)
			    : 0;
	return r;
}

/* One statement as a transaction of its own, in which q is made. */
static int keep(struct gt_db *db, struct gt_query *q, int r, struct gt_err *err)
{
	if (r == 0)
		r = gt_db_finish(q, err);
	if (r == 0)
		r = gt_db_commit(db, err);
	if (r < 0)
		gt_db_rollback(db);
	return r;
}

int gt_authority_keep(struct gt_db *db, const char *key, const char *cert, struct gt_err *err)
{
	int r = gt_db_begin(db, err);
	struct gt_query *q = NULL;

	if (r == 0)
		q = gt_db_query(db, err,
				"INSERT INTO authority(id, key, cert) VALUES(1, ?1, ?2)"
				" ON CONFLICT(id) DO NOTHING",
				"tt", key, cert);
	return keep(db, q, r, err);
}

int gt_key_keep(struct gt_db *db, const char *name, const char *value, uint64_t now_ms,
		struct gt_err *err)
{
	int r = gt_db_begin(db, err);
	struct gt_query *q = NULL;

	if (r == 0)
		q = gt_db_query(db, err,
				"INSERT INTO keys(name, value, created_ms) VALUES(?1, ?2, ?3)"
				" ON CONFLICT(name) DO NOTHING",
				"tti", name, value, (int64_t)now_ms);
	return keep(db, q, r, err);
}

/* ---- the admin token ------------------------------------------------------------------------ */

#define TOKEN "token"

int gt_token_print_keep(struct gt_db *db, uint64_t epoch, const char *print, struct gt_err *err)
{
	gt_auto(free) char *text = gt_asprintf("%llu %s", (unsigned long long)epoch, print);

	return gt_db_finish(gt_db_query(db, err,
					"INSERT INTO keys(name, value) SELECT '" TOKEN
					"', ?2::text FROM leader WHERE epoch = ?1"
					" ON CONFLICT(name) DO UPDATE SET value = excluded.value",
					"it", (int64_t)epoch, text),
			    err);
}

int gt_token_print_read(struct gt_db *db, uint64_t epoch, struct gt_buf *ret, struct gt_err *err)
{
	gt_auto(free) char *of = gt_asprintf("%llu ", (unsigned long long)epoch);
	gt_auto(buf) struct gt_buf text = { 0 };
	int r = gt_key_read(db, TOKEN, &text, err);

	if (r == 0 && !gt_starts_with(gt_buf_str(&text), of))
		r = gt_err_set(err, ENOENT, "not_found", "the token is of another epoch");
	return r == 0 ? gt_buf_adds(ret, gt_buf_str(&text) + strlen(of)) : r;
}

/* ---- those that sign webhooks --------------------------------------------------------------- */

/* The newest has the name that it had when there was one alone, so versions of before find it. */
#define OLDER "'" GT_WEBHOOK_NEWEST "/'"

int gt_webhook_keys_read(struct gt_db *db, struct gt_webhook_keys *ret, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err,
		"SELECT name, value, created_ms, ends_ms FROM keys WHERE name = ?1"
		" OR substr(name, 1, 8) = " OLDER
		" ORDER BY CASE WHEN name = ?1 THEN 0 ELSE 1 END, created_ms DESC, name DESC",
		"t", GT_WEBHOOK_NEWEST);
	int r = 0;

	ret->n = 0;
	while (r >= 0 && (r = gt_db_step(q, err)) > 0 && ret->n < GT_WEBHOOK_KEYS_MAX) {
		struct gt_webhook_key *key = &ret->at[ret->n++];

		gt_strcopy(key->name, sizeof(key->name), gt_db_text(q, 0));
		gt_strcopy(key->text, sizeof(key->text), gt_db_text(q, 1));
		key->created_ms = (uint64_t)gt_db_int(q, 2);
		key->ends_ms = (uint64_t)gt_db_int(q, 3);
	}
	return r < 0 ? r : 0;
}

static int rotate(struct gt_webhook_op *op, struct gt_db *db, struct gt_err *err)
{
	int r = gt_db_finish(gt_db_query(db, err,
					 "DELETE FROM keys WHERE substr(name, 1, 8) = " OLDER
					 " AND ends_ms <= ?1",
					 "i", (int64_t)op->now_ms),
			     err);

	if (r == 0)
		r = gt_webhook_keys_read(db, &op->keys, err);
	if (r == 0 && op->overlap_ms && op->keys.n == GT_WEBHOOK_KEYS_MAX)
		r = gt_err_set(err, EBUSY, "conflict",
			       "%d keys sign webhooks already: remove an old one, or make this one "
			       "with an overlap of 0s",
			       GT_WEBHOOK_KEYS_MAX);
	if (r == 0)
		r = gt_db_finish(
			gt_db_query(db, err,
				    "UPDATE keys SET name = ?1, ends_ms = ?2 WHERE name = ?3",
				    "tit", op->old, (int64_t)(op->now_ms + op->overlap_ms),
				    GT_WEBHOOK_NEWEST),
			err);
	if (r == 0 && !op->overlap_ms)
		r = gt_db_finish(
			gt_db_query(db, err, "DELETE FROM keys WHERE name = ?1", "t", op->old),
			err);
	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err,
					     "INSERT INTO keys(name, value, created_ms)"
					     " VALUES(?1, ?2, ?3)",
					     "tti", GT_WEBHOOK_NEWEST, op->key.text,
					     (int64_t)op->key.created_ms),
				 err);
	return r;
}

static int drop(struct gt_webhook_op *op, struct gt_db *db, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err,
		"DELETE FROM keys WHERE name = ?1 AND substr(name, 1, 8) = " OLDER
		" RETURNING name",
		"t", op->key.name);
	int r = gt_db_step(q, err);

	if (r == 0)
		return gt_err_set(err, ENOENT, "not_found", "the key is gone already");
	return r < 0 ? r : 0;
}

int gt_webhook_run(struct gt_webhook_op *op, struct gt_db *db, struct gt_err *err)
{
	int r = op->verb == GT_WEBHOOK_ROTATE ? rotate(op, db, err) : drop(op, db, err);

	return r < 0 ? r : gt_webhook_keys_read(db, &op->keys, err);
}
