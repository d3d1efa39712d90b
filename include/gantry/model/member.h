/* model/member.h - machines that joined the cluster, and the tokens that let them. Plain data; what
 * may be asked of the store about them is one operation struct, as with durable calls (task.h). */
#ifndef GANTRY_MODEL_MEMBER_H
#define GANTRY_MODEL_MEMBER_H

#include <gantry/base/cleanup.h>
#include <gantry/base/clock.h>
#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_JOIN_TOKENS_MAX  1000             /* kept, used and expired ones too */
#define GT_JOIN_TTL_MS      (3600ULL * 1000) /* when none is stated */
#define GT_JOIN_TTL_MIN_MS  1000ULL
#define GT_JOIN_TTL_MAX_MS  (7ULL * 24 * 3600 * 1000)
#define GT_JOIN_KEEP_MS     (7ULL * 24 * 3600 * 1000) /* after their end, to be looked at */
#define GT_JOIN_DIGEST_SIZE 65                        /* SHA-256 in hex and NUL */

/* A node that may connect from another machine. */
struct gt_member {
	char node[GT_NAME_MAX + 1];
	uint64_t since_ms; /* wall clock of control: certificates from before are another's */
};

struct gt_join_token {
	char id[GT_ULID_LEN + 1];
	char digest[GT_JOIN_DIGEST_SIZE];         /* of its text, which is kept nowhere */
	char node[GT_NAME_MAX + 1];               /* "" = for any name */
	uint64_t created_ms, expires_ms, used_ms; /* wall clock; used 0 = not yet */
	char used_by[GT_NAME_MAX + 1];
};

enum gt_member_verb {
	GT_MEMBER_TOKEN_ADD,  /* token in. -ENOSPC (conflict): GT_JOIN_TOKENS_MAX are there */
	GT_MEMBER_TOKEN_DROP, /* token.id in. -ENOENT (not_found) */
	GT_MEMBER_TOKENS,     /* tokens[] out, newest first */
	/* token.digest, member, key and taken in; member.since_ms out. -EACCES (bad_join_token):
	 * no such token that is still good; else -EEXIST (node_exists). The same token, node and
	 * key once more, while the node is a member: done already, `repeated` is set. */
	GT_MEMBER_JOIN,
	GT_MEMBER_LEAVE, /* member.node in: it is no member, and nothing is said of it any more */
	GT_MEMBER_VERBS
};

struct gt_member_op;
typedef void gt_member_fn(struct gt_member_op *op, const struct gt_err *err, void *arg);

/* Made by who asks, given to the store, and back with `done`, which owns it again. */
struct gt_member_op {
	enum gt_member_verb verb;
	uint64_t now_ms;
	struct gt_join_token token;
	struct gt_member member;
	char key[GT_JOIN_DIGEST_SIZE]; /* digest of the node's public key */
	bool taken;                    /* control knows a node of this name that is no member */
	bool repeated;
	struct gt_join_token *tokens;
	size_t n_tokens;
	/* The port's own end, and who asked. */
	gt_member_fn *done;
	void *arg;
	gt_member_fn *asker;
	void *asker_arg;
};

/* -EACCES (bad_join_token): one text for all that a token may lack. */
int gt_join_refuse(struct gt_err *err);
struct gt_member_op *gt_member_op_new(enum gt_member_verb verb);
void gt_member_op_free(struct gt_member_op *op); /* NULL is fine */
GT_CLEANUP_TYPE(member_op, struct gt_member_op *, gt_member_op_free)

#endif
