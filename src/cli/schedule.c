#include "commands.h"
#include "rest.h"
#include "table.h"

#include <string.h>
#include <time.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>
#include <gantry/cron/cron.h>
#include <gantry/model/schedule.h>
#include <gantry/wire/json.h>

#define TIMES_MOST 1000

static const char *schedule_name(struct gt_cli *cli, size_t i)
{
	const char *name = i < cli->args.n_operands ? cli->args.operands[i] : "";

	if (gt_schedule_name_ok(name))
		return name;
	gt_cli_usage(cli, "\"%s\" is no name of a schedule; `gantry schedule ls` shows them", name);
	return NULL;
}

/* ---- ls and show ---- */

static const char *when_text(const struct gt_value *spec)
{
	return gt_value_str(spec, "cron", gt_value_str(spec, "every", ""));
}

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *s, void *arg)
{
	const struct gt_value *spec = gt_value_at(s, "spec"), *last = gt_value_at(s, "last");
	struct gt_table *t = arg;

	gt_table_cell(t, gt_value_str(s, "name", "?"));
	gt_table_cell(t, gt_value_str(s, "function", "?"));
	gt_table_cell(t, when_text(spec));
	gt_table_cell(t, gt_value_str(spec, "zone", ""));
	gt_table_cell(t, gt_value_bool(s, "paused", false) ? "paused" : gt_value_str(s, "due", ""));
	gt_table_cell(t, gt_value_str(last, "due", ""));
	return true;
}

static enum gt_exit list(struct gt_cli *cli)
{
	static const char *const headers[] = { "NAME", "FUNCTION", "WHEN", "ZONE", "DUE", "LAST" };

	return gt_cli_table(cli, "/v1/schedules?limit=1000", headers, GT_LEN(headers), add_row);
}

/* ---- what a schedule is answered with ---- */

static void print_times(struct gt_cli *cli, const struct gt_value *s)
{
	const struct gt_value *next = gt_value_at(s, "next");

	for (size_t i = 0; i < gt_value_len(next); i++)
		fprintf(cli->out, "%s\n", gt_value_str(gt_value_item(next, i), "", ""));
}

static enum gt_exit send(struct gt_cli *cli, const struct gt_rest_request *req,
			 void (*print)(struct gt_cli *cli, const struct gt_value *s))
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	enum gt_exit code = gt_cli_send(cli, req, &answer);
	struct gt_err err = { 0 };

	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &answer.body);
		return code;
	}
	if (gt_value_parse(answer.body.data ? answer.body.data : "", answer.body.len, &v, &err) < 0)
		return gt_cli_fail(cli, &err);
	print(cli, v);
	return code;
}

static void print_put(struct gt_cli *cli, const struct gt_value *s)
{
	fprintf(cli->out, "%s %s, next at %s\n", gt_value_str(s, "name", "?"),
		gt_value_str(s, "outcome", "?"),
		gt_value_bool(s, "paused", false) ? "no time: it is paused"
						  : gt_value_str(s, "due", "no time"));
}

static void print_state(struct gt_cli *cli, const struct gt_value *s)
{
	bool paused = gt_value_bool(s, "paused", false);

	fprintf(cli->out, "%s %s%s\n", gt_value_str(s, "name", "?"), paused ? "paused" : "next at ",
		paused ? "" : gt_value_str(s, "due", "no time"));
}

static void print_call(struct gt_cli *cli, const struct gt_value *call)
{
	fprintf(cli->out, "%s\n", gt_value_str(call, "id", "?"));
}

static void print_gone(struct gt_cli *cli, const struct gt_value *s)
{
	fprintf(cli->out, "%s deleted\n", gt_value_str(s, "name", "?"));
}

static enum gt_exit verb(struct gt_cli *cli, const char *method, const char *more,
			 void (*print)(struct gt_cli *cli, const struct gt_value *s))
{
	enum gt_exit code = GT_EXIT_DONE;

	for (size_t i = 1; i == 1 || i < cli->args.n_operands; i++)
		if (!schedule_name(cli, i))
			return GT_EXIT_USAGE;
	for (size_t i = 1; i < cli->args.n_operands; i++) {
		gt_auto(free) char *path = gt_asprintf("/v1/schedules/%s%s", cli->args.operands[i],
						       more);
		struct gt_rest_request req = { .method = method,
					       .path = path,
					       .timeout_ms = 60000 };
		enum gt_exit one = send(cli, &req, print);

		code = code == GT_EXIT_DONE ? one : code;
	}
	return code;
}

/* ---- put ---- */

static enum gt_exit file_read(struct gt_cli *cli, const char *path, struct gt_buf *out)
{
	gt_auto(file) FILE *own = NULL;
	FILE *f = stdin;
	char piece[4096];
	size_t n;

	if (strcmp(path, "-") != 0)
		f = own = fopen(path, "re");
	if (!f)
		return gt_cli_usage(cli, "-f %s: %s", path, strerror(errno));
	while ((n = fread(piece, 1, sizeof(piece), f)))
		gt_buf_add(out, piece, n);
	if (ferror(f))
		return gt_cli_usage(cli, "-f %s: %s", path, strerror(errno));
	return GT_EXIT_DONE;
}

static void document_write(struct gt_cli *cli, struct gt_buf *out)
{
	static const char *const same[] = { "function", "cron",   "zone",     "every",
					    "path",     "method", "priority", "deadline" };
	const char *catch_up = gt_args_get(&cli->args, "catch-up");
	const char *data = gt_args_get(&cli->args, "data");
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	for (size_t i = 0; i < GT_LEN(same); i++)
		if (gt_args_has(&cli->args, same[i]))
			gt_json_str(&j, same[i], gt_args_get(&cli->args, same[i]));
	if (catch_up)
		gt_json_str(&j, "catch_up", catch_up);
	if (gt_args_has(&cli->args, "cold"))
		gt_json_bool(&j, "warm", false);
	if (data && gt_value_parse(data, strlen(data), &v, NULL) == 0)
		gt_json_raw(&j, "body", data);
	else if (data)
		gt_json_str(&j, "text", data);
	gt_json_close(&j, '}');
}

static enum gt_exit put(struct gt_cli *cli)
{
	const char *name = schedule_name(cli, 1), *file = gt_args_get(&cli->args, "file");
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *path = gt_asprintf("/v1/schedules/%s", name ? name : "");
	struct gt_rest_request req = { .method = "PUT",
				       .path = path,
				       .content_type = "application/json",
				       .timeout_ms = 60000 };
	enum gt_exit code = GT_EXIT_DONE;

	if (!name)
		return GT_EXIT_USAGE;
	gt_buf_init(&body, GT_MIB);
	if (file)
		code = file_read(cli, file, &body);
	else if (!gt_args_has(&cli->args, "function"))
		return gt_cli_usage(cli,
				    "say which function it calls: --function NAME, or -f FILE");
	else
		document_write(cli, &body);
	if (code != GT_EXIT_DONE)
		return code;
	req.body = gt_buf_str(&body);
	req.body_len = body.len;
	return send(cli, &req, print_put);
}

/* ---- next ---- */

static void time_print(struct gt_cli *cli, int64_t at)
{
	char text[40];
	struct tm tm;

	gmtime_r(&(time_t){ (time_t)at }, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	fprintf(cli->out, "%s\n", text);
}

/* Of an expression, without a daemon. */
static enum gt_exit next_of(struct gt_cli *cli, const char *cron)
{
	const char *name = gt_args_get(&cli->args, "zone"),
		   *n_text = gt_args_get(&cli->args, "count");
	const char *from = gt_args_get(&cli->args, "from");
	uint64_t n = GT_SCHEDULE_TIMES, from_ms = gt_wall_ms(&gt_clock_system);
	gt_auto(zone) struct gt_zone *zone = NULL;
	struct gt_timing t = { 0 };
	struct gt_err err = { 0 };
	int64_t at;

	if (n_text && gt_parse_u64(n_text, TIMES_MOST, &n) < 0)
		return gt_cli_usage(cli, "-n %s: use a number up to %d", n_text, TIMES_MOST);
	if (from && gt_time_read(from, &from_ms) < 0)
		return gt_cli_usage(cli, "--from %s: use a time such as 2026-11-26T06:00:00Z",
				    from);
	if (gt_cron_parse(cron, &t.cron, &err) < 0 ||
	    gt_zone_read(GT_ZONE_DIR, name ? name : "UTC", &zone, &err) < 0)
		return gt_cli_fail(cli, &err);
	t.zone = zone;
	at = (int64_t)(from_ms / 1000);
	while (n-- && (at = gt_timing_next(&t, at)) != INT64_MAX)
		time_print(cli, at);
	return GT_EXIT_DONE;
}

static enum gt_exit next(struct gt_cli *cli)
{
	const char *cron = gt_args_get(&cli->args, "cron");

	if (cron && cli->args.n_operands == 1)
		return next_of(cli, cron);
	return verb(cli, "GET", "", print_times);
}

/* ---- the command ---- */

static void print_whole(struct gt_cli *cli, const struct gt_value *s)
{
	static const char *const fields[] = { "name", "function", "due", "created_at",
					      "updated_at" };
	const struct gt_value *spec = gt_value_at(s, "spec"), *last = gt_value_at(s, "last");
	const struct gt_value *passed = gt_value_at(s, "passed");

	for (size_t i = 0; i < GT_LEN(fields); i++)
		if (gt_value_str(s, fields[i], NULL))
			fprintf(cli->out, "%-10s  %s\n", fields[i], gt_value_str(s, fields[i], ""));
	fprintf(cli->out, "%-10s  %s %s\n", "when", when_text(spec),
		gt_value_str(spec, "zone", ""));
	if (gt_value_bool(s, "paused", false))
		fprintf(cli->out, "%-10s  it makes no calls\n", "paused");
	if (last)
		fprintf(cli->out, "%-10s  %s: call %s\n", "last", gt_value_str(last, "due", ""),
			gt_value_str(last, "call", ""));
	if (passed)
		fprintf(cli->out, "%-10s  %s: %s\n", "passed", gt_value_str(passed, "due", ""),
			gt_value_str(passed, "reason", ""));
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *what = cli->args.n_operands ? cli->args.operands[0] : "ls";

	if (strcmp(what, "ls") == 0)
		return list(cli);
	if (strcmp(what, "show") == 0)
		return verb(cli, "GET", "", print_whole);
	if (strcmp(what, "put") == 0)
		return put(cli);
	if (strcmp(what, "rm") == 0)
		return verb(cli, "DELETE", "", print_gone);
	if (strcmp(what, "pause") == 0)
		return verb(cli, "POST", "/pause", print_state);
	if (strcmp(what, "resume") == 0)
		return verb(cli, "POST", "/resume", print_state);
	if (strcmp(what, "run") == 0)
		return verb(cli, "POST", "/run", print_call);
	if (strcmp(what, "next") == 0)
		return next(cli);
	return gt_cli_usage(cli, "schedule %s: use ls, show, put, rm, pause, resume, run or next",
			    what);
}

static const struct gt_flag flags[] = {
	{ "function", 0, "NAME", "put: what it calls", false },
	{ "cron", 0, "TEXT", "put, next: minute, hour, day, month, weekday; or @daily ...", false },
	{ "zone", 0, "ZONE", "put, next: whose clock that is (default UTC)", false },
	{ "every", 0, "TIME", "put: a period instead, such as 15m", false },
	{ "catch-up", 0, "WHICH", "put: of missed times, none, one (the last) or all", false },
	{ "cold", 0, NULL, "put: start no replica ahead of it", false },
	{ "data", 'd', "TEXT", "put: the body of its calls; JSON if it is", false },
	{ "path", 0, "PATH", "put: where the function is called (default /)", false },
	{ "method", 0, "METHOD", "put: how (default POST)", false },
	{ "priority", 0, "CLASS", "put: high, normal or low", false },
	{ "deadline", 0, "TIME", "put: of each call", false },
	{ "file", 'f', "FILE", "put: the schedule as JSON; - reads standard input", false },
	{ "count", 'n', "N", "next, with --cron: how many times (default 5)", false },
	{ "from", 0, "TIME", "next, with --cron: later than this (default now)", false },
};

const struct gt_command gt_cmd_schedule = {
	.name = "schedule",
	.args = "[ls | show NAME | put NAME | rm | pause | resume | run | next NAME...]",
	.summary = "let calls be made by the clock",
	.help = "put creates or changes one; repeating it changes nothing. pause keeps it from "
		"making calls,\n"
		"resume lets it go on; run makes its call at once and prints the call's id. next "
		"shows when it is\n"
		"due; with --cron instead of a name it needs no daemon.\n"
		"\n"
		"  gantry schedule put nightly --function report --cron '0 6 * * mon-fri' --zone "
		"Europe/Berlin\n"
		"  gantry schedule next --cron '@hourly' -n 3",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.most = 64,
	.run = run,
};
