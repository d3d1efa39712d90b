/* store/keys.h - what is secret and made once: the authority and keys by name. The caller holds the
 * database's lock. */
#ifndef GANTRY_SRC_STORE_KEYS_H
#define GANTRY_SRC_STORE_KEYS_H

#include <gantry/base/buf.h>
#include <gantry/model/webhook.h>

#include "db.h"

/* The authority's key and certificate, as PEM; -ENOENT: there is none. */
GT_MUST_USE int gt_authority_read(struct gt_db *db, struct gt_buf *key, struct gt_buf *cert,
				  struct gt_err *err);
/* Keeps these, if there is none. */
GT_MUST_USE int gt_authority_keep(struct gt_db *db, const char *key, const char *cert,
				  struct gt_err *err);
/* Likewise one of `keys`. */
GT_MUST_USE int gt_key_read(struct gt_db *db, const char *name, struct gt_buf *ret,
			    struct gt_err *err);
GT_MUST_USE int gt_key_keep(struct gt_db *db, const char *name, const char *value, uint64_t now_ms,
			    struct gt_err *err);

/* Of the admin token of who leads: a digest that others compare with theirs, with the epoch that it
 * is of, as programs of before leave it alone. Nothing is kept when that epoch is over; -ENOENT:
 * that of this epoch is not known. PostgreSQL only. */
GT_MUST_USE int gt_token_print_keep(struct gt_db *db, uint64_t epoch, const char *print,
				    struct gt_err *err);
GT_MUST_USE int gt_token_print_read(struct gt_db *db, uint64_t epoch, struct gt_buf *ret,
				    struct gt_err *err);

/* Those that sign webhooks; the second within the caller's transaction. */
GT_MUST_USE int gt_webhook_keys_read(struct gt_db *db, struct gt_webhook_keys *ret,
				     struct gt_err *err);
GT_MUST_USE int gt_webhook_run(struct gt_webhook_op *op, struct gt_db *db, struct gt_err *err);

#endif
