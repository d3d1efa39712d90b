/* daemon/providers.h - control's ports to providers of hosts: their hooks, and tokens to join with.
 */
#ifndef DAEMON_PROVIDERS_H
#define DAEMON_PROVIDERS_H

#include <gantry/hook/hook.h>
#include <gantry/http/pki.h>

#include "config.h"

struct gt_providers {
	struct gt_provider list[GT_PROVIDERS_MAX]; /* as they are used */
	size_t n;
	struct gt_hooks *hooks;
	const char *pin;  /* of the cluster's authority; borrowed */
	char cluster[17]; /* begins the pin */
};

/* Slug bad_config. */
GT_MUST_USE int gt_providers_read(struct gt_providers *p, const struct gt_config *conf,
				  struct gt_err *err);
/* Before control's first input. */
void gt_providers_open(struct gt_providers *p, struct gt_loop *loop, struct gt_http_client *client,
		       const struct gt_pki_ca *authority,
		       const struct gt_webhook_keys *webhook_keys);
/* A new token: its text, and its id and digest. */
GT_MUST_USE int gt_providers_token(const struct gt_providers *p, char text[GT_HOST_TOKEN_SIZE],
				   struct gt_join_token *ret, struct gt_err *err);
void gt_providers_close(struct gt_providers *p);

#endif
