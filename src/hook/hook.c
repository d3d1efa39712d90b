/* hook.c - see hook/hook.h. */
#include "hook_priv.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/http/digest.h>
#include <gantry/wire/hook.h>

#define ASK_MAX (64 * GT_KIB)

struct gt_hooks *gt_hooks_new(const struct gt_hooks_config *config)
{
	struct gt_hooks *h = gt_alloc(sizeof(*h));

	h->config = *config;
	/* The operator said where to, and may mean a host of the own network. */
	if (gt_cidr_parse("0.0.0.0/0", &h->anywhere.allowed[0]) &&
	    gt_cidr_parse("::/0", &h->anywhere.allowed[1]))
		h->anywhere.n_allowed = 2;
	return h;
}

static void call_free(struct hook_call *call)
{
	DL_DELETE(call->hooks->calls, call);
	gt_http_cancel(call->http);
	hook_exec_end(call);
	gt_timer_clear(call->hooks->config.loop, &call->late);
	gt_buf_wipe(&call->ask); /* it may have a token in it */
	gt_buf_fini(&call->answer);
	free(call);
}

void gt_hooks_free(struct gt_hooks *h)
{
	if (!h)
		return;
	while (h->calls)
		call_free(h->calls);
	free(h);
}

void hook_finish(struct hook_call *call, const struct gt_err *why)
{
	struct gt_hook_answer answer = { 0 };
	struct gt_err err = { 0 };
	gt_hook_fn *done = call->done;
	void *arg = call->arg;

	if (why)
		gt_err_set(&err, why->code, "provider_failed", "%s: %s",
			   gt_hook_verb_name(call->verb), why->text);
	else
		(void)!gt_hook_answer_read(call->verb, gt_buf_str(&call->answer), call->answer.len,
					   &answer, &err);
	if (err.code)
		gt_warn("provider %s: %s", call->provider, err.text);
	call_free(call);
	done(err.code ? &err : NULL, &answer, arg);
	gt_hook_answer_fini(&answer);
}

/* ---- a post --------------------------------------------------------------------------------- */

static void on_answer(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct hook_call *call = arg;
	struct gt_err why = { 0 };

	call->http = NULL;
	if (status >= 200 && status < 300) {
		gt_buf_add(&call->answer, body ? body : "", len);
		hook_finish(call, NULL);
		return;
	}
	if (status)
		gt_err_set(&why, EIO, "provider_failed", "status %d", status);
	else
		gt_err_set(&why, EIO, "provider_failed", "%s", err->text);
	hook_finish(call, &why);
}

static int post(struct hook_call *call, const char *url, const char *id, struct gt_err *err)
{
	const struct gt_hooks_config *c = &call->hooks->config;
	uint64_t now_ms = gt_wall_ms(&gt_clock_system), now_s = now_ms / 1000;
	const char *keys[GT_WEBHOOK_KEYS_MAX];
	size_t n = gt_webhook_keys_good(c->keys, now_ms, keys);
	gt_auto(free) char *signature = gt_webhook_signature(keys, n, id, now_s, call->ask.data,
							     call->ask.len);
	gt_auto(free) char *h_id = gt_asprintf("webhook-id: %s", id);
	gt_auto(free) char *h_time = gt_asprintf("webhook-timestamp: %llu",
						 (unsigned long long)now_s);
	gt_auto(free) char *h_mac = gt_asprintf("webhook-signature: %s", signature);
	const char *headers[] = { h_id, h_time, h_mac };
	const struct gt_http_out out = { .method = "POST",
					 .url = url,
					 .content_type = "application/json",
					 .headers = headers,
					 .n_headers = GT_LEN(headers),
					 .outbound = &call->hooks->anywhere,
					 .body = call->ask.data,
					 .body_len = call->ask.len,
					 .timeout_ms = call->timeout_ms,
					 .answer_max = GT_HOOK_ANSWER_MAX,
					 .on_done = on_answer,
					 .arg = call };

	return gt_http_start(c->client, &out, &call->http, err);
}

/* ---- any ------------------------------------------------------------------------------------ */

static void on_unstarted(void *arg)
{
	struct hook_call *call = arg;
	struct gt_err why = call->failed;

	hook_finish(call, &why);
}

void gt_hooks_ask(void *ctx, const struct gt_hook_ask *ask, gt_hook_fn *done, void *arg)
{
	struct gt_hooks *h = ctx;
	struct hook_call *call = gt_alloc(sizeof(*call));
	char id[GT_ULID_LEN + 1];
	int r;

	*call = (struct hook_call){ .hooks = h,
				    .verb = ask->verb,
				    .timeout_ms = ask->provider->timeout_ms,
				    .done = done,
				    .arg = arg,
				    .pidfd = -EBADF,
				    .out = -EBADF,
				    .said = -EBADF };
	gt_strcopy(call->provider, sizeof(call->provider), ask->provider->name);
	gt_buf_init(&call->ask, ASK_MAX);
	gt_buf_init(&call->answer, GT_HOOK_ANSWER_MAX);
	gt_hook_ask_write(ask, h->config.cluster, &call->ask);
	DL_APPEND(h->calls, call);
	gt_ulid(&gt_clock_system, &gt_rand_system, id);
	r = ask->provider->url[0] ? post(call, ask->provider->url, id, &call->failed)
				  : hook_exec_start(call, ask->provider->exec, &call->failed);
	if (r < 0) /* never before this returned */
		gt_timer_set(h->config.loop, &call->late, 0, on_unstarted, call);
}
