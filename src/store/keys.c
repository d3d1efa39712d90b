/* keys.c - what is secret and made once; whoever comes second finds the first one's. */
#include "keys.h"

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

/* One statement as a transaction of its own. */
static int keep(struct gt_db *db, const char *sql, const char *one, const char *two,
		struct gt_err *err)
{
	int r = gt_db_begin(db, err);

	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err, sql, "tt", one, two), err);
	if (r == 0)
		r = gt_db_commit(db, err);
	if (r < 0)
		gt_db_rollback(db);
	return r;
}

int gt_authority_keep(struct gt_db *db, const char *key, const char *cert, struct gt_err *err)
{
	return keep(db,
		    "INSERT INTO authority(id, key, cert) VALUES(1, ?1, ?2)"
		    " ON CONFLICT(id) DO NOTHING",
		    key, cert, err);
}

int gt_key_keep(struct gt_db *db, const char *name, const char *value, struct gt_err *err)
{
	return keep(db, "INSERT INTO keys(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO NOTHING",
		    name, value, err);
}
