/* member.c - the life of an operation on members and join tokens. */
#include <gantry/model/member.h>

int gt_join_refuse(struct gt_err *err)
{
	return gt_err_set(err, EACCES, "bad_join_token",
			  "the join token is wrong, used, expired or another node's: make a new "
			  "one with `gantry node token`");
}

struct gt_member_op *gt_member_op_new(enum gt_member_verb verb)
{
	struct gt_member_op *op = gt_alloc(sizeof(*op));

	op->verb = verb;
	return op;
}

void gt_member_op_free(struct gt_member_op *op)
{
	if (!op)
		return;
	free(op->tokens);
	free(op);
}
