/* daemon/webhook_key.h - the key that signs what receivers of webhooks are told. */
#ifndef DAEMON_WEBHOOK_KEY_H
#define DAEMON_WEBHOOK_KEY_H

#include <gantry/store/store.h>

#define GT_WEBHOOK_KEY_SIZE 65 /* hex digits and NUL */

/* The store's; where it has none yet, the one in control/webhook.key, which was its home once, and
 * else a new one. That file is then a copy of the store's, for the operator to read. */
GT_MUST_USE int gt_webhook_key_open(struct gt_store *store, char ret[GT_WEBHOOK_KEY_SIZE],
				    struct gt_err *err);

#endif
