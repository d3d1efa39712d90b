/* openai.c - calls of OpenAI's API: the function is the one that serves the body's `model`. The
 * body is read as it comes, before any of it is passed on, and on to its end: one that is refused
 * late has not reached a replica as a whole. */
#include "calls.h"

#include <stdio.h>
#include <string.h>

static void refuse(struct gt_call *call, const char *slug, const char *detail)
{
	struct gt_refusal why = GT_REFUSAL(slug, detail);

	gt_call_refuse(call, &why);
}

static void refuse_err(struct gt_call *call, const struct gt_err *err)
{
	struct gt_refusal why = GT_REFUSAL(err->slug, err->text);

	why.path = err->path[0] ? err->path : NULL;
	gt_call_refuse(call, &why);
}

/* NULL when there is none; *twice when two readers could choose differently. */
static const struct gt_h1_field *content_type(const struct gt_h1 *req, bool *twice)
{
	const struct gt_h1_field *first = gt_h1_find(req, GT_H1_CONTENT_TYPE);

	*twice = false;
	for (size_t i = 0; i < req->n_fields; i++)
		*twice |= req->fields[i].id == GT_H1_CONTENT_TYPE && &req->fields[i] != first;
	return first;
}

static bool begin_scan(struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;
	bool twice;
	const struct gt_h1_field *type = content_type(req, &twice);
	struct gt_err err = { 0 };

	if (twice) {
		refuse(call, "malformed_request", "Content-Type is given twice");
		return false;
	}
	if (gt_h1_find(req, GT_H1_CONTENT_ENCODING)) {
		refuse(call, "unsupported_media_type",
		       "send the body without Content-Encoding: its model could not be read");
		return false;
	}
	if (gt_openai_scan_new(type ? gt_h1_text(req, type->value) : NULL,
			       type ? type->value.len : 0, &call->scan, &err) < 0) {
		refuse_err(call, &err);
		return false;
	}
	return true;
}

void gt_openai_begin(struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;

	if (!gt_h1_is(req, req->method, "POST")) {
		refuse(call, "method_not_allowed", "this path takes POST");
	} else if (!call->authed && !gt_routes_any_public_model(call->gw)) {
		gt_call_refuse_token(call);
	} else if (begin_scan(call)) {
		call->state = GT_CALL_COLLECT;
		gt_call_want_body(call);
		gt_conn_kick(call->conn);
		if (call->req_done)
			gt_call_body_end(call);
	}
}

/* Its function is another shard's. */
static bool elsewhere(struct gt_call *call, const char *model)
{
	char function[GT_NAME_MAX + 1];

	return call->gw->shards && gt_catalog_find(call->gw->shards->catalog, model, function) &&
	       gt_conn_bind(call->conn, function, strlen(function));
}

void gt_openai_route(struct gt_call *call)
{
	const char *model = gt_openai_scan_ask(call->scan)->model;
	char detail[GT_MODEL_NAME_MAX + 64];
	struct gt_fn *fn;

	if (!model[0])
		return;
	fn = gt_routes_model(call->gw, model);
	if (!fn && elsewhere(call, model))
		return;
	if (!call->authed && (!fn || fn->route.access != GT_ACCESS_PUBLIC)) {
		gt_call_refuse_token(call);
		return;
	}
	if (!fn) {
		struct gt_refusal why = GT_REFUSAL("model_not_found", detail);

		why.path = "model";
		snprintf(detail, sizeof(detail), "no function serves the model \"%s\"", model);
		gt_call_refuse_unknown(call, &why);
		return;
	}
	call->fn = fn;
	call->collected = call->upq.buf.len;
	call->waiter.prompt = &gt_openai_scan_ask(call->scan)->prompt;
	gt_call_admit(call);
}

bool gt_openai_read(struct gt_call *call, const char *data, size_t len)
{
	struct gt_err err = { 0 };

	if (gt_openai_scan_feed(call->scan, data, len, &err) < 0) {
		refuse_err(call, &err);
		return false;
	}
	if (gt_openai_scan_ask(call->scan)->stream)
		gt_sse_expect(call);
	return true;
}

bool gt_openai_read_end(struct gt_call *call)
{
	struct gt_err err = { 0 };

	if (gt_openai_scan_end(call->scan, &err) == 0)
		return true;
	refuse_err(call, &err);
	return false;
}
