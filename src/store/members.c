/* members.c - machines that joined, and join tokens: all statements about them. */
#include "members.h"

#include <string.h>

int gt_token_add(struct gt_db *db, const struct gt_join_token *t, uint64_t now_ms,
		 struct gt_err *err)
{
	uint64_t old = now_ms > GT_JOIN_KEEP_MS ? now_ms - GT_JOIN_KEEP_MS : 0;
	int r = gt_db_finish(gt_db_query(db, err, "DELETE FROM join_tokens WHERE expires_ms < ?1",
					 "i", (int64_t)old),
			     err);

	if (r < 0)
		return r;
	gt_auto(query) struct gt_query *q = gt_db_query(db, err, "SELECT count(*) FROM join_tokens",
							"");

	r = gt_db_step(q, err);
	if (r < 0)
		return r;
	if (gt_db_int(q, 0) >= GT_JOIN_TOKENS_MAX)
		return gt_err_set(err, EBUSY, "conflict",
				  "%d join tokens are kept already: remove some",
				  GT_JOIN_TOKENS_MAX);
	return gt_db_finish(gt_db_query(db, err,
					"INSERT INTO join_tokens(id, digest, node, created_ms,"
					" expires_ms) VALUES(?1, ?2, ?3, ?4, ?5)",
					"tttii", t->id, t->digest, t->node, (int64_t)t->created_ms,
					(int64_t)t->expires_ms),
			    err);
}

static int token_add(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	return gt_token_add(db, &op->token, op->now_ms, err);
}

static int token_drop(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "DELETE FROM join_tokens WHERE id = ?1 RETURNING id", "t", op->token.id);
	int r = gt_db_step(q, err);

	if (r == 0)
		return gt_err_set(err, ENOENT, "not_found", "there is no join token %s",
				  op->token.id);
	return r < 0 ? r : 0;
}

#define TOKEN_COLUMNS "id, digest, node, created_ms, expires_ms, used_ms, used_by"

static void token_read(struct gt_query *q, struct gt_join_token *ret)
{
	gt_strcopy(ret->id, sizeof(ret->id), gt_db_text(q, 0));
	gt_strcopy(ret->digest, sizeof(ret->digest), gt_db_text(q, 1));
	gt_strcopy(ret->node, sizeof(ret->node), gt_db_text(q, 2));
	ret->created_ms = (uint64_t)gt_db_int(q, 3);
	ret->expires_ms = (uint64_t)gt_db_int(q, 4);
	ret->used_ms = (uint64_t)gt_db_int(q, 5);
	gt_strcopy(ret->used_by, sizeof(ret->used_by), gt_db_text(q, 6));
}

static int token_list(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT " TOKEN_COLUMNS " FROM join_tokens ORDER BY id DESC", "");
	int r = 0;

	op->n_tokens = 0; /* a batch that failed is run again */
	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		op->tokens = gt_grow(op->tokens, op->n_tokens + 1, sizeof(*op->tokens));
		op->tokens[op->n_tokens] = (struct gt_join_token){ 0 };
		token_read(q, &op->tokens[op->n_tokens++]);
	}
	return r;
}

/* 1 with the row, 0 without. */
static int member_find(struct gt_db *db, const char *node, struct gt_member *ret,
		       struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT node, since_ms FROM members WHERE node = ?1", "t", node);
	int r = gt_db_step(q, err);

	if (r > 0) {
		gt_strcopy(ret->node, sizeof(ret->node), gt_db_text(q, 0));
		ret->since_ms = (uint64_t)gt_db_int(q, 1);
	}
	return r;
}

/* Whether the token lets the node in; *again: it did already, and this is the same machine. */
static int token_check(struct gt_member_op *op, struct gt_db *db, bool is_member, bool *again,
		       struct gt_err *err)
{
	struct gt_join_token t = { 0 };
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT " TOKEN_COLUMNS ", used_key FROM join_tokens WHERE digest = ?1",
		"t", op->token.digest);
	int r = gt_db_step(q, err);

	if (r <= 0)
		return r < 0 ? r : gt_join_refuse(err);
	token_read(q, &t);
	if (t.expires_ms <= op->now_ms || (t.node[0] && !gt_streq(t.node, op->member.node)))
		return gt_join_refuse(err);
	*again = t.used_ms && is_member && gt_streq(t.used_by, op->member.node) &&
		 gt_streq(gt_db_text(q, 7), op->key);
	return t.used_ms && !*again ? gt_join_refuse(err) : 0;
}

static int join(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	struct gt_member *m = &op->member, there = { 0 };
	int is_member = member_find(db, m->node, &there, err);
	bool again = false;

	if (is_member < 0 || token_check(op, db, is_member > 0, &again, err) < 0)
		return -err->code;
	op->repeated = again;
	if (again) {
		*m = there;
		return 0;
	}
	if (is_member || op->taken)
		return gt_err_set(err, EEXIST, "node_exists",
				  "there is a node %s already: `gantry node rm` it, or choose "
				  "another name",
				  m->node);
	int r = gt_db_finish(gt_db_query(db, err,
					 "UPDATE join_tokens SET used_ms = ?1, used_by = ?2,"
					 " used_key = ?3 WHERE digest = ?4",
					 "ittt", (int64_t)op->now_ms, m->node, op->key,
					 op->token.digest),
			     err);

	m->since_ms = op->now_ms;
	if (r == 0)
		r = gt_db_finish(gt_db_query(db, err,
					     "INSERT INTO members(node, since_ms) VALUES(?1, ?2)",
					     "ti", m->node, (int64_t)m->since_ms),
				 err);
	return r;
}

static int leave(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	const char *node = op->member.node;
	int r = gt_db_finish(gt_db_query(db, err, "DELETE FROM members WHERE node = ?1", "t", node),
			     err);

	if (r == 0)
		r = gt_db_finish(
			gt_db_query(db, err, "DELETE FROM nodes WHERE name = ?1", "t", node), err);
	return r;
}

int gt_member_run(struct gt_member_op *op, struct gt_db *db, struct gt_err *err)
{
	static int (*const verbs[GT_MEMBER_VERBS])(struct gt_member_op *, struct gt_db *,
						   struct gt_err *) = {
		[GT_MEMBER_TOKEN_ADD] = token_add, [GT_MEMBER_TOKEN_DROP] = token_drop,
		[GT_MEMBER_TOKENS] = token_list,   [GT_MEMBER_JOIN] = join,
		[GT_MEMBER_LEAVE] = leave,
	};

	return verbs[op->verb](op, db, err);
}

int gt_members_load(struct gt_db *db, void (*fn)(const struct gt_member *m, void *arg), void *arg,
		    struct gt_err *err)
{
	gt_auto(query) struct gt_query *q = gt_db_query(
		db, err, "SELECT node, since_ms FROM members ORDER BY node", "");
	int r = 0;

	while (r >= 0 && (r = gt_db_step(q, err)) > 0) {
		struct gt_member m = { .since_ms = (uint64_t)gt_db_int(q, 1) };

		gt_strcopy(m.node, sizeof(m.node), gt_db_text(q, 0));
		fn(&m, arg);
	}
	return r;
}
