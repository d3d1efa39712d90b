/* task_line.h - what a durable call is, where documents say it: lines of batches, and schedules. */
#ifndef GANTRY_SRC_WIRE_TASK_LINE_H
#define GANTRY_SRC_WIRE_TASK_LINE_H

#include <gantry/model/task.h>

#include "fields.h"

struct task_line {
	char id[GT_TASK_ID_MAX + 1];
	char *key, *path, *content_type, *text;
	char method[GT_TASK_METHOD_MAX + 1];
	enum { LINE_HIGH, LINE_NORMAL, LINE_LOW, LINE_PRIORITIES } priority;
	uint64_t deadline_ms;
	struct gt_blob json;
};

extern const struct gt_field_hooks task_line_json; /* any JSON, as the function gets it */
const char *task_line_priority(unsigned value);

#define TASK_LINE_AT(member) .offset = offsetof(struct task_line, member)
/* Rows of a struct that begins with a task_line. */
#define TASK_LINE_ROWS(body_max)                                                                \
	{ "method",                                                                             \
	  GT_F_CHARS,                                                                           \
	  0,                                                                                    \
	  TASK_LINE_AT(method),                                                                 \
	  .max = GT_TASK_METHOD_MAX,                                                            \
	  .ok = gt_task_method_ok,                                                              \
	  .wanted = "none of POST, GET, PUT, PATCH and DELETE" },                               \
		{ "path", GT_F_STR, 0, TASK_LINE_AT(path), .min = 1, .max = GT_TASK_PATH_MAX }, \
		{ "content_type",         GT_F_STR, 0, TASK_LINE_AT(content_type), .min = 1,    \
		  .max = GT_TASK_TYPE_MAX },                                                    \
		{ "priority",                                                                   \
		  GT_F_ENUM,                                                                    \
		  0,                                                                            \
		  TASK_LINE_AT(priority),                                                       \
		  .max = LINE_PRIORITIES,                                                       \
		  .enum_name = task_line_priority },                                            \
		{ "deadline",  GT_F_DURATION,                                                   \
		  0,           TASK_LINE_AT(deadline_ms),                                       \
		  .min = 1000, .max = GT_TASK_DEADLINE_MAX_MS },                                \
		{ "body", GT_F_CUSTOM, 0, .hooks = &task_line_json },                           \
		{ "text", GT_F_STR, 0, TASK_LINE_AT(text), .max = (body_max) },

/* Body or text, and neither larger than that; a path, a content type. */
int task_line_check(const struct task_line *line, size_t body_max, struct gt_err *err);
void task_line_give(struct task_line *line, struct gt_task *ret); /* takes it out of the line */
void task_line_fini(struct task_line *line);

#endif
