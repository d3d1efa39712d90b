/* member.c - the life of an operation on members and join tokens. */
#include <gantry/model/member.h>

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
