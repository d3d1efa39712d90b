/* schedule.c - schedules, as users say them. */
#include <gantry/wire/wire.h>

#include <stdlib.h>
#include <string.h>

#include <gantry/base/units.h>

#include "doc.h"
#include "load.h"
#include "task_line.h"

struct plan {
	struct task_line line; /* first: rows of lines are read into it */
	char function[GT_NAME_MAX + 1], zone[GT_SCHEDULE_ZONE_MAX + 1];
	char *cron, *callback;
	uint64_t every_ms;
	enum gt_catch_up catch_up;
	bool warm;
};

#define AT(member) .offset = offsetof(struct plan, member)

static const char *catch_up_name(unsigned value)
{
	return gt_catch_up_name(value);
}

static const struct gt_field rows[] = {
	{ "function", GT_F_CHARS, GT_F_NEEDED, AT(function), .max = GT_NAME_MAX, .ok = gt_name_ok,
	  .wanted = "no name of a function" },
	{ "cron", GT_F_STR, 0, AT(cron), .min = 1, .max = GT_SCHEDULE_CRON_MAX },
	{ "zone", GT_F_CHARS, 0, AT(zone), .max = GT_SCHEDULE_ZONE_MAX },
	{ "every", GT_F_DURATION, 0, AT(every_ms), .min = 1000, .max = GT_SCHEDULE_EVERY_MAX_MS },
	{ "catch_up", GT_F_ENUM, 0, AT(catch_up), .max = GT_CATCH_UPS, .enum_name = catch_up_name },
	{ "warm", GT_F_BOOL, 0, AT(warm) },
	{ "callback", GT_F_STR, 0, AT(callback), .min = 1, .max = GT_TASK_CALLBACK_MAX },
	TASK_LINE_ROWS(GT_SCHEDULE_BODY_MAX)
};
static const struct gt_fields fields = { .rows = rows,
					 .n = GT_LEN(rows),
					 .size = sizeof(struct plan) };

static int check(const struct plan *p, struct gt_err *err)
{
	if (!p->cron == !p->every_ms)
		return gt_refuse(err, p->cron ? "every" : "cron",
				 "say either cron (\"0 6 * * mon-fri\") or every (\"15m\")");
	if (p->every_ms % 1000)
		return gt_refuse(err, "every", "use whole seconds");
	if (p->every_ms && p->zone[0])
		return gt_refuse(err, "zone", "a period is the same in every time zone");
	return task_line_check(&p->line, GT_SCHEDULE_BODY_MAX, err);
}

static void give(struct plan *p, struct gt_schedule *ret)
{
	gt_strcopy(ret->zone, sizeof(ret->zone), p->zone[0] ? p->zone : "UTC");
	gt_strcopy(ret->call.function, sizeof(ret->call.function), p->function);
	ret->cron = gt_steal(&p->cron);
	ret->every_ms = p->every_ms;
	ret->catch_up = p->catch_up;
	ret->cold = !p->warm;
	ret->call.callback = gt_steal(&p->callback);
	task_line_give(&p->line, &ret->call);
}

int gt_schedule_read(const char *text, size_t len, struct gt_schedule *ret, struct gt_err *err)
{
	struct plan p = { .line.priority = LINE_NORMAL, .catch_up = GT_CATCH_UP_ONE, .warm = true };
	gt_auto(doc) json_t *js = NULL;
	int r = gt_doc_parse(text, len, GT_SCHEDULE_BODY_MAX + GT_SPEC_BYTES_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(&fields, js, NULL, &p, err);
	if (r == 0)
		r = check(&p, err);
	if (r == 0)
		give(&p, ret);
	if (r < 0 && err && gt_streq(err->slug, "invalid_spec"))
		gt_strcopy(err->slug, sizeof(err->slug), "invalid_schedule");
	free(p.cron);
	free(p.callback);
	task_line_fini(&p.line);
	return r;
}

/* ---- written -------------------------------------------------------------------------------- */

static void write_duration(struct gt_json *j, const char *name, uint64_t ms)
{
	char text[32];

	if (!ms)
		return;
	gt_format_duration_ms(ms, text, sizeof(text));
	gt_json_str(j, name, text);
}

/* Would it be these very bytes again, if it were read as JSON? */
static bool is_json(const struct gt_task *c)
{
	gt_auto(doc) json_t *js = NULL;
	gt_auto(free) char *again = NULL;

	if (!c->content_type || !strstr(c->content_type, "json"))
		return false;
	js = gt_json_load(c->body.data, c->body.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
			  NULL);
	again = js ? json_dumps(js, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	return again && strlen(again) == c->body.len &&
	       memcmp(again, c->body.data, c->body.len) == 0;
}

/* So that what is shown can be put again, and is the same. */
static void write_body(struct gt_json *j, const struct gt_task *c)
{
	if (!c->body.len)
		return;
	if (is_json(c))
		gt_json_raw(j, "body", c->body.data);
	else
		gt_json_strn(j, "text", c->body.data, c->body.len);
}

void gt_schedule_write(const struct gt_schedule *s, struct gt_json *j, const char *name)
{
	const struct gt_task *c = &s->call;

	gt_json_object(j, name);
	gt_json_str(j, "function", c->function);
	if (s->cron) {
		gt_json_str(j, "cron", s->cron);
		gt_json_str(j, "zone", s->zone);
	}
	write_duration(j, "every", s->every_ms);
	gt_json_str(j, "catch_up", gt_catch_up_name(s->catch_up));
	gt_json_bool(j, "warm", !s->cold);
	if (c->callback)
		gt_json_str(j, "callback", c->callback);
	gt_json_str(j, "method", c->method);
	gt_json_str(j, "path", c->path);
	if (c->content_type)
		gt_json_str(j, "content_type", c->content_type);
	gt_json_str(j, "priority", task_line_priority(c->priority % LINE_PRIORITIES));
	write_duration(j, "deadline", c->deadline_ms);
	write_body(j, c);
	gt_json_close(j, '}');
}
