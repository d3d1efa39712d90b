/* What went wrong, on standard error, and the exit code it stands for. */
#include "cli.h"

#include <stdarg.h>
#include <string.h>

#include "rest.h"
#include "table.h"

static const struct {
	const char *slug;
	enum gt_exit exit;
} slug_rows[] = {
	{ "usage", GT_EXIT_USAGE },       { "unreachable", GT_EXIT_UNREACHABLE },
	{ "deadline", GT_EXIT_DEADLINE }, { "unauthorized", GT_EXIT_AUTH },
	{ "forbidden", GT_EXIT_AUTH },    { "etag_mismatch", GT_EXIT_CONFLICT },
	{ "conflict", GT_EXIT_CONFLICT },
};

enum gt_exit gt_exit_of_err(const struct gt_err *err)
{
	for (size_t i = 0; i < GT_LEN(slug_rows); i++)
		if (strcmp(slug_rows[i].slug, err->slug) == 0)
			return slug_rows[i].exit;
	return GT_EXIT_FAILED;
}

enum gt_exit gt_exit_of_status(long status)
{
	switch (status) {
	case 401:
	case 403:
		return GT_EXIT_AUTH;
	case 409:
	case 412:
		return GT_EXIT_CONFLICT;
	case 504:
		return GT_EXIT_DEADLINE;
	default:
		return status >= 200 && status < 300 ? GT_EXIT_DONE : GT_EXIT_FAILED;
	}
}

enum gt_exit gt_cli_fail(struct gt_cli *cli, const struct gt_err *err)
{
	enum gt_exit code = gt_exit_of_err(err);

	gt_progress_clear(cli);
	fputs("gantry: ", cli->err);
	if (err->path[0])
		fprintf(cli->err, "%s: ", err->path);
	gt_text_print(cli->err, err->text);
	fputc('\n', cli->err);
	if (code == GT_EXIT_USAGE && cli->command)
		fprintf(cli->err, "  see `gantry help %s`\n", cli->command->name);
	return code;
}

enum gt_exit gt_cli_usage(struct gt_cli *cli, const char *fmt, ...)
{
	struct gt_err err = { 0 };
	char text[sizeof(err.text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gt_err_set(&err, EINVAL, "usage", "%s", text);
	return gt_cli_fail(cli, &err);
}

static void line(struct gt_cli *cli, const char *label, const char *text)
{
	if (!text || !*text)
		return;
	fprintf(cli->err, "  %s", label);
	gt_text_print(cli->err, text);
	fputc('\n', cli->err);
}

void gt_cli_log_tail(struct gt_cli *cli, const struct gt_value *end)
{
	const struct gt_value *log = gt_value_at(end, "log");

	if (gt_value_len(log))
		fputs("  last log lines:\n", cli->err);
	for (size_t i = 0; i < gt_value_len(log); i++)
		line(cli, "  | ", gt_value_str(gt_value_item(log, i), "", ""));
}

static void print_end(struct gt_cli *cli, const struct gt_value *v)
{
	const char *cause = gt_value_str(v, "cause", NULL),
		   *detail = gt_value_str(v, "detail", NULL);
	const char *reason = gt_value_str(v, "reason", NULL);
	uint64_t signal = gt_value_u64(v, "signal", 0);
	char number[32];

	line(cli, "cause: ", cause);
	if (reason && !(detail && strstr(detail, reason)))
		line(cli, "reason: ", reason);
	if (gt_value_at(v, "exit_code")) {
		snprintf(number, sizeof(number), "%.0f", gt_value_num(v, "exit_code", 0));
		if (number[0] != '-')
			line(cli, "exit code: ", number);
	}
	if (signal) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)signal);
		line(cli, "signal: ", number);
	}
	gt_cli_log_tail(cli, v);
}

/* "at PATH: what", as far as the detail does not say so already: "PATH: what" */
static void print_place(struct gt_cli *cli, const struct gt_value *e, const char *detail)
{
	const char *path = gt_value_str(e, "path", ""), *what = gt_value_str(e, "detail", "");
	gt_auto(free) char *both = gt_asprintf("%s: %s", path, what);
	size_t n = strlen(path);

	if (detail && strncmp(detail, path, n) == 0 && detail[n] == ':')
		return;
	line(cli, "at ", detail && strstr(detail, what) ? path : both);
}

static void print_problem(struct gt_cli *cli, const struct gt_value *v, long status)
{
	const char *title = gt_value_str(v, "title", NULL),
		   *detail = gt_value_str(v, "detail", NULL);
	const struct gt_value *errors = gt_value_at(v, "errors");
	char again[48];

	fputs("gantry: ", cli->err);
	if (title)
		gt_text_print(cli->err, title);
	else
		fprintf(cli->err, "the daemon answered %ld", status);
	fputc('\n', cli->err);
	line(cli, "", detail);
	for (size_t i = 0; i < gt_value_len(errors); i++)
		print_place(cli, gt_value_item(errors, i), detail);
	line(cli, "hint: ", gt_value_str(v, "hint", NULL));
	print_end(cli, v);
	if (gt_value_at(v, "retry_after_s")) {
		snprintf(again, sizeof(again), "%llu s",
			 (unsigned long long)gt_value_u64(v, "retry_after_s", 0));
		line(cli, "try again in: ", again);
	}
	line(cli, "request: ", gt_value_str(v, "instance", NULL));
}

enum gt_exit gt_cli_problem(struct gt_cli *cli, const struct gt_rest_answer *answer)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_buf body = answer->body;

	gt_progress_clear(cli);
	if (gt_value_parse(gt_buf_str(&body), body.len, &v, NULL) < 0 || !gt_value_is_object(v)) {
		fprintf(cli->err, "gantry: the daemon answered %ld\n", answer->status);
		if (body.len && body.len < 4096)
			line(cli, "", gt_buf_str(&body));
	} else if (cli->json) {
		fwrite(body.data, 1, body.len, cli->err);
		fputc('\n', cli->err);
	} else {
		print_problem(cli, v, answer->status);
	}
	if (answer->status == 401)
		line(cli, "fix: ", "give a valid token with --token, --token-file or GANTRY_TOKEN");
	return gt_exit_of_status(answer->status);
}
