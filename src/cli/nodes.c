#include "commands.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#include <gantry/base/clock.h>

/* "4 x H100 80 GiB (sim)" for each kind, in the order that the node tells. */
static void gpus_text(const struct gt_value *gpus, char *out, size_t size)
{
	size_t len = 0, n = gt_value_len(gpus);

	for (size_t i = 0, alike; i < n && len < size; i += alike) {
		const struct gt_value *g = gt_value_item(gpus, i);
		const char *model = gt_value_str(g, "model", "?");
		const char *backend = gt_value_str(g, "backend", "?");
		uint64_t bytes = gt_value_u64(g, "memory_bytes", 0);

		for (alike = 1; i + alike < n; alike++) {
			const struct gt_value *o = gt_value_item(gpus, i + alike);

			if (strcmp(gt_value_str(o, "model", "?"), model) != 0 ||
			    strcmp(gt_value_str(o, "backend", "?"), backend) != 0 ||
			    gt_value_u64(o, "memory_bytes", 0) != bytes)
				break;
		}
		len += (size_t)snprintf(out + len, size - len, "%s%zu x %s %.0f GiB (%s)",
					i ? ", " : "", alike, model, (double)bytes / (double)GT_GIB,
					backend);
	}
}

/* What is not well, a line each. */
static void add_notes(const struct gt_value *n, struct gt_buf *out)
{
	const struct gt_value *gpus = gt_value_at(n, "gpus"),
			      *driver = gt_value_at(n, "gpu_driver");
	const char *name = gt_value_str(n, "name", "?"), *text = gt_value_str(driver, "text", NULL);
	const char *reason;

	if (text)
		gt_buf_addf(out, "%s: GPU driver (%s): %s\n", name,
			    gt_value_str(driver, "backend", "?"), text);
	for (size_t i = 0; i < gt_value_len(gpus); i++) {
		const struct gt_value *g = gt_value_item(gpus, i);

		if (gt_value_bool(g, "healthy", true))
			continue;
		reason = gt_value_str(g, "reason", "");
		gt_buf_addf(out, "%s: %s is %s%s%s\n", name, gt_value_str(g, "uuid", "?"),
			    gt_value_str(g, "health", "not well"), *reason ? ": " : "", reason);
	}
}

struct list {
	struct gt_table *table;
	struct gt_buf notes;
};

static void labels_text(const struct gt_value *labels, char *out, size_t size)
{
	const struct gt_value *value;
	const char *name = NULL;
	size_t len = 0;

	while (len < size && (name = gt_value_member(labels, name, &value)))
		len += (size_t)snprintf(out + len, size - len, "%s%s=%s", len ? "," : "", name,
					gt_value_str(value, "", ""));
}

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *n, void *arg)
{
	struct list *list = arg;
	struct gt_table *t = list->table;
	const char *driver = gt_value_str(gt_value_at(n, "gpu_driver"), "state", "");
	char age[16], gpus[200] = "", labels[200] = "";

	gt_age_text(gt_value_str(n, "since", NULL), gt_wall_ms(&gt_clock_system), age, sizeof(age));
	gt_table_cell(t, gt_value_str(n, "name", "?"));
	gt_table_cell(t, gt_value_str(n, "state", "?"));
	gt_table_cell(t, age);
	gt_table_cellf(t, "%.1f", gt_value_num(n, "cpu_milli", 0) / 1000);
	gt_table_cellf(t, "%.1f GiB", gt_value_num(n, "memory_bytes", 0) / (double)GT_GIB);
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(n, "replicas", 0));
	gpus_text(gt_value_at(n, "gpus"), gpus, sizeof(gpus));
	gt_table_cell(t, !gpus[0] && gt_streq(driver, "starting") ? "not known yet" : gpus);
	labels_text(gt_value_at(n, "labels"), labels, sizeof(labels));
	gt_table_cell(t, labels);
	add_notes(n, &list->notes);
	return true;
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const char *const headers[] = { "NODE",    "STATE",     ">SINCE", ">CPUS",
					       ">MEMORY", ">REPLICAS", "?GPUS",  "?LABELS" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	struct list list = { .table = t };
	enum gt_exit code = gt_cli_list(cli, "/v1/nodes", add_row, &list);

	if (code == GT_EXIT_DONE && !cli->json) {
		gt_table_print(t, cli->out, cli->color);
		gt_lines_print(cli->out, gt_buf_str(&list.notes));
	}
	gt_buf_fini(&list.notes);
	return code;
}

const struct gt_command gt_cmd_nodes = {
	.name = "nodes",
	.args = "",
	.summary = "list nodes",
	.help = "Lists the machines that run replicas, whether they answer, their size, GPUs and "
		"labels.\n"
		"GPUs of backend sim are made by configuration and compute nothing.",
	.run = run,
};
