/* task_line.c - a line of a batch: one durable call. */
#include <gantry/wire/wire.h>

#include <stdlib.h>
#include <string.h>

#include "doc.h"
#include "task_line.h"

const char *task_line_priority(unsigned value)
{
	static const char *const names[] = {
		[LINE_HIGH] = "high", [LINE_NORMAL] = "normal", [LINE_LOW] = "low"
	};

	return names[value];
}

/* Any JSON: the function gets it as it would be sent with Content-Type: application/json. */
static int json_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	struct task_line *line = base;
	char *text = json_dumps(js, JSON_COMPACT | JSON_ENCODE_ANY);

	(void)f;
	(void)at;
	if (!text)
		return gt_err_set(err, ENOMEM, "internal", "the body could not be written");
	line->json = (struct gt_blob){ .data = text, .len = strlen(text) };
	return 0;
}

static void json_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct task_line *line = base;

	if (line->json.data)
		gt_json_raw(j, f->name, line->json.data);
}

static bool json_same(const struct gt_field *f, const void *a, const void *b)
{
	(void)f;
	return gt_streq(((const struct task_line *)a)->json.data,
			((const struct task_line *)b)->json.data);
}

const struct gt_field_hooks task_line_json = { json_read, json_write, json_same };

static const struct gt_field rows[] = {
	{ "id", GT_F_CHARS, 0, TASK_LINE_AT(id), .max = GT_TASK_ID_MAX, .ok = gt_task_id_ok,
	  .wanted = "no id: up to 64 letters, digits, - and _" },
	{ "key", GT_F_STR, 0, TASK_LINE_AT(key), .min = 1, .max = GT_TASK_KEY_MAX },
	TASK_LINE_ROWS(GT_TASK_BODY_MAX)
};
static const struct gt_fields fields = { .rows = rows,
					 .n = GT_LEN(rows),
					 .size = sizeof(struct task_line) };

void task_line_fini(struct task_line *line)
{
	free(line->key);
	free(line->path);
	free(line->content_type);
	free(line->text);
	free(line->json.data);
}

int task_line_check(const struct task_line *line, size_t body_max, struct gt_err *err)
{
	if (line->json.data && line->text) {
		gt_err_set(err, EINVAL, "bad_parameter", "write body (JSON) or text, not both");
		return gt_err_path(err, "text");
	}
	if (line->json.len > body_max) { /* numbers grow when they are written out */
		gt_err_set(err, EMSGSIZE, "body_too_large",
			   "written out it has %zu bytes, at most %zu", line->json.len, body_max);
		return gt_err_path(err, "body");
	}
	if (line->path && !gt_task_path_ok(line->path)) {
		gt_err_set(err, EINVAL, "bad_parameter",
			   "\"%.100s\" is no path: use what follows /f/FUNCTION in a URL",
			   line->path);
		return gt_err_path(err, "path");
	}
	for (const char *s = line->content_type; s && *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f) {
			gt_err_set(err, EINVAL, "bad_parameter",
				   "a content type has no control characters");
			return gt_err_path(err, "content_type");
		}
	return 0;
}

void task_line_give(struct task_line *line, struct gt_task *ret)
{
	const char *type = line->json.data ? "application/json" : line->text ? "text/plain" : NULL;

	gt_strcopy(ret->id, sizeof(ret->id), line->id);
	gt_strcopy(ret->method, sizeof(ret->method), line->method[0] ? line->method : "POST");
	ret->key = gt_steal(&line->key);
	ret->path = line->path ? gt_steal(&line->path) : gt_strdup("/");
	ret->content_type = line->content_type ? gt_steal(&line->content_type) : gt_strdup(type);
	ret->priority = line->priority;
	ret->deadline_ms = line->deadline_ms;
	if (line->json.data) {
		ret->body = line->json;
		line->json = (struct gt_blob){ 0 };
	} else if (line->text) {
		ret->body.len = strlen(line->text);
		ret->body.data = gt_steal(&line->text);
	}
}

int gt_task_line_read(const char *text, size_t len, struct gt_task *ret, struct gt_err *err)
{
	struct task_line line = { .priority = LINE_NORMAL };
	gt_auto(doc) json_t *js = NULL;
	int r = gt_doc_parse(text, len, GT_TASK_BODY_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(&fields, js, NULL, &line, err);
	if (r == 0)
		r = task_line_check(&line, GT_TASK_BODY_MAX, err);
	if (r == 0)
		task_line_give(&line, ret);
	task_line_fini(&line);
	return r;
}
