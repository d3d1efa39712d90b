/* control/member.h - machines that may connect from elsewhere: they join with a token, once, and
 * are members until an operator removes them (gt_control_node_delete). A member is a node like all
 * others, also while it is away. Who holds which certificate is not control's concern. */
#ifndef GANTRY_CONTROL_MEMBER_H
#define GANTRY_CONTROL_MEMBER_H

#include <gantry/control/control.h>
#include <gantry/model/member.h>

/* Before the first input: one call a member. */
void gt_control_load_member(struct gt_control *c, const struct gt_member *m);
/* NULL ret: only whether it is one. */
bool gt_control_member(struct gt_control *c, const char *node, struct gt_member *ret);
void gt_control_members(struct gt_control *c, void (*fn)(const struct gt_member *m, void *arg),
			void *arg);
/* TOKEN_ADD, TOKEN_DROP, TOKENS and JOIN; `asker` gets op back exactly once and owns it then. Of
 * JOIN control fills in now_ms and taken; the node is a member before asker is called. Refused at
 * once, with op left to the caller: -ENOTSUP (unavailable) without a store for them; -EAGAIN
 * (overloaded) while too many joins wait, or there is no room for a node. */
GT_MUST_USE int gt_control_member_do(struct gt_control *c, struct gt_member_op *op GT_TAKES,
				     gt_member_fn *asker, void *arg, struct gt_err *err);

#endif
