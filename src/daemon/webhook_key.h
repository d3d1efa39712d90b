/* daemon/webhook_key.h - the keys that sign what receivers of webhooks are told, at the start of
 * control; and a copy of the newest for the operator. */
#ifndef DAEMON_WEBHOOK_KEY_H
#define DAEMON_WEBHOOK_KEY_H

#include <gantry/store/store.h>

/* The store's; where it has none yet, the one in control/webhook.key, which was its home once, and
 * else a new one. That file is then a copy of the newest, for the operator to read. */
GT_MUST_USE int gt_webhook_keys_open(struct gt_store *store, struct gt_webhook_keys *ret,
				     struct gt_err *err);
/* The same file, when there is another newest one. It is right again after the next start at the
 * latest, so nobody waits for a disk. */
GT_MUST_USE int gt_webhook_key_copy(const struct gt_webhook_keys *keys, struct gt_err *err);

#endif
