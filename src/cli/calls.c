#include "commands.h"
#include "rest.h"
#include "table.h"

#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>

#define ID_MAX 64

static bool id_ok(const char *id)
{
	size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

	return len > 0 && len <= ID_MAX && id[len] == '\0';
}

static const char *operand_id(struct gt_cli *cli, size_t i)
{
	const char *id = i < cli->args.n_operands ? cli->args.operands[i] : "";

	if (id_ok(id))
		return id;
	gt_cli_usage(cli, "\"%s\" is no id of a call; `gantry calls ls` shows them", id);
	return NULL;
}

/* ---- ls ---- */

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *c, void *arg)
{
	struct gt_table *t = arg;
	char age[16];

	gt_age_text(gt_value_str(c, "created", NULL), gt_wall_ms(&gt_clock_system), age,
		    sizeof(age));
	gt_table_cell(t, gt_value_str(c, "id", "?"));
	gt_table_cell(t, gt_value_str(c, "function", "?"));
	gt_table_cell(t, gt_value_str(c, "state", "?"));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(c, "attempt", 0));
	if (gt_value_u64(c, "status", 0))
		gt_table_cellf(t, "%u", (unsigned)gt_value_u64(c, "status", 0));
	else
		gt_table_cell(t, gt_value_str(c, "reason", ""));
	gt_table_cell(t, age);
	return true;
}

static enum gt_exit list(struct gt_cli *cli)
{
	static const char *const headers[] = { "ID",        "FUNCTION", "STATE",
					       ">ATTEMPTS", "ANSWER",   ">AGE" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	const char *state = gt_args_get(&cli->args, "state");
	gt_auto(buf) struct gt_buf path = { 0 };
	enum gt_exit code;

	gt_buf_adds(&path, "/v1/calls?limit=1000");
	if (cli->args.n_operands > 1 && !gt_cli_function(cli, 1))
		return GT_EXIT_USAGE;
	if (cli->args.n_operands > 1)
		gt_query_add(&path, "function", cli->args.operands[1]);
	if (state)
		gt_query_add(&path, "state", state);
	code = gt_cli_list(cli, gt_buf_str(&path), add_row, t);
	if (code != GT_EXIT_DONE || cli->json)
		return code;
	gt_table_print(t, cli->out, cli->color);
	return GT_EXIT_DONE;
}

/* ---- show and result ---- */

static enum gt_exit path_of(struct gt_cli *cli, const char *more, struct gt_buf *path)
{
	const char *id = operand_id(cli, 1), *wait = gt_args_get(&cli->args, "wait");
	uint64_t ms;

	if (!id)
		return GT_EXIT_USAGE;
	if (wait && gt_parse_duration_ms(wait, &ms) < 0)
		return gt_cli_usage(cli, "--wait %s: write a duration such as 30s", wait);
	gt_buf_addf(path, "/v1/calls/%s%s", id, more);
	if (wait)
		gt_query_add(path, "wait", wait);
	return GT_EXIT_DONE;
}

static void print_field(struct gt_cli *cli, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	fprintf(cli->out, "%-10s", name);
	gt_text_print(cli->out, value);
	fputc('\n', cli->out);
}

static void print_attempts(struct gt_cli *cli, const struct gt_value *call)
{
	static const char *const headers[] = { ">ATTEMPT",  "ANSWER",  "REPLICA", ">QUEUE ms",
					       ">START ms", ">RUN ms", "?DETAIL" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	const struct gt_value *all = gt_value_at(call, "attempts"), *a;

	for (size_t i = 0; (a = gt_value_item(all, i)); i++) {
		gt_table_cellf(t, "%u", (unsigned)gt_value_u64(a, "attempt", 0));
		if (gt_value_u64(a, "status", 0))
			gt_table_cellf(t, "%u", (unsigned)gt_value_u64(a, "status", 0));
		else
			gt_table_cell(t, gt_value_str(a, "reason", ""));
		gt_table_cell(t, gt_value_str(a, "replica", ""));
		gt_table_cellf(t, "%llu", (unsigned long long)gt_value_u64(a, "queue_ms", 0));
		gt_table_cellf(t, "%llu", (unsigned long long)gt_value_u64(a, "start_ms", 0));
		gt_table_cellf(t, "%llu", (unsigned long long)gt_value_u64(a, "run_ms", 0));
		gt_table_cell(t, gt_value_str(a, "detail", ""));
	}
	if (gt_table_rows(t))
		gt_table_print(t, cli->out, cli->color);
}

static enum gt_exit show(struct gt_cli *cli)
{
	static const char *const fields[] = {
		"id",      "function", "state",    "reason", "batch",
		"created", "due",      "deadline", "ended",  "expires"
	};
	gt_auto(value) struct gt_value *call = NULL;
	gt_auto(buf) struct gt_buf path = { 0 };
	gt_auto(buf) struct gt_buf text = { 0 };
	enum gt_exit code = path_of(cli, "", &path);

	if (code == GT_EXIT_DONE)
		code = gt_cli_get(cli, gt_buf_str(&path), &text, &call);
	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &text);
		return GT_EXIT_DONE;
	}
	for (size_t i = 0; i < GT_LEN(fields); i++)
		print_field(cli, fields[i], gt_value_str(call, fields[i], NULL));
	print_attempts(cli, call);
	return GT_EXIT_DONE;
}

static bool on_data(const struct gt_rest_answer *answer, const char *data, size_t len, void *arg)
{
	struct gt_cli *cli = arg;

	if (answer->status == 202)
		return true; /* the call, not its result */
	return fwrite(data, 1, len, cli->out) == len;
}

static enum gt_exit result(struct gt_cli *cli)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(buf) struct gt_buf path = { 0 };
	struct gt_rest_request req = { .on_data = on_data, .arg = cli };
	struct gt_err err = { 0 };
	enum gt_exit code = path_of(cli, "/result", &path);

	req.path = gt_buf_str(&path);
	if (code == GT_EXIT_DONE)
		code = gt_cli_open(cli);
	if (code != GT_EXIT_DONE)
		return code;
	if (gt_rest_send(cli->rest, &req, &answer, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (answer.problem)
		return gt_cli_problem(cli, &answer);
	if (answer.status == 202) {
		fprintf(cli->err, "gantry: %s has no result yet\n", cli->args.operands[1]);
		return GT_EXIT_DEADLINE;
	}
	if (answer.status >= 400)
		fprintf(cli->err, "gantry: the function answered %ld\n", answer.status);
	return answer.status < 400 ? GT_EXIT_DONE : GT_EXIT_FAILED;
}

/* ---- logs ---- */

static bool on_log(const struct gt_rest_answer *answer GT_UNUSED, const char *data, size_t len,
		   void *arg)
{
	return fwrite(data, 1, len, ((struct gt_cli *)arg)->out) == len;
}

static enum gt_exit logs(struct gt_cli *cli)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(buf) struct gt_buf path = { 0 };
	const char *id = operand_id(cli, 1), *attempt = gt_args_get(&cli->args, "attempt");
	struct gt_rest_request req = { .on_data = on_log,
				       .accept = cli->json ? "application/x-ndjson" : "text/plain",
				       .arg = cli };
	struct gt_err err = { 0 };
	enum gt_exit code = id ? gt_cli_open(cli) : GT_EXIT_USAGE;

	if (code != GT_EXIT_DONE)
		return code;
	gt_buf_addf(&path, "/v1/calls/%s/logs", id);
	if (attempt)
		gt_query_add(&path, "attempt", attempt);
	if (gt_args_has(&cli->args, "printed"))
		gt_query_add(&path, "printed", "1");
	req.path = gt_buf_str(&path);
	if (gt_rest_send(cli->rest, &req, &answer, &err) < 0)
		return gt_cli_fail(cli, &err);
	return answer.problem ? gt_cli_problem(cli, &answer) : GT_EXIT_DONE;
}

/* ---- cancel and replay ---- */

static enum gt_exit change_one(struct gt_cli *cli, const char *id, bool replay)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(free) char *path = gt_asprintf("/v1/calls/%s%s", id, replay ? "/replay" : "");
	struct gt_rest_request req = { .method = replay ? "POST" : "DELETE",
				       .path = path,
				       .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);

	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json)
		gt_cli_print_json(cli, &answer.body);
	else
		fprintf(cli->out, "%s %s\n", id, replay ? "runs again" : "cancelled");
	return GT_EXIT_DONE;
}

static enum gt_exit change(struct gt_cli *cli, bool replay)
{
	enum gt_exit code = GT_EXIT_DONE;

	for (size_t i = 1; i == 1 || i < cli->args.n_operands; i++)
		if (!operand_id(cli, i))
			return GT_EXIT_USAGE;
	for (size_t i = 1; i < cli->args.n_operands; i++) {
		enum gt_exit one = change_one(cli, cli->args.operands[i], replay);

		if (code == GT_EXIT_DONE)
			code = one;
	}
	return code;
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *what = cli->args.n_operands ? cli->args.operands[0] : "ls";

	if (strcmp(what, "ls") == 0)
		return list(cli);
	if (strcmp(what, "show") == 0)
		return show(cli);
	if (strcmp(what, "result") == 0)
		return result(cli);
	if (strcmp(what, "logs") == 0)
		return logs(cli);
	if (strcmp(what, "cancel") == 0 || strcmp(what, "replay") == 0)
		return change(cli, what[0] == 'r');
	return gt_cli_usage(cli, "calls %s: use ls, show, result, logs, cancel or replay", what);
}

static const struct gt_flag flags[] = {
	{ "state", 0, "STATES", "ls: only these, such as failed,expired", false },
	{ "attempt", 0, "N", "logs: of this attempt (default the last one)", false },
	{ "printed", 0, NULL, "logs: only lines with the id of the call in them", false },
	{ "wait", 0, "TIME", "show, result: wait so long for the call's end", false },
};

const struct gt_command gt_cmd_calls = {
	.name = "calls",
	.args = "[ls [NAME] | show ID | result ID | logs ID | cancel ID... | replay ID...]",
	.summary = "list and manage durable calls",
	.help = "Durable calls are made by `gantry call --async`. ls shows them newest first, show "
		"one with\n"
		"its attempts, result what the function answered, logs what its replica wrote "
		"meanwhile (of other\n"
		"calls too, where it serves several at once). cancel ends calls that wait or run;\n"
		"replay runs those again that failed, expired or were cancelled.\n"
		"Exit code 4 when a result is asked for that is not there yet.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.most = 64,
	.run = run,
};
