/* api/join_tokens.c - join tokens: made, listed, taken back. The text of one is shown once, in the
 * answer that makes it. */
#include "op.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/control/member.h>
#include <gantry/http/digest.h>
#include <gantry/http/pki.h>

static const char *const no_query[] = { NULL };

static const char *state_of(const struct gt_join_token *t, uint64_t now_ms)
{
	if (t->used_ms)
		return "used";
	return t->expires_ms <= now_ms ? "expired" : "open";
}

static void view_token(struct gt_json *j, const struct gt_join_token *t, const char *text,
		       uint64_t now_ms)
{
	gt_json_object(j, NULL);
	gt_json_str(j, "id", t->id);
	if (text)
		gt_json_str(j, "token", text);
	gt_json_str(j, "state", state_of(t, now_ms));
	if (t->node[0])
		gt_json_str(j, "node", t->node);
	gt_view_time(j, "created_at", t->created_ms);
	gt_view_time(j, "expires_at", t->expires_ms);
	gt_view_time(j, "used_at", t->used_ms);
	if (t->used_by[0])
		gt_json_str(j, "used_by", t->used_by);
	gt_json_close(j, '}');
}

static void answer(struct gt_request *req, const struct gt_member_op *op, const char *text)
{
	uint64_t now_ms = gt_wall_ms(&gt_clock_system);
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	switch (op->verb) {
	case GT_MEMBER_TOKEN_ADD:
		gt_json_begin(&j, &body);
		view_token(&j, &op->token, text, now_ms);
		gt_request_header_set(req, "Cache-Control", "no-store");
		gt_api_reply(req, 201, &body);
		break;
	case GT_MEMBER_TOKENS:
		gt_api_list_begin(&j, &body);
		for (size_t i = 0; i < op->n_tokens; i++)
			view_token(&j, &op->tokens[i], NULL, now_ms);
		gt_api_list_reply(req, &j, &body);
		break;
	default:
		gt_api_reply_deleted(req, "id", op->token.id);
	}
}

static void on_done(struct gt_member_op *done, const struct gt_err *err, void *arg)
{
	struct gt_op *op = arg;

	if (op->req && err)
		gt_api_fail(op->req, err);
	else if (op->req)
		answer(op->req, done, op->token);
	op->req = NULL;
	gt_op_free(op);
	gt_member_op_free(done);
}

static void start(struct gt_api *api, struct gt_request *req, struct gt_member_op *member GT_TAKES,
		  const char *text)
{
	struct gt_op *op = gt_op_new(api, req);
	struct gt_err err = { 0 };

	op->token = gt_strdup(text);
	if (gt_control_member_do(api->config.control, member, on_done, op, &err) < 0)
		on_done(member, &err, op);
}

static int token_make(struct gt_api *api, struct gt_request *req, struct gt_member_op *member,
		      char text[GT_PKI_TOKEN_SIZE], struct gt_err *err)
{
	const struct gt_buf *body = gt_request_body(req);
	struct gt_join_token *t = &member->token;
	struct gt_token_ask asked = { .ttl_ms = GT_JOIN_TTL_MS };

	if (!api->config.authority)
		return gt_err_set(err, ENOTSUP, "unavailable", "no machine may join");
	if (gt_api_json_check(req, err) < 0 ||
	    (body->len && gt_token_ask_read(body->data, body->len, &asked, err) < 0) ||
	    gt_pki_token_new(gt_pki_ca_pin(api->config.authority), text, err) < 0)
		return -err->code;
	gt_ulid(&gt_clock_system, &gt_rand_system, t->id);
	gt_sha256_hex(text, strlen(text), t->digest);
	gt_strcopy(t->node, sizeof(t->node), asked.node);
	t->created_ms = gt_wall_ms(&gt_clock_system);
	t->expires_ms = t->created_ms + asked.ttl_ms;
	return 0;
}

void gt_api_create_token(struct gt_request *req, void *app)
{
	struct gt_member_op *member;
	char text[GT_PKI_TOKEN_SIZE];
	struct gt_err err = { 0 };

	if (!gt_api_query(req, no_query))
		return;
	member = gt_member_op_new(GT_MEMBER_TOKEN_ADD);
	if (token_make(app, req, member, text, &err) == 0) {
		start(app, req, member, text);
		return;
	}
	gt_member_op_free(member);
	gt_api_fail(req, &err);
}

void gt_api_list_tokens(struct gt_request *req, void *app)
{
	if (gt_api_query(req, no_query))
		start(app, req, gt_member_op_new(GT_MEMBER_TOKENS), NULL);
}

void gt_api_delete_token(struct gt_request *req, void *app)
{
	struct gt_member_op *member;

	if (!gt_api_query(req, no_query))
		return;
	member = gt_member_op_new(GT_MEMBER_TOKEN_DROP);
	gt_strcopy(member->token.id, sizeof(member->token.id), gt_request_param(req, "token"));
	start(app, req, member, NULL);
}
