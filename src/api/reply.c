/* api/reply.c - what every handler says and asks in the same way. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <gantry/base/units.h>

#include "api_priv.h"

/* OpenAI's clients understand only their own error objects. */
static bool speaks_openai(const struct gt_request *req)
{
	return gt_starts_with(gt_request_path(req), "/v1/models");
}

/* The gateway, which alone speaks to control, states it: "00-<trace>-<span>-<flags>". */
static const char *trace_id(const struct gt_request *req, char out[33])
{
	const char *parent = gt_request_header(req, "traceparent");

	if (!parent || strncmp(parent, "00-", 3) != 0 ||
	    strspn(parent + 3, "0123456789abcdef") != 32)
		return NULL;
	memcpy(out, parent + 3, 32);
	out[32] = '\0';
	return out;
}

void gt_api_fail_etag(struct gt_request *req, const struct gt_err *err, const char *etag)
{
	const struct gt_http_route *route = gt_request_route(req);
	const struct gt_problem_kind *kind = gt_problem_of(err);
	gt_auto(buf) struct gt_buf body = { 0 };
	char trace[33];
	struct gt_problem p = {
		.kind = kind,
		.detail = err->text[0] ? err->text : NULL,
		.path = err->path[0] ? err->path : NULL,
		.request_id = gt_request_id(req),
		.trace_id = trace_id(req, trace),
		.retry_after_s = kind->status == 503 || kind->status == 429 ? 1 : -1,
		.etag = etag,
		.limit = kind->status == 413 && route ? route->body_max : 0,
	};
	bool openai = speaks_openai(req);

	if (p.retry_after_s >= 0)
		gt_request_header_set(req, "Retry-After", "1");
	if (openai && p.retry_after_s >= 0)
		gt_request_header_set(req, "Retry-After-Ms", "1000");
	if (openai)
		gt_request_header_set(req, "X-Should-Retry", kind->retryable ? "true" : "false");
	if (openai)
		gt_problem_write_openai(&p, &body);
	else
		gt_problem_write(&p, &body);
	gt_request_reply(req, kind->status, openai ? GT_MEDIA_JSON : "application/problem+json",
			 &body);
}

void gt_api_fail(struct gt_request *req, const struct gt_err *err)
{
	gt_api_fail_etag(req, err, NULL);
}

void gt_api_refuse(struct gt_request *req, const struct gt_err *err, void *app GT_UNUSED)
{
	gt_api_fail(req, err);
}

void gt_api_reply(struct gt_request *req, int status, struct gt_buf *json)
{
	struct gt_err err = { 0 };

	if (json->failed) {
		gt_err_set(&err, ENOBUFS, "internal",
			   "the answer is too large; ask for pages with limit and cursor");
		gt_api_fail(req, &err);
		return;
	}
	gt_buf_addc(json, '\n'); /* for terminals */
	gt_request_reply(req, status, GT_MEDIA_JSON, json);
}

void gt_api_list_begin(struct gt_json *j, struct gt_buf *body)
{
	gt_json_begin(j, body);
	gt_json_object(j, NULL);
	gt_json_array(j, "items");
}

void gt_api_list_reply(struct gt_request *req, struct gt_json *j, struct gt_buf *body)
{
	gt_json_close(j, ']');
	gt_json_null(j, "next_cursor");
	gt_json_close(j, '}');
	gt_api_reply(req, 200, body);
}

void gt_api_reply_deleted(struct gt_request *req, const char *member, const char *what)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, member, what);
	gt_json_bool(&j, "deleted", true);
	gt_json_close(&j, '}');
	gt_api_reply(req, 200, &body);
}

/* ---- parameters ----------------------------------------------------------------------------- */

static bool bad_parameter(struct gt_request *req, const char *name, const char *want)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, EINVAL, "bad_parameter", "%s=%.100s: use %s", name,
		   gt_request_query(req, name), want);
	gt_err_path(&err, "%s", name);
	gt_api_fail(req, &err);
	return false;
}

bool gt_api_query(struct gt_request *req, const char *const *known)
{
	struct gt_err err = { 0 };

	if (gt_request_query_check(req, known, &err) == 0)
		return true;
	gt_api_fail(req, &err);
	return false;
}

bool gt_api_flag(struct gt_request *req, const char *name, bool *ret)
{
	const char *s = gt_request_query(req, name);

	if (!s)
		return true;
	if (gt_streq(s, "0") || gt_streq(s, "false"))
		*ret = false;
	else if (s[0] == '\0' || gt_streq(s, "1") || gt_streq(s, "true"))
		*ret = true;
	else
		return bad_parameter(req, name, "1 or 0");
	return true;
}

bool gt_api_number(struct gt_request *req, const char *name, uint64_t min, uint64_t max,
		   uint64_t *ret)
{
	const char *s = gt_request_query(req, name);
	char want[80];
	uint64_t value;

	if (!s)
		return true;
	if (gt_parse_u64(s, max, &value) < 0 || value < min) {
		snprintf(want, sizeof(want), "a number from %llu to %llu", (unsigned long long)min,
			 (unsigned long long)max);
		return bad_parameter(req, name, want);
	}
	*ret = value;
	return true;
}

bool gt_api_duration(struct gt_request *req, const char *name, uint64_t max_ms, uint64_t *ret)
{
	const char *s = gt_request_query(req, name);
	char most[32], want[80];
	uint64_t value;

	if (!s)
		return true;
	if (gt_parse_duration_ms(s, &value) < 0 || value > max_ms) {
		gt_format_duration_ms(max_ms, most, sizeof(most));
		snprintf(want, sizeof(want), "a time such as 30s, at most %s", most);
		return bad_parameter(req, name, want);
	}
	*ret = value;
	return true;
}

bool gt_api_function(struct gt_api *api, struct gt_request *req, struct gt_function_view *ret)
{
	struct gt_err err = { 0 };

	if (gt_control_function(api->config.control, gt_request_param(req, "function"), ret,
				&err) == 0)
		return true;
	gt_api_fail(req, &err);
	return false;
}

int gt_api_json_check(const struct gt_request *req, struct gt_err *err)
{
	const char *s = gt_request_header(req, "Content-Type");
	size_t len = s ? strcspn(s, "; \t") : 0;

	if (!s || (len == strlen(GT_MEDIA_JSON) && strncasecmp(s, GT_MEDIA_JSON, len) == 0))
		return 0;
	return gt_err_set(err, EINVAL, "unsupported_media_type",
			  "the body must be JSON, not %.80s; add the header "
			  "Content-Type: application/json (curl: --json @FILE)",
			  s);
}

/* Enough of RFC 9110 for three media types: is it named, and not with q=0? */
bool gt_api_accepts(const struct gt_request *req, const char *media)
{
	const char *s = gt_request_header(req, "Accept");
	size_t len = strlen(media);

	while (s && (s = strstr(s, media))) {
		const char *end = s + strcspn(s, ",");
		const char *q = strstr(s, "q=0");

		s += len;
		if (!strchr(",; \t", *s)) /* the end of the text counts too */
			continue;
		if (!q || q > end || (q[3] == '.' && strspn(q + 4, "0") < strcspn(q + 4, ", \t;")))
			return true;
	}
	return false;
}

/* Names and values that pass our checks need no more than this. */
static void add_escaped(struct gt_buf *out, const char *s)
{
	for (; *s; s++) {
		bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
			     (*s >= '0' && *s <= '9') || strchr("-_.~", *s);

		if (plain)
			gt_buf_addc(out, *s);
		else
			gt_buf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

void gt_api_link_next(struct gt_request *req, const char *const *keep, const char *cursor)
{
	gt_auto(buf) struct gt_buf link = { 0 };

	gt_buf_addf(&link, "<%s?", gt_request_path(req));
	for (; *keep; keep++) {
		const char *value = gt_request_query(req, *keep);

		if (!value)
			continue;
		gt_buf_addf(&link, "%s=", *keep);
		add_escaped(&link, value);
		gt_buf_addc(&link, '&');
	}
	gt_buf_adds(&link, "cursor=");
	add_escaped(&link, cursor);
	gt_buf_adds(&link, ">; rel=\"next\"");
	gt_request_header_set(req, "Link", gt_buf_str(&link));
}

void gt_api_frame(struct gt_buf *out, bool sse, uint64_t id, const char *json, size_t len)
{
	if (sse)
		gt_buf_addf(out, "id: %llu\ndata: ", (unsigned long long)id);
	gt_buf_add(out, json, len);
	gt_buf_adds(out, sse ? "\n\n" : "\n");
}
