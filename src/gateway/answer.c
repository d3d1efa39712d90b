/* answer.c - answers that the gateway gives itself. */
#include "calls.h"

#include <string.h>

static int answer(struct gt_conn *c, int status, const char *type, const struct gt_buf *body,
		  const char *extra, const char *request_id)
{
	struct gt_buf *out = &c->x->out.buf;
	bool to_head = c->x->req.method.len && gt_h1_is(&c->x->req, c->x->req.method, "HEAD");
	/* A request that did not arrive whole leaves bytes behind that are no request. */
	const char *connection = !c->keep               ? "Connection: close\r\n"
				 : c->x->req.minor == 0 ? "Connection: keep-alive\r\n"
							: "";

	gt_buf_addf(out, "HTTP/1.1 %d %s\r\n", status, gt_h1_reason(status));
	if (status != 204)
		gt_buf_addf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body->len);
	if (c->call) {
		c->call->down_bytes += status == 204 ? 0 : body->len;
		gt_buf_addf(out, "Gantry-Trace-Id: %s\r\n", c->call->trace.id);
	}
	gt_buf_addf(out, "X-Request-Id: %s\r\nCache-Control: no-store\r\n%s%s\r\n", request_id,
		    extra, connection);
	if (!to_head && status != 204)
		gt_buf_add(out, body->data ? body->data : "", body->len);
	return out->failed ? -ENOBUFS : 0;
}

int gt_answer_json(struct gt_conn *c, int status, const char *text, size_t len,
		   const char *request_id)
{
	struct gt_buf body = { .data = (char *)text, .len = len };

	return answer(c, status, "application/json", &body, "", request_id);
}

/* OpenAI's clients retry 408, 409, 429 and all 5xx unless told; milliseconds win over seconds. */
static void add_openai_retry(const struct gt_problem *p, struct gt_buf *extra)
{
	if (p->retry_after_s >= 0)
		gt_buf_addf(extra, "Retry-After-Ms: %lld\r\n", (long long)p->retry_after_s * 1000);
	gt_buf_addf(extra, "X-Should-Retry: %s\r\n", p->kind->retryable ? "true" : "false");
}

int gt_answer_problem(struct gt_conn *c, const struct gt_refusal *why, const char *request_id,
		      bool openai)
{
	const struct gt_problem_kind *kind = gt_problem_kind(why->slug);
	struct gt_problem p = {
		.kind = kind ? kind : gt_problem_kind("internal"),
		.detail = why->detail,
		.path = why->path,
		.request_id = request_id,
		.trace_id = c->call ? c->call->trace.id : NULL,
		.retry_after_s = why->retry_after_s,
		.end = why->end,
		.limit = why->limit,
	};
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(buf) struct gt_buf extra = { 0 };

	if (openai)
		gt_problem_write_openai(&p, &body);
	else
		gt_problem_write(&p, &body);
	if (why->retry_after_s >= 0)
		gt_buf_addf(&extra, "Retry-After: %lld\r\n", (long long)why->retry_after_s);
	if (openai)
		add_openai_retry(&p, &extra);
	if (p.kind->status == 401)
		gt_buf_adds(&extra, "WWW-Authenticate: Bearer\r\n");
	if (p.kind->status == 405)
		gt_buf_addf(&extra, "Allow: %s\r\n",
			    openai ? "POST" : "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
	return answer(c, p.kind->status, openai ? "application/json" : "application/problem+json",
		      &body, gt_buf_str(&extra), request_id);
}
