/* The command table, and the way from a command line to a command. */
#include "cli.h"

#include <string.h>
#include <unistd.h>

#include <gantry/base/suggest.h>
#include <gantry/oci/oci.h>

#include "commands.h"
#include "rest.h"

const struct gt_command *const gt_commands[] = {
	&gt_cmd_deploy,    &gt_cmd_ls,       &gt_cmd_get,        &gt_cmd_call,
	&gt_cmd_calls,     &gt_cmd_schedule, &gt_cmd_webhook,    &gt_cmd_logs,
	&gt_cmd_ps,        &gt_cmd_rm,       &gt_cmd_events,     &gt_cmd_explain,
	&gt_cmd_image,     &gt_cmd_bundle,   &gt_cmd_nodes,      &gt_cmd_node,
	&gt_cmd_providers, &gt_cmd_gpu,      &gt_cmd_simulate,   &gt_cmd_doctor,
	&gt_cmd_version,   &gt_cmd_help,     &gt_cmd_completion, NULL,
};

static const struct gt_flag global_flags[] = {
	{ "url", 0, "URL", "the daemon's address (GANTRY_URL; default: the local daemon)", false },
	{ "ca", 0, "FILE", "CA certificates to trust at an https address (GANTRY_CA)", false },
	{ "token", 0, "TOKEN", "token to show (GANTRY_TOKEN)", false },
	{ "token-file", 0, "FILE", "read the token from a file", false },
	{ "json", 0, NULL, "print what the API answers, for programs", false },
	{ "verbose", 'v', NULL, "say on standard error what goes on", false },
	{ "help", 'h', NULL, "help for the command", false },
};
const struct gt_flag_table gt_global_flags = { global_flags, GT_LEN(global_flags) };

const struct gt_command *gt_command_find(const char *name)
{
	for (const struct gt_command *const *c = gt_commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

static enum gt_exit unknown_command(struct gt_cli *cli, const char *name)
{
	const char *names[GT_LEN(gt_commands)], *near;
	size_t n = 0;

	for (const struct gt_command *const *c = gt_commands; *c; c++)
		names[n++] = (*c)->name;
	near = gt_suggest(name, names, n);
	if (near)
		return gt_cli_usage(cli, "there is no command \"%s\"; did you mean %s?", name,
				    near);
	return gt_cli_usage(cli, "there is no command \"%s\"; `gantry help` lists them", name);
}

/* Flags before the command are valid too: moves the command's name to argv[0], the flags behind it.
 */
static enum gt_exit find_command(struct gt_cli *cli, int argc, char **argv)
{
	struct gt_err err = { 0 };
	size_t before;
	char *name;

	if (gt_args_read(argc, argv, &gt_global_flags, 1, true, &cli->args, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (cli->args.n_operands == 0) {
		bool asked = gt_args_has(&cli->args, "help");
		gt_help_all(asked ? cli->out : cli->err);
		return asked ? GT_EXIT_DONE : GT_EXIT_USAGE;
	}
	name = cli->args.operands[0];
	cli->command = gt_command_find(name);
	if (!cli->command)
		return unknown_command(cli, name);
	before = (size_t)(cli->args.operands - argv);
	memmove(argv + 1, argv, before * sizeof(*argv));
	argv[0] = name;
	return GT_EXIT_DONE;
}

static enum gt_exit check_operands(struct gt_cli *cli)
{
	const struct gt_command *c = cli->command;
	struct gt_args *a = &cli->args;

	/* For most commands "--" only ends the flags: the words before it were moved to the front
	 * of argv, those after it follow somewhere behind. */
	if (a->rest && !c->rest) {
		memmove(a->operands + a->n_operands, a->rest, a->n_rest * sizeof(*a->rest));
		a->n_operands += a->n_rest;
	}
	if (a->n_operands < c->least || a->n_operands > c->most)
		return gt_cli_usage(cli, "usage: gantry %s%s%s", c->name, *c->args ? " " : "",
				    c->args);
	return GT_EXIT_DONE;
}

static enum gt_exit run(struct gt_cli *cli, int argc, char **argv)
{
	struct gt_flag_table tables[2] = { { NULL, 0 }, gt_global_flags };
	struct gt_err err = { 0 };
	enum gt_exit code = find_command(cli, argc, argv);

	if (code != GT_EXIT_DONE || !cli->command)
		return code;
	tables[0] = (struct gt_flag_table){ cli->command->flags, cli->command->n_flags };
	if (gt_args_read(argc - 1, argv + 1, tables, 2, false, &cli->args, &err) < 0)
		return gt_cli_fail(cli, &err);
	cli->json = gt_args_has(&cli->args, "json");
	cli->verbose = gt_args_has(&cli->args, "verbose");
	if (gt_args_has(&cli->args, "help")) {
		gt_help_command(cli->out, cli->command);
		return GT_EXIT_DONE;
	}
	code = check_operands(cli);
	return code == GT_EXIT_DONE ? cli->command->run(cli) : code;
}

static bool is_terminal(FILE *f)
{
	int fd = fileno(f);

	return fd >= 0 && isatty(fd);
}

int gt_cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	const char *plain = getenv("NO_COLOR"), *term = getenv("TERM");
	struct gt_cli *cli;
	enum gt_exit code;

	/* Not of the product, and not in its table: the command line of another program. */
	if (argc > 0 && strcmp(argv[0], "oci") == 0)
		return gt_oci_main(argc - 1, argv + 1, out, err);
	cli = gt_alloc(sizeof(*cli));
	cli->out = out;
	cli->err = err;
	cli->out_tty = is_terminal(out);
	cli->err_tty = is_terminal(err) && !gt_streq(term, "dumb");
	cli->color = cli->out_tty && !(plain && *plain) && !gt_streq(term, "dumb");
	code = run(cli, argc, argv);
	gt_progress_clear(cli);
	if (fflush(out) != 0 && code == GT_EXIT_DONE) {
		fprintf(err, "gantry: the output can not be written: %s\n", strerror(errno));
		code = GT_EXIT_FAILED;
	}
	gt_rest_free(cli->rest);
	free(cli);
	return code;
}
