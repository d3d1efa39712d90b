/* webhook.c - the keys that sign webhooks; what is said of them is durable before it holds. */
#include "control_priv.h"

#include <gantry/control/webhook.h>

void gt_control_load_webhook_keys(struct gt_control *c, const struct gt_webhook_keys *keys)
{
	c->webhook_keys = *keys;
}

const struct gt_webhook_keys *gt_control_webhook_keys(const struct gt_control *c)
{
	return &c->webhook_keys;
}

static void op_done(struct gt_webhook_op *op, const struct gt_err *err, void *arg)
{
	struct gt_control *c = arg;

	if (!err) {
		c->webhook_keys = op->keys;
		gt_ctl_event(c, op->verb == GT_WEBHOOK_ROTATE ? "webhook.rotated" : "webhook.ended",
			     NULL, NULL, NULL, NULL, "%zu keys sign webhooks", op->keys.n);
		if (c->ports.on_webhook_keys)
			c->ports.on_webhook_keys(c->ports.ctx);
	}
	op->asker(op, err, op->asker_arg);
	gt_ctl_finish(c);
}

int gt_control_webhook_do(struct gt_control *c, struct gt_webhook_op *op, gt_webhook_fn *asker,
			  void *arg, struct gt_err *err)
{
	if (!c->ports.store.webhook)
		return gt_err_set(err, ENOTSUP, "unavailable", "there is no store for keys");
	op->now_ms = gt_wall_ms(&c->ports.clock);
	op->done = op_done;
	op->arg = c;
	op->asker = asker;
	op->asker_arg = arg;
	c->ports.store.webhook(c->ports.store.ctx, op);
	return 0;
}
