/* hook/hook.h - providers' hooks, called: a program that is started for each question, or an
 * address that is posted to. Loop thread only. Each call ends once, with an answer that has the
 * right form or an error, within the provider's timeout.
 *
 * A program runs as this process's user, without a shell, in a process group of its own; "/" is its
 * directory; PATH, HOME and GANTRY_PROVIDER are its environment; it has no descriptor but the
 * question on 0, the answer on 1, and 2, of which each line goes to the log. It is over when it
 * exits: what it leaves behind goes on. One that is late is killed with its group, and all are when
 * this process ends. An address gets a POST, signed as Standard Webhooks are. */
#ifndef GANTRY_HOOK_HOOK_H
#define GANTRY_HOOK_HOOK_H

#include <gantry/base/err.h>
#include <gantry/http/client.h>
#include <gantry/loop/loop.h>
#include <gantry/model/provider.h>
#include <gantry/model/webhook.h>

struct gt_hooks;

struct gt_hooks_config {
	struct gt_loop *loop;
	struct gt_http_client *client;      /* borrowed */
	const struct gt_webhook_keys *keys; /* that sign; borrowed, they may change */
	const char *cluster;                /* for the questions; borrowed */
};

struct gt_hooks *gt_hooks_new(const struct gt_hooks_config *config);
void gt_hooks_free(struct gt_hooks *h); /* nobody is called back any more; NULL is fine */
/* Control's port (control/ports.h): ctx is the gt_hooks. */
void gt_hooks_ask(void *ctx, const struct gt_hook_ask *ask, gt_hook_fn *done, void *arg);

#endif
