/* version, help and completion. */
#include <string.h>

#include "commands.h"
#include "rest.h"
#include "table.h"

static enum gt_exit run_version(struct gt_cli *cli)
{
	gt_auto(value) struct gt_value *v = NULL;
	gt_auto(buf) struct gt_buf text = { 0 };
	enum gt_exit code;

	if (!cli->json) {
		fputs("gantry " GT_VERSION "\n", cli->out);
		if (gt_args_has(&cli->args, "client"))
			return GT_EXIT_DONE;
	}
	code = gt_cli_get(cli, "/v1/version", &text, &v);
	if (code != GT_EXIT_DONE)
		return code;
	if (cli->json) {
		gt_cli_print_json(cli, &text);
		return GT_EXIT_DONE;
	}
	fputs("gantryd ", cli->out);
	gt_text_print(cli->out, gt_value_str(v, "version", "?"));
	fprintf(cli->out, " at %s\n", gt_rest_url(cli->rest));
	return GT_EXIT_DONE;
}

static const struct gt_flag version_flags[] = {
	{ "client", 0, NULL, "only this program's version; asks no daemon", false },
};

const struct gt_command gt_cmd_version = {
	.name = "version",
	.args = "[--client]",
	.summary = "versions of this program and of the daemon",
	.help = "Prints the version of this program and of the daemon it talks to.",
	.flags = version_flags,
	.n_flags = GT_LEN(version_flags),
	.run = run_version,
};

static enum gt_exit run_help(struct gt_cli *cli)
{
	const struct gt_command *c;

	if (cli->args.n_operands == 0) {
		gt_help_all(cli->out);
		return GT_EXIT_DONE;
	}
	c = gt_command_find(cli->args.operands[0]);
	if (!c)
		return gt_cli_usage(cli, "there is no command \"%s\"; `gantry help` lists them",
				    cli->args.operands[0]);
	gt_help_command(cli->out, c);
	return GT_EXIT_DONE;
}

const struct gt_command gt_cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "this list, or help for one command",
	.help = "Prints the list of commands, or what one command does and its flags.",
	.most = 1,
	.run = run_help,
};

static enum gt_exit run_completion(struct gt_cli *cli)
{
	if (strcmp(cli->args.operands[0], "bash") != 0)
		return gt_cli_usage(cli,
				    "completion is there for bash only: gantry completion bash");
	gt_completion_bash(cli->out);
	return GT_EXIT_DONE;
}

const struct gt_command gt_cmd_completion = {
	.name = "completion",
	.args = "bash",
	.summary = "completion script for a shell",
	.help = "Prints a script that completes commands, flags and function names:\n"
		"  source <(gantry completion bash)",
	.least = 1,
	.most = 1,
	.run = run_completion,
};
