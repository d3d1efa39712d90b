#include "commands.h"
#include "table.h"

#include <gantry/base/clock.h>

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *n, void *arg)
{
	struct gt_table *t = arg;
	char age[16];

	gt_age_text(gt_value_str(n, "since", NULL), gt_wall_ms(&gt_clock_system), age, sizeof(age));
	gt_table_cell(t, gt_value_str(n, "name", "?"));
	gt_table_cell(t, gt_value_str(n, "state", "?"));
	gt_table_cell(t, age);
	gt_table_cellf(t, "%.1f", gt_value_num(n, "cpu_milli", 0) / 1000);
	gt_table_cellf(t, "%.1f GiB", gt_value_num(n, "memory_bytes", 0) / (double)GT_GIB);
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(n, "replicas", 0));
	return true;
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const char *const headers[] = { "NODE",  "STATE",   ">SINCE",
					       ">CPUS", ">MEMORY", ">REPLICAS" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	enum gt_exit code = gt_cli_list(cli, "/v1/nodes", add_row, t);

	if (code == GT_EXIT_DONE && !cli->json)
		gt_table_print(t, cli->out, cli->color);
	return code;
}

const struct gt_command gt_cmd_nodes = {
	.name = "nodes",
	.args = "",
	.summary = "list nodes",
	.help = "Lists the machines that run replicas, whether they answer, and their size.",
	.run = run,
};
