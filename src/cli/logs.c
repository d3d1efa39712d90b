#include "commands.h"
#include "table.h"

#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>
#include <gantry/model/limits.h>

/* "2026-11-23T18:40:12.345Z" as "2026-11-23 18:40:12.345". */
static void print_time(struct gt_cli *cli, const char *ts)
{
	char text[GT_TIME_TEXT] = "";
	size_t n;

	gt_strcopy(text, sizeof(text), ts);
	n = strlen(text);
	if (n > 10 && text[10] == 'T')
		text[10] = ' ';
	if (n && text[n - 1] == 'Z')
		text[n - 1] = '\0';
	gt_text_print(cli->out, text);
}

/* The random end of a replica's id tells replicas apart; its beginning is a time. */
static const char *short_id(const char *id)
{
	size_t n = strlen(id);

	return n > 6 ? id + n - 6 : id;
}

static void paint(struct gt_cli *cli, const char *sgr)
{
	if (cli->color)
		fprintf(cli->out, "\033[%sm", sgr);
}

static bool print_line(struct gt_cli *cli, const struct gt_value *l, void *arg GT_UNUSED)
{
	const char *text = gt_value_str(l, "line", NULL);

	if (!text)
		return true;
	if (!gt_args_has(&cli->args, "plain")) {
		paint(cli, "2");
		print_time(cli, gt_value_str(l, "ts", ""));
		fputc(' ', cli->out);
		gt_text_print(cli->out, short_id(gt_value_str(l, "replica", "-")));
		fputs(strcmp(gt_value_str(l, "stream", ""), "stderr") == 0 ? " err " : " out ",
		      cli->out);
		paint(cli, "0");
	}
	if (cli->out_tty)
		gt_text_print(cli->out, text);
	else
		fputs(text, cli->out);
	fputc('\n', cli->out);
	return true;
}

/* What is followed has no end of its own: an end is a loss, never a success. */
static enum gt_exit follow(struct gt_cli *cli, const char *path, gt_item_fn *fn)
{
	enum gt_exit code = gt_cli_stream(cli, path, fn, NULL);
	struct gt_err err;

	if (code != GT_EXIT_DONE)
		return code;
	gt_err_set(&err, EPIPE, "stream_ended",
		   "the daemon ended the stream; follow again to see what comes");
	gt_cli_fail(cli, &err);
	return GT_EXIT_FAILED;
}

/* "10m" or a time; the daemon's clock decides what it means. */
static bool since_ok(const char *since)
{
	uint64_t ms;

	return gt_parse_duration_ms(since, &ms) == 0 || gt_time_read(since, &ms) == 0;
}

static enum gt_exit add_tail(struct gt_cli *cli, const char *fallback, uint64_t max,
			     struct gt_buf *path)
{
	const char *tail = gt_args_get(&cli->args, "tail");
	uint64_t n;

	if (tail && gt_parse_u64(tail, max, &n) < 0)
		return gt_cli_usage(cli, "--tail %s: write a number up to %llu", tail,
				    (unsigned long long)max);
	if (tail || fallback)
		gt_query_add(path, "tail", tail ? tail : fallback);
	return GT_EXIT_DONE;
}

static enum gt_exit run_logs(struct gt_cli *cli)
{
	static const char *const same[] = { "replica", "stream", "since" };
	const char *name = gt_cli_function(cli, 0), *since = gt_args_get(&cli->args, "since");
	gt_auto(buf) struct gt_buf path = { 0 };

	if (!name)
		return GT_EXIT_USAGE;
	gt_buf_addf(&path, "/v1/functions/%s/logs", name);
	if (since && !since_ok(since))
		return gt_cli_usage(cli, "--since %s: write a duration (10m) or a time (%s)", since,
				    "2026-11-23T18:40:00Z");
	if (add_tail(cli, since ? NULL : "100", GT_LOG_TAIL_MAX, &path) != GT_EXIT_DONE)
		return GT_EXIT_USAGE;
	for (size_t i = 0; i < GT_LEN(same); i++)
		if (gt_args_has(&cli->args, same[i]))
			gt_query_add(&path, same[i], gt_args_get(&cli->args, same[i]));
	if (!gt_args_has(&cli->args, "follow"))
		return gt_cli_stream(cli, gt_buf_str(&path), print_line, NULL);
	gt_query_add(&path, "follow", "1");
	return follow(cli, gt_buf_str(&path), print_line);
}

static const struct gt_flag logs_flags[] = {
	{ "follow", 'f', NULL, "go on with new lines until interrupted", false },
	{ "tail", 'n', "N", "the last N lines (default 100, or 1000 with --since)", false },
	{ "since", 0, "WHEN", "only lines after a time, or of the last 10m", false },
	{ "replica", 0, "ID", "only of this replica", false },
	{ "stream", 0, "NAME", "only stdout or only stderr", false },
	{ "plain", 'p', NULL, "only the text, without time, replica and stream", false },
};

const struct gt_command gt_cmd_logs = {
	.name = "logs",
	.args = "NAME [-f] [--tail N]",
	.summary = "what the replicas wrote",
	.help = "Prints the last lines that a function's replicas wrote, also those that have "
		"ended. Each\n"
		"line starts with its time (UTC), the end of the replica's id, and the stream.",
	.flags = logs_flags,
	.n_flags = GT_LEN(logs_flags),
	.least = 1,
	.most = 1,
	.run = run_logs,
};

static bool print_event(struct gt_cli *cli, const struct gt_value *e, void *arg GT_UNUSED)
{
	const char *type = gt_value_str(e, "type", NULL), *replica = gt_value_str(e, "replica", "");
	gt_auto(free) char *kind = gt_text_clean(type ? type : "");
	gt_auto(free) char *name = gt_text_clean(gt_value_str(e, "function", "-"));

	if (!type)
		return true;
	paint(cli, "2");
	print_time(cli, gt_value_str(e, "ts", ""));
	paint(cli, "0");
	fprintf(cli->out, "  %-19s %-16s %-6s ", kind, *name ? name : "-",
		*replica ? short_id(replica) : "-");
	gt_text_print(cli->out, gt_value_str(e, "text", ""));
	if (*gt_value_str(e, "cause", "")) {
		fputs(" [", cli->out);
		gt_text_print(cli->out, gt_value_str(e, "cause", ""));
		fputc(']', cli->out);
	}
	fputc('\n', cli->out);
	return true;
}

static enum gt_exit run_events(struct gt_cli *cli)
{
	gt_auto(buf) struct gt_buf path = { 0 };

	gt_buf_adds(&path, "/v1/events?limit=1000");
	if (cli->args.n_operands && !gt_cli_function(cli, 0))
		return GT_EXIT_USAGE;
	if (cli->args.n_operands)
		gt_query_add(&path, "function", cli->args.operands[0]);
	if (add_tail(cli, NULL, GT_LIST_MAX, &path) != GT_EXIT_DONE)
		return GT_EXIT_USAGE;
	if (!gt_args_has(&cli->args, "follow"))
		return gt_cli_list(cli, gt_buf_str(&path), print_event, NULL);
	gt_query_add(&path, "follow", "1");
	return follow(cli, gt_buf_str(&path), print_event);
}

static const struct gt_flag events_flags[] = {
	{ "follow", 'f', NULL, "go on with new events until interrupted", false },
	{ "tail", 'n', "N", "only the last N events", false },
};

const struct gt_command gt_cmd_events = {
	.name = "events",
	.args = "[NAME] [-f] [--tail N]",
	.summary = "what happened, in order",
	.help = "Prints the events that are kept, oldest first: deploys, decisions of the "
		"autoscaler,\n"
		"replicas that start, serve, fail and end. With NAME only those of one function.",
	.flags = events_flags,
	.n_flags = GT_LEN(events_flags),
	.most = 1,
	.run = run_events,
};
