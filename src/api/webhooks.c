/* api/webhooks.c - the keys that sign webhooks: made, listed, ended. The text of one is shown once,
 * in the answer that makes it; a key's id is made of its text, so that whoever has one can tell. */
#include "op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/control/webhook.h>
#include <gantry/http/digest.h>

#define ID_SIZE 17

static const char *const no_query[] = { NULL };

static void key_id(const char *text, char id[ID_SIZE])
{
	char hex[GT_SHA256_HEX_SIZE];

	gt_sha256_hex(text, strlen(text), hex);
	gt_strcopy(id, ID_SIZE, hex);
}

static void view_key(struct gt_json *j, const struct gt_webhook_key *key, bool shown)
{
	char id[ID_SIZE];

	key_id(key->text, id);
	gt_json_object(j, NULL);
	gt_json_str(j, "id", id);
	if (shown)
		gt_json_str(j, "key", key->text);
	gt_view_time(j, "created_at", key->created_ms);
	gt_view_time(j, "ends_at", key->ends_ms);
	gt_json_close(j, '}');
}

void gt_api_list_webhook_keys(struct gt_request *req, void *app)
{
	const struct gt_api *api = app;
	const struct gt_webhook_keys *keys = gt_control_webhook_keys(api->config.control);
	uint64_t now_ms = gt_wall_ms(&gt_clock_system);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	if (!gt_api_query(req, no_query))
		return;
	gt_api_list_begin(&j, &body);
	for (size_t i = 0; i < keys->n; i++)
		if (!keys->at[i].ends_ms || keys->at[i].ends_ms > now_ms)
			view_key(&j, &keys->at[i], false);
	gt_api_list_reply(req, &j, &body);
}

/* ---- what changes them ---------------------------------------------------------------------- */

static void answer(struct gt_request *req, const struct gt_webhook_op *done)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	char id[ID_SIZE];
	struct gt_json j;

	if (done->verb == GT_WEBHOOK_ROTATE) {
		gt_json_begin(&j, &body);
		view_key(&j, &done->keys.at[0], true);
		gt_request_header_set(req, "Cache-Control", "no-store");
		gt_api_reply(req, 201, &body);
	} else {
		key_id(done->key.text, id);
		gt_api_reply_deleted(req, "id", id);
	}
	gt_buf_wipe(&body);
}

static void on_done(struct gt_webhook_op *done, const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err)
		gt_api_fail(op->req, err);
	else if (op->req)
		answer(op->req, done);
	op->req = NULL;
	gt_op_free(op);
	gt_webhook_op_free(done);
}

static void start(struct gt_api *api, struct gt_request *req, struct gt_webhook_op *ask GT_TAKES)
{
	struct gt_op *op = gt_op_new(api, req);
	struct gt_err err = { 0 };

	if (gt_control_webhook_do(api->config.control, ask, on_done, op, &err) < 0)
		on_done(ask, &err, op);
}

static void key_make(struct gt_webhook_key *key)
{
	unsigned char bytes[(GT_WEBHOOK_KEY_SIZE - 1) / 2];

	gt_rand_system.fill(gt_rand_system.arg, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(key->text + 2 * i, 3, "%02x", bytes[i]);
	key->created_ms = gt_wall_ms(&gt_clock_system);
	explicit_bzero(bytes, sizeof(bytes));
}

void gt_api_create_webhook_key(struct gt_request *req, void *app)
{
	const struct gt_buf *body = gt_request_body(req);
	uint64_t overlap_ms = GT_WEBHOOK_OVERLAP_MS;
	struct gt_webhook_op *ask;
	char ulid[GT_ULID_LEN + 1];
	struct gt_err err = { 0 };

	if (!gt_api_query(req, no_query))
		return;
	if (gt_api_json_check(req, &err) < 0 ||
	    (body->len && gt_webhook_ask_read(body->data, body->len, &overlap_ms, &err) < 0)) {
		gt_api_fail(req, &err);
		return;
	}
	ask = gt_webhook_op_new(GT_WEBHOOK_ROTATE);
	ask->overlap_ms = overlap_ms;
	key_make(&ask->key);
	gt_ulid(&gt_clock_system, &gt_rand_system, ulid);
	snprintf(ask->old, sizeof(ask->old), GT_WEBHOOK_NEWEST "/%s", ulid);
	start(app, req, ask);
}

static const struct gt_webhook_key *find(const struct gt_api *api, const char *id)
{
	const struct gt_webhook_keys *keys = gt_control_webhook_keys(api->config.control);
	char other[ID_SIZE];

	for (size_t i = 0; i < keys->n; i++) {
		key_id(keys->at[i].text, other);
		if (gt_streq(id, other))
			return &keys->at[i];
	}
	return NULL;
}

void gt_api_delete_webhook_key(struct gt_request *req, void *app)
{
	const char *id = gt_request_param(req, "key");
	const struct gt_webhook_key *key = find(app, id);
	struct gt_webhook_op *ask;
	struct gt_err err = { 0 };

	if (!gt_api_query(req, no_query))
		return;
	if (!key) {
		gt_err_set(&err, ENOENT, "not_found", "there is no key %.32s of webhooks", id);
		gt_api_fail(req, &err);
		return;
	}
	if (!key->ends_ms) {
		gt_err_set(&err, EBUSY, "conflict",
			   "key %s is the newest: make another one first, with an overlap of 0s if "
			   "this one is known to others",
			   id);
		gt_api_fail(req, &err);
		return;
	}
	ask = gt_webhook_op_new(GT_WEBHOOK_DROP);
	ask->key = *key;
	start(app, req, ask);
}
