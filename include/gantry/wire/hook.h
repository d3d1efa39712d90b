/* wire/hook.h - what a provider's hook is asked, one JSON document, and what it answers, another.
 */
#ifndef GANTRY_WIRE_HOOK_H
#define GANTRY_WIRE_HOOK_H

#include <gantry/base/buf.h>
#include <gantry/model/provider.h>
#include <gantry/wire/json.h>

#define GT_HOOK_ANSWER_MAX (512 * GT_KIB)

void gt_offer_write(const struct gt_offer *o, struct gt_json *j, const char *name);
/* cluster: tells the hosts of one cluster from those of others. */
void gt_hook_ask_write(const struct gt_hook_ask *ask, const char *cluster, struct gt_buf *out);
/* -EPROTO, slug bad_answer: the text says what is wrong with it. Members that nobody asked for are
 * ignored. Caller: gt_hook_answer_fini. */
GT_MUST_USE int gt_hook_answer_read(enum gt_hook_verb verb, const char *text, size_t len,
				    struct gt_hook_answer *ret, struct gt_err *err);
void gt_hook_answer_fini(struct gt_hook_answer *a);

#endif
