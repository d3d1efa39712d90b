/* api/forward.c - what only the node can answer: the question goes on to its agent, and the answer
 * comes back as it is. Long answers are passed on as they come. */
#include <string.h>

#include "api_priv.h"

#define ASK_MS     60000
#define STREAM_MAX (16 * GT_MIB) /* bytes that may wait for a slow reader */

struct forward {
	struct gt_request *req;   /* until the agent has answered */
	struct gt_stream *stream; /* after it, when it said yes */
	struct gt_http_call *call;
	struct gt_buf refusal;
	int status;
};

static void forward_free(struct forward *f)
{
	gt_buf_fini(&f->refusal);
	free(f);
}

static void on_close(void *arg)
{
	struct forward *f = arg;

	gt_http_cancel(f->call);
	forward_free(f);
}

static void on_gone(void *arg)
{
	struct forward *f = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_api_fail(f->req, &err);
	on_close(f);
}

static void on_head(int status, void *arg)
{
	struct forward *f = arg;

	f->status = status;
	if (status != 200)
		return;
	gt_request_on_gone(f->req, NULL, NULL);
	gt_request_header_set(f->req, "Cache-Control", "no-store");
	f->stream = gt_request_stream(f->req, 200, GT_MEDIA_NDJSON);
	f->req = NULL;
	gt_stream_limit(f->stream, STREAM_MAX);
	gt_stream_on_close(f->stream, on_close, f);
}

static void on_data(const char *data, size_t len, void *arg)
{
	struct forward *f = arg;

	if (!f->stream) {
		gt_buf_add(&f->refusal, data, len);
	} else if (gt_stream_write(f->stream, data, len) < 0) {
		gt_stream_end(f->stream);
		on_close(f);
	}
}

static void no_answer(struct gt_request *req, const struct gt_err *why)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, EAGAIN, "unavailable",
		   "the node that keeps the images does not answer: %s", why ? why->text : "");
	gt_api_fail(req, &err);
}

static void on_done(int status, const char *body GT_UNUSED, size_t len GT_UNUSED,
		    const struct gt_err *why, void *arg)
{
	struct forward *f = arg;

	if (f->stream) {
		gt_stream_end(f->stream);
	} else {
		gt_request_on_gone(f->req, NULL, NULL);
		if (status == 0)
			no_answer(f->req, why);
		else
			gt_request_reply(f->req, status, "application/problem+json", &f->refusal);
	}
	forward_free(f);
}

static void on_answer(int status, const char *body, size_t len, const struct gt_err *why, void *arg)
{
	struct forward *f = arg;

	gt_request_on_gone(f->req, NULL, NULL);
	if (status == 0) {
		no_answer(f->req, why);
	} else {
		gt_buf_add(&f->refusal, body, len);
		gt_request_reply(f->req, status,
				 status == 200 ? GT_MEDIA_JSON : "application/problem+json",
				 &f->refusal);
	}
	forward_free(f);
}

void gt_api_forward(struct gt_api *api, struct gt_request *req, const char *node, const char *path,
		    bool stream)
{
	struct gt_buf *body = (struct gt_buf *)gt_request_body(req);
	const char *socket = NULL;
	gt_auto(free) char *url = gt_api_agent_url(api, node, path, &socket);
	struct gt_http_out out = { .method = gt_method_name(gt_request_method(req)),
				   .unix_path = socket,
				   .url = url,
				   .content_type = body->len ? GT_MEDIA_JSON : NULL,
				   .body = gt_buf_str(body),
				   .body_len = body->len,
				   .timeout_ms = stream ? 0 : ASK_MS,
				   .answer_max = 16 * GT_MIB };
	struct forward *f = gt_alloc(sizeof(*f));
	struct gt_err err = { 0 };

	f->req = req;
	out.arg = f;
	out.on_head = stream ? on_head : NULL;
	out.on_data = stream ? on_data : NULL;
	out.on_done = stream ? on_done : on_answer;
	if (gt_http_start(api->config.client, &out, &f->call, &err) < 0) {
		gt_api_fail(req, &err);
		forward_free(f);
		return;
	}
	gt_request_on_gone(req, on_gone, f);
}
