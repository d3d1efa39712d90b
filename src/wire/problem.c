/* problem.c - one refusal as problem+json (RFC 9457) and in OpenAI's dialect. */
#include <stdio.h>
#include <string.h>

#include <gantry/wire/wire.h>

#define TYPE_PREFIX "urn:gantry:problem:"

/* The detail without "path: ", which stands beside it. */
static const char *detail_of(const struct gt_problem *p)
{
	size_t len = p->path ? strlen(p->path) : 0;
	const char *detail = p->detail ? p->detail : p->kind->title;

	if (len > 0 && strncmp(detail, p->path, len) == 0 && detail[len] == ':' &&
	    detail[len + 1] == ' ')
		return detail + len + 2;
	return detail;
}

static void write_log(struct gt_json *j, const char *log)
{
	gt_json_array(j, "log");
	while (*log) {
		size_t len = strcspn(log, "\n");

		gt_json_strn(j, NULL, log, len);
		log += len + (log[len] == '\n');
	}
	gt_json_close(j, ']');
}

void gt_end_write(struct gt_json *j, const struct gt_end *end, const char *text_name)
{
	if (end->cause[0])
		gt_json_str(j, "cause", end->cause);
	if (end->text[0])
		gt_json_str(j, text_name, end->text);
	if (end->exit_code >= 0)
		gt_json_i64(j, "exit_code", end->exit_code);
	if (end->signal)
		gt_json_i64(j, "signal", end->signal);
	if (end->log_tail)
		write_log(j, end->log_tail);
}

void gt_problem_write(const struct gt_problem *p, struct gt_buf *out)
{
	char type[sizeof(TYPE_PREFIX) + 40];
	struct gt_json j;

	gt_strcopy(type, sizeof(type), TYPE_PREFIX);
	gt_strcopy(type + sizeof(TYPE_PREFIX) - 1, sizeof(type) - sizeof(TYPE_PREFIX) + 1,
		   p->kind->slug);
	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "type", type);
	gt_json_str(&j, "title", p->kind->title);
	gt_json_i64(&j, "status", p->kind->status);
	gt_json_str(&j, "detail", p->detail ? p->detail : p->kind->title);
	gt_json_str(&j, "code", p->kind->slug);
	if (p->request_id)
		gt_json_str(&j, "instance", p->request_id);
	if (p->trace_id)
		gt_json_str(&j, "trace_id", p->trace_id);
	gt_json_bool(&j, "retryable", p->kind->retryable);
	if (p->retry_after_s >= 0)
		gt_json_i64(&j, "retry_after_s", p->retry_after_s);
	if (p->path && *p->path) {
		gt_json_array(&j, "errors");
		gt_json_object(&j, NULL);
		gt_json_str(&j, "path", p->path);
		gt_json_str(&j, "detail", detail_of(p));
		gt_json_close(&j, '}');
		gt_json_close(&j, ']');
	}
	if (p->etag)
		gt_json_str(&j, "etag", p->etag);
	if (p->limit)
		gt_json_u64(&j, "limit", p->limit);
	if (p->end)
		gt_end_write(&j, p->end, "reason");
	gt_json_close(&j, '}');
}

/* OpenAI's clients choose the class of their exception by the status, people read this. */
static const char *openai_type(int status)
{
	switch (status) {
	case 401:
		return "authentication_error";
	case 403:
		return "permission_error";
	case 429:
		return "rate_limit_error";
	default:
		return status >= 500 ? "server_error" : "invalid_request_error";
	}
}

void gt_openai_error_write(int status, const char *message, struct gt_buf *out)
{
	struct gt_json j;
	char fallback[48];

	snprintf(fallback, sizeof(fallback), "the replica answered with status %d", status);
	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_object(&j, "error");
	gt_json_str(&j, "message", message ? message : fallback);
	gt_json_str(&j, "type", openai_type(status));
	gt_json_null(&j, "param");
	gt_json_null(&j, "code");
	gt_json_close(&j, '}');
	gt_json_close(&j, '}');
}

void gt_problem_write_openai(const struct gt_problem *p, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_object(&j, "error");
	gt_json_str(&j, "message", p->detail ? p->detail : p->kind->title);
	gt_json_str(&j, "type", openai_type(p->kind->status));
	gt_json_str(&j, "param", p->path && *p->path ? p->path : NULL);
	gt_json_str(&j, "code", p->kind->slug);
	if (p->end)
		gt_end_write(&j, p->end, "reason");
	gt_json_close(&j, '}');
	gt_json_close(&j, '}');
}
