/* webhook.c - the life of an operation on the keys of webhooks, and which of them sign. */
#include <gantry/model/webhook.h>

#include <stdlib.h>
#include <string.h>

struct gt_webhook_op *gt_webhook_op_new(enum gt_webhook_verb verb)
{
	struct gt_webhook_op *op = gt_alloc(sizeof(*op));

	op->verb = verb;
	return op;
}

void gt_webhook_op_free(struct gt_webhook_op *op)
{
	if (!op)
		return;
	explicit_bzero(op, sizeof(*op));
	free(op);
}

size_t gt_webhook_keys_good(const struct gt_webhook_keys *keys, uint64_t now_ms,
			    const char *ret[GT_WEBHOOK_KEYS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < keys->n; i++)
		if (!keys->at[i].ends_ms || keys->at[i].ends_ms > now_ms)
			ret[n++] = keys->at[i].text;
	return n;
}
