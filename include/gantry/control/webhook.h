/* control/webhook.h - the keys that sign webhooks: control holds those of the store, for all that
 * sign, and has them changed. */
#ifndef GANTRY_CONTROL_WEBHOOK_H
#define GANTRY_CONTROL_WEBHOOK_H

#include <gantry/control/control.h>
#include <gantry/model/webhook.h>

/* Before the first input. */
void gt_control_load_webhook_keys(struct gt_control *c, const struct gt_webhook_keys *keys);
/* Lives as long as control; its content changes. Without any nothing can be signed. */
const struct gt_webhook_keys *gt_control_webhook_keys(const struct gt_control *c);
/* Control fills in now_ms; `asker` gets op back exactly once and owns it then, and what was asked
 * holds already. Refused at once, with op left to the caller: -ENOTSUP (unavailable) without a
 * store for them. */
GT_MUST_USE int gt_control_webhook_do(struct gt_control *c, struct gt_webhook_op *op GT_TAKES,
				      gt_webhook_fn *asker, void *arg, struct gt_err *err);

#endif
