#include "commands.h"
#include "table.h"

#include <gantry/base/clock.h>

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *f, void *arg)
{
	struct gt_table *t = arg;
	char age[16];

	gt_age_text(gt_value_str(f, "updated_at", NULL), gt_wall_ms(&gt_clock_system), age,
		    sizeof(age));
	gt_table_cell(t, gt_value_str(f, "name", "?"));
	gt_table_cell(t, gt_value_str(f, "state", "?"));
	gt_table_cellf(t, "%u/%u", (unsigned)gt_value_u64(f, "replicas.ready", 0),
		       (unsigned)gt_value_u64(f, "wanted", 0));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(f, "queued", 0));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(f, "in_flight", 0));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(f, "revision", 0));
	gt_table_cell(t, age);
	gt_table_cell(t, gt_value_str(f, "spec.image", ""));
	return true;
}

static bool print_name(struct gt_cli *cli, const struct gt_value *f, void *arg GT_UNUSED)
{
	gt_text_print(cli->out, gt_value_str(f, "name", "?"));
	fputc('\n', cli->out);
	return true;
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const char *const headers[] = { "NAME",     "STATE", ">READY", ">QUEUED",
					       ">RUNNING", ">REV",  ">AGE",   "IMAGE" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	gt_auto(buf) struct gt_buf path = { 0 };
	enum gt_exit code;

	gt_buf_adds(&path, "/v1/functions?limit=1000");
	if (cli->args.n_operands)
		gt_query_add(&path, "prefix", cli->args.operands[0]);
	if (gt_args_has(&cli->args, "quiet"))
		return gt_cli_each(cli, gt_buf_str(&path), print_name, NULL);
	code = gt_cli_list(cli, gt_buf_str(&path), add_row, t);
	if (code != GT_EXIT_DONE || cli->json)
		return code;
	gt_table_print(t, cli->out, cli->color);
	if (gt_table_rows(t) == 0 && cli->out_tty)
		fputs("no functions; `gantry help deploy` shows how to make one\n", cli->err);
	return GT_EXIT_DONE;
}

static const struct gt_flag flags[] = {
	{ "quiet", 'q', NULL, "names only", false },
};

const struct gt_command gt_cmd_ls = {
	.name = "ls",
	.args = "[PREFIX]",
	.summary = "list functions",
	.help = "Lists all functions, or those whose name starts with PREFIX. READY is replicas "
		"that serve\n"
		"of replicas that are wanted; AGE counts from the last deploy.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.most = 1,
	.run = run,
};
