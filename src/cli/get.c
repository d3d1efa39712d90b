#include "commands.h"
#include "table.h"

#include <stdarg.h>

static void field(struct gt_cli *cli, const char *label, const char *text)
{
	if (!text || !*text)
		return;
	fprintf(cli->out, "%-12s", label);
	gt_text_print(cli->out, text);
	fputc('\n', cli->out);
}

static void fieldf(struct gt_cli *cli, const char *label, const char *fmt, ...) GT_PRINTF(3, 4);
static void fieldf(struct gt_cli *cli, const char *label, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	field(cli, label, text);
}

/* A part of the specification as it was written: {"min":1,"max":4} */
static void part(struct gt_cli *cli, const char *label, const struct gt_value *spec,
		 const char *member)
{
	const struct gt_value *v = gt_value_at(spec, member);
	gt_auto(buf) struct gt_buf text = { 0 };

	if (v && gt_value_write(v, 0, &text) == 0)
		field(cli, label, gt_buf_str(&text));
}

static void print_replicas(struct gt_cli *cli, const struct gt_value *f)
{
	const struct gt_value *counts = gt_value_at(f, "replicas"), *n;
	gt_auto(buf) struct gt_buf text = { 0 };
	const char *state = NULL;

	while ((state = gt_value_member(counts, state, &n)))
		if (gt_value_u64(n, "", 0))
			gt_buf_addf(&text, "%s%u %s", text.len ? ", " : "",
				    (unsigned)gt_value_u64(n, "", 0), state);
	fieldf(cli, "replicas", "%s; %u wanted%s%s", text.len ? gt_buf_str(&text) : "none",
	       (unsigned)gt_value_u64(f, "wanted", 0), gt_value_at(f, "why") ? ": " : "",
	       gt_value_str(f, "why", ""));
	fieldf(cli, "calls", "%u running, %u queued", (unsigned)gt_value_u64(f, "in_flight", 0),
	       (unsigned)gt_value_u64(f, "queued", 0));
	fieldf(cli, "starts", "%u, %u failed", (unsigned)gt_value_u64(f, "starts_total", 0),
	       (unsigned)gt_value_u64(f, "failed_total", 0));
}

static void print_failure(struct gt_cli *cli, const struct gt_value *f)
{
	const struct gt_value *end = gt_value_at(f, "last_failure"), *log = gt_value_at(end, "log");
	char again[32];

	if (!end)
		return;
	fieldf(cli, "failure", "%s: %s", gt_value_str(end, "cause", "?"),
	       gt_value_str(end, "detail", ""));
	for (size_t i = 0; i < gt_value_len(log); i++)
		fieldf(cli, "", "| %s", gt_value_str(gt_value_item(log, i), "", ""));
	gt_ms_text(gt_value_num(f, "retry_in_ms", 0), again, sizeof(again));
	if (gt_value_u64(f, "failures", 0))
		fieldf(cli, "next try", "in %s, after %u failures in a row", again,
		       (unsigned)gt_value_u64(f, "failures", 0));
}

static void print_function(struct gt_cli *cli, const struct gt_value *f)
{
	const struct gt_value *spec = gt_value_at(f, "spec");

	field(cli, "name", gt_value_str(f, "name", ""));
	field(cli, "state", gt_value_str(f, "state", ""));
	print_replicas(cli, f);
	print_failure(cli, f);
	fieldf(cli, "revision", "%u", (unsigned)gt_value_u64(f, "revision", 0));
	field(cli, "etag", gt_value_str(f, "etag", ""));
	field(cli, "created", gt_value_str(f, "created_at", ""));
	field(cli, "updated", gt_value_str(f, "updated_at", ""));
	field(cli, "image", gt_value_str(spec, "image", ""));
	part(cli, "command", spec, "command");
	if (gt_value_at(spec, "socket"))
		field(cli, "socket", gt_value_str(spec, "socket", ""));
	else
		fieldf(cli, "port", "%u", (unsigned)gt_value_u64(spec, "port", 0));
	field(cli, "access", gt_value_str(spec, "access", "token"));
	part(cli, "scale", spec, "scale");
	part(cli, "resources", spec, "resources");
	part(cli, "limits", spec, "limits");
	part(cli, "volumes", spec, "volumes");
	part(cli, "serves", spec, "serves");
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *name = gt_cli_function(cli, 0);
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(buf) struct gt_buf pretty = { 0 };
	gt_auto(value) struct gt_value *f = NULL;
	gt_auto(free) char *path = NULL;
	enum gt_exit code;

	if (!name)
		return GT_EXIT_USAGE;
	path = gt_asprintf("/v1/functions/%s%s", name,
			   gt_args_has(&cli->args, "effective") ? "?effective=1" : "");
	code = gt_cli_get(cli, path, &text, &f);
	if (code != GT_EXIT_DONE)
		return code;
	if (gt_args_has(&cli->args, "spec")) {
		if (gt_value_write(gt_value_at(f, "spec"), 2, &pretty) < 0)
			return gt_cli_usage(cli, "the answer has no specification in it");
		gt_cli_print_json(cli, &pretty);
	} else if (cli->json) {
		gt_cli_print_json(cli, &text);
	} else {
		print_function(cli, f);
	}
	return GT_EXIT_DONE;
}

static const struct gt_flag flags[] = {
	{ "spec", 's', NULL, "only the specification, as a file for deploy", false },
	{ "effective", 0, NULL, "with every default filled in", false },
};

const struct gt_command gt_cmd_get = {
	.name = "get",
	.args = "NAME",
	.summary = "show one function",
	.help = "Shows a function: its state and why, its replicas, the last failed start with the "
		"last log\n"
		"lines, and its specification. `gantry get NAME --spec > NAME.json` writes the "
		"file that\n"
		"`gantry deploy` reads.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 1,
	.run = run,
};
