/* api/call_hooks.c - the end of a durable call, told to the address that it named: CloudEvents 1.0
 * in HTTP's binary mode, signed as Standard Webhooks are. What is to be told is in the store, so it
 * is told after any restart; a few at a time, ever more slowly, and not for ever. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <gantry/base/log.h>
#include <gantry/base/skew.h>
#include <gantry/control/webhook.h>
#include <gantry/http/digest.h>

#include "calls.h"

#define OPEN_MAX    64
#define COLLECT_MS  50
#define REST_MS     500
#define TIMEOUT_MS  10000
#define FIRST_MS    5000 /* pause after the first failure; each later one is four times as long */
#define MOST_MS     3600000ULL
#define TRIES_MAX   12
#define LOOK_MS_MAX 60000 /* the wall clock may be set */

struct hook {                /* on its way */
	struct gt_owed owed; /* once it has been told */
	struct gt_api *api;
	struct gt_http_call *call;
	uint64_t seq, due_ms;
	uint32_t tries;
	char id[GT_TASK_ID_MAX + 1], host[GT_TASK_HOST_MAX + 1];
	struct hook *prev, *next;
};

struct gt_hooks {
	struct hook *open;
	unsigned n_open;
	struct gt_timer timer;
	bool asking;
	int64_t skew_ms;
	bool set_back; /* the clock was: pauses between tries would last longer */
};

static void look(void *arg);

static void look_in(struct gt_api *api, uint64_t ms)
{
	struct gt_hooks *h = api->hooks;
	uint64_t due_ns = gt_loop_now_ns(api->config.loop) + ms * GT_NS_PER_MS;

	if (!gt_timer_is_set(&h->timer) || due_ns < h->timer.due_ns)
		gt_timer_set_at(api->config.loop, &h->timer, due_ns, look, api);
}

void gt_api_hooks_kick(struct gt_api *api)
{
	if (api->hooks)
		look_in(api, COLLECT_MS);
}

void gt_api_hooks_start(struct gt_api *api)
{
	if (!gt_control_webhook_keys(api->config.control)->n)
		return; /* nobody could know who tells */
	api->hooks = gt_alloc(sizeof(*api->hooks));
	api->hooks->skew_ms = GT_SKEW_NONE;
	(void)gt_clock_set_back(&gt_clock_system, &api->hooks->skew_ms);
	look_in(api, COLLECT_MS);
}

void gt_api_hooks_end(struct gt_api *api)
{
	struct hook *hook, *next;

	if (!api->hooks)
		return;
	gt_timer_clear(api->config.loop, &api->hooks->timer);
	DL_FOREACH_SAFE (api->hooks->open, hook, next) {
		if (!hook->call)
			continue; /* the store's answer frees it, or the API's end */
		gt_http_cancel(hook->call);
		free(hook);
	}
	free(gt_steal(&api->hooks));
}

/* ---- what comes of it ----------------------------------------------------------------------- */

/* Only now: before, the store would have told that it is due. */
static void hook_close(struct hook *hook)
{
	struct gt_api *api = hook->api;

	if (api->hooks) {
		DL_DELETE(api->hooks->open, hook);
		api->hooks->n_open--;
		look_in(api, COLLECT_MS);
	}
	free(hook);
}

static void drop(struct gt_owed *o)
{
	free(o);
}

static void on_set(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	if (err)
		gt_warn("webhook: its state was not saved, it is told once more: %s", err->text);
	gt_api_owe_end(arg);
	hook_close(arg);
	gt_task_op_free(op);
}

/* due_ms 0: there is no more to tell. */
static void set(struct hook *hook, uint64_t due_ms)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_HOOK_SET);
	struct gt_err err = { 0 };

	hook->call = NULL;
	op->before = hook->seq;
	op->told_ms = hook->due_ms;
	op->next_ms = due_ms;
	op->limit = due_ms ? hook->tries + 1 : 0;
	gt_api_owe(hook->api, &hook->owed, drop);
	if (gt_control_task(hook->api->config.control, op, on_set, hook, &err) == 0)
		return;
	gt_task_op_free(op);
	gt_api_owe_end(&hook->owed);
	hook_close(hook);
}

static uint64_t pause_ms(uint32_t tries)
{
	uint64_t ms = FIRST_MS;

	while (--tries && ms < MOST_MS)
		ms *= 4;
	return GT_MIN(ms, MOST_MS);
}

static void on_done(int status, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *err, void *arg)
{
	struct hook *hook = arg;
	uint64_t due_ms = 0;
	bool taken = status >= 200 && status < 300;

	if (!taken && hook->tries + 1 < TRIES_MAX)
		due_ms = gt_wall_ms(&gt_clock_system) + pause_ms(hook->tries + 1);
	if (!taken)
		gt_info("webhook of call %s was not taken (status %d)%s: %s", hook->id, status,
			due_ms ? "" : ", and is given up", err && err->code ? err->text : "");
	set(hook, due_ms);
}

/* ---- telling -------------------------------------------------------------------------------- */

struct letter {
	struct gt_buf body;
	char *headers[9];
	size_t n_headers;
};

static void letter_add(struct letter *l, char *header GT_TAKES)
{
	l->headers[l->n_headers++] = header;
}

static void letter_write(const struct gt_api *api, const struct gt_task *t, struct letter *l)
{
	uint64_t now_ms = gt_wall_ms(&gt_clock_system), now_s = now_ms / 1000;
	gt_auto(free) char *id = gt_asprintf("%s-%u", t->id, t->attempt), *signature = NULL;
	const char *keys[GT_WEBHOOK_KEYS_MAX];
	size_t n = gt_webhook_keys_good(gt_control_webhook_keys(api->config.control), now_ms, keys);
	char time[GT_TIME_TEXT];
	struct gt_json j;

	gt_json_begin(&j, &l->body);
	gt_view_call(&j, t, NULL, 0);
	gt_time_text(t->ended_ms, time);
	signature = gt_webhook_signature(keys, n, id, now_s, l->body.data, l->body.len);
	letter_add(l, gt_strdup("ce-specversion: 1.0"));
	letter_add(l, gt_strdup("ce-type: dev.gantry.call.finished"));
	letter_add(l, gt_asprintf("ce-id: %s", id));
	letter_add(l, gt_asprintf("ce-source: /v1/functions/%s", t->function));
	letter_add(l, gt_asprintf("ce-subject: %s", t->id));
	letter_add(l, gt_asprintf("ce-time: %s", time));
	letter_add(l, gt_asprintf("webhook-id: %s", id));
	letter_add(l, gt_asprintf("webhook-timestamp: %llu", (unsigned long long)now_s));
	letter_add(l, gt_asprintf("webhook-signature: %s", signature));
}

/* It is on its way, or its host has as many as it is told at a time: a receiver that is slow has
 * nobody wait but itself. */
static bool must_wait(const struct gt_hooks *h, uint64_t seq, const char *host)
{
	const struct hook *hook;
	unsigned n = 0;

	DL_FOREACH (h->open, hook) {
		if (hook->seq == seq)
			return true;
		n += gt_streq(hook->host, host);
	}
	return n >= GT_HOOKS_HOST_MAX;
}

/* True when it is on its way now. */
static bool tell(struct gt_api *api, const struct gt_task *t)
{
	char host[GT_TASK_HOST_MAX + 1];
	struct gt_hooks *h = api->hooks;
	struct letter l = { 0 };
	struct hook *hook;
	struct gt_err err = { 0 };

	gt_task_host(t->callback, host);
	if (h->n_open == OPEN_MAX || must_wait(h, t->seq, host))
		return false;
	hook = gt_alloc(sizeof(*hook));
	*hook = (struct hook){
		.api = api, .seq = t->seq, .due_ms = t->hook_due_ms, .tries = t->hook_tries
	};
	gt_strcopy(hook->id, sizeof(hook->id), t->id);
	gt_strcopy(hook->host, sizeof(hook->host), host);
	letter_write(api, t, &l);
	struct gt_http_out out = {
		.method = "POST",
		.url = t->callback,
		.content_type = GT_MEDIA_JSON,
		.body = gt_buf_str(&l.body),
		.body_len = l.body.len,
		.headers = (const char *const *)l.headers,
		.n_headers = l.n_headers,
		.outbound = api->config.outbound,
		.timeout_ms = TIMEOUT_MS,
		.answer_max = 64 * GT_KIB,
		.on_done = on_done,
		.arg = hook,
	};

	DL_APPEND(h->open, hook);
	h->n_open++;
	if (gt_http_start(api->config.client, &out, &hook->call, &err) < 0)
		on_done(0, NULL, 0, &err, hook);
	for (size_t i = 0; i < l.n_headers; i++)
		free(l.headers[i]);
	gt_buf_fini(&l.body);
	return true;
}

static void on_found(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_api *api = arg;
	uint64_t now_ms = gt_wall_ms(&gt_clock_system);
	size_t told = 0;

	if (!api->hooks) { /* the daemon stops */
		gt_task_op_free(op);
		return;
	}
	api->hooks->asking = false;
	for (size_t i = 0; !err && i < op->n_tasks; i++)
		told += tell(api, &op->tasks[i]);
	if (err)
		look_in(api, FIRST_MS);
	else if (op->n_tasks && !told) /* those of others may be due before one of these ends */
		look_in(api, REST_MS);
	else if (op->next_ms != UINT64_MAX && op->n_tasks == 0)
		look_in(api, GT_MIN(op->next_ms > now_ms ? op->next_ms - now_ms : 0,
				    (uint64_t)LOOK_MS_MAX));
	gt_task_op_free(op);
}

static void ask(struct gt_api *api, struct gt_task_op *op GT_TAKES, gt_task_fn *done)
{
	struct gt_err err = { 0 };

	api->hooks->asking = true;
	if (gt_control_task(api->config.control, op, done, api, &err) == 0)
		return;
	api->hooks->asking = false;
	gt_task_op_free(op);
}

static void on_all_due(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	struct gt_api *api = arg;

	if (api->hooks) {
		api->hooks->asking = false;
		api->hooks->set_back = err != NULL;
		look_in(api, err ? FIRST_MS : 0);
	}
	gt_task_op_free(op);
}

static void look(void *arg)
{
	struct gt_api *api = arg;
	struct gt_hooks *h = api->hooks;
	struct gt_task_op *op;

	if (h->asking || h->n_open == OPEN_MAX)
		return; /* the end of one looks again */
	h->set_back |= gt_clock_set_back(&gt_clock_system, &h->skew_ms);
	op = gt_task_op_new(h->set_back ? GT_TASK_HOOKS_NOW : GT_TASK_HOOKS);
	op->limit = 2 * OPEN_MAX;
	ask(api, op, h->set_back ? on_all_due : on_found);
}
