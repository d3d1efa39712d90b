#include "commands.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>

struct list {
	struct gt_table *providers, *hosts;
	struct gt_buf notes;
};

static unsigned count(const struct gt_value *hosts, const char *const states[])
{
	unsigned n = 0;

	for (size_t i = 0; i < gt_value_len(hosts); i++)
		for (size_t s = 0; states[s]; s++)
			n += gt_streq(gt_value_str(gt_value_item(hosts, i), "state", ""),
				      states[s]);
	return n;
}

static void add_hosts(struct list *list, const char *provider, const struct gt_value *hosts)
{
	for (size_t i = 0; i < gt_value_len(hosts); i++) {
		const struct gt_value *h = gt_value_item(hosts, i);
		char age[16];

		gt_age_text(gt_value_str(h, "asked_at", NULL), gt_wall_ms(&gt_clock_system), age,
			    sizeof(age));
		gt_table_cell(list->hosts, gt_value_str(h, "key", "?"));
		gt_table_cell(list->hosts, provider);
		gt_table_cell(list->hosts, gt_value_str(h, "state", "?"));
		gt_table_cell(list->hosts, gt_value_str(h, "id", ""));
		gt_table_cell(list->hosts, age);
		gt_table_cell(list->hosts, gt_value_str(h, "why", ""));
	}
}

static void add_notes(struct list *list, const struct gt_value *p, const char *name)
{
	uint64_t retry_ms = gt_value_u64(p, "retry_in_ms", 0);
	const char *error = gt_value_str(p, "error", NULL);

	if (!gt_value_bool(p, "configured", true))
		gt_buf_addf(&list->notes,
			    "%s: it is not configured any more, so its hosts can not be given "
			    "back: put it back, or end them and use gantry node rm KEY\n",
			    name);
	if (error)
		gt_buf_addf(&list->notes, "%s: %s\n", name, error);
	if (retry_ms)
		gt_buf_addf(&list->notes, "%s: it is asked for hosts again in %.0f s\n", name,
			    (double)retry_ms / 1000);
}

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *p, void *arg)
{
	static const char *const up[] = { "up", NULL };
	static const char *const coming[] = { "new", "asked", "starting", NULL };
	static const char *const leaving[] = { "retiring", "releasing", NULL };
	const char *name = gt_value_str(p, "name", "?");
	const struct gt_value *hosts = gt_value_at(p, "hosts");
	struct list *list = arg;
	struct gt_table *t = list->providers;

	gt_table_cell(t, name);
	gt_table_cell(t, gt_value_str(p, "kind", "?"));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(p, "min", 0));
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(p, "max", 0));
	gt_table_cellf(t, "%u", count(hosts, up));
	gt_table_cellf(t, "%u", count(hosts, coming));
	gt_table_cellf(t, "%u", count(hosts, leaving));
	add_hosts(list, name, hosts);
	add_notes(list, p, name);
	return true;
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const char *const heads[] = { "PROVIDER", "KIND",    ">MIN",    ">MAX",
					     ">UP",      ">COMING", ">LEAVING" };
	static const char *const host_heads[] = { "HOST", "PROVIDER", "STATE",
						  "ID",   ">ASKED",   "?WHY" };
	gt_auto(table) struct gt_table *providers = gt_table_new(heads, GT_LEN(heads));
	gt_auto(table) struct gt_table *hosts = gt_table_new(host_heads, GT_LEN(host_heads));
	struct list list = { .providers = providers, .hosts = hosts };
	enum gt_exit code = gt_cli_list(cli, "/v1/providers", add_row, &list);

	if (code == GT_EXIT_DONE && !cli->json) {
		gt_table_print(providers, cli->out, cli->color);
		if (gt_table_rows(hosts) > 0) {
			fputc('\n', cli->out);
			gt_table_print(hosts, cli->out, cli->color);
		}
		gt_lines_print(cli->out, gt_buf_str(&list.notes));
	}
	gt_buf_fini(&list.notes);
	return code;
}

const struct gt_command gt_cmd_providers = {
	.name = "providers",
	.args = "",
	.summary = "where further hosts come from, and those that came",
	.help = "Lists the configured providers of hosts, how many hosts of each are up, on their "
		"way here and\n"
		"on their way back, and these hosts; and what stands in the way.",
	.run = run,
};
