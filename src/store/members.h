/* store/members.h - joined machines and join tokens in the database; the caller holds its lock. */
#ifndef GANTRY_SRC_STORE_MEMBERS_H
#define GANTRY_SRC_STORE_MEMBERS_H

#include <gantry/base/buf.h>
#include <gantry/model/member.h>

#include "db.h"

/* What op asks for, inside the caller's transaction. */
GT_MUST_USE int gt_member_run(struct gt_member_op *op, struct gt_db *db, struct gt_err *err);
/* Adds a join token, inside the caller's transaction; those that ended long ago go. -EBUSY
 * (conflict): too many are kept. */
GT_MUST_USE int gt_token_add(struct gt_db *db, const struct gt_join_token *t, uint64_t now_ms,
			     struct gt_err *err);
/* Every member, in the order of names. */
GT_MUST_USE int gt_members_load(struct gt_db *db, void (*fn)(const struct gt_member *m, void *arg),
				void *arg, struct gt_err *err);

#endif
