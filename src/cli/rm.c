#include "commands.h"

static enum gt_exit remove_one(struct gt_cli *cli, const char *name)
{
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s%s", name,
					       gt_args_has(&cli->args, "force") ? "?force=1" : "");

	return gt_cli_remove(cli, path, "%s removed", name);
}

static enum gt_exit run(struct gt_cli *cli)
{
	enum gt_exit code = GT_EXIT_DONE;

	for (size_t i = 0; i < cli->args.n_operands; i++)
		if (!gt_cli_function(cli, i))
			return GT_EXIT_USAGE;
	for (size_t i = 0; i < cli->args.n_operands; i++) {
		enum gt_exit one = remove_one(cli, cli->args.operands[i]);
		if (code == GT_EXIT_DONE)
			code = one;
	}
	return code;
}

static const struct gt_flag flags[] = {
	{ "force", 'f', NULL, "kill the replicas, do not let them finish their calls", false },
};

const struct gt_command gt_cmd_rm = {
	.name = "rm",
	.args = "NAME... [--force]",
	.summary = "remove functions",
	.help = "Removes functions. Their names are free at once; their replicas take no new call, "
		"finish\n"
		"those they have within limits.drain, and end.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 64,
	.run = run,
};
