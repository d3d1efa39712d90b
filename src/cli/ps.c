#include "commands.h"
#include "pull.h"
#include "table.h"

#include <string.h>

#include <gantry/base/clock.h>

struct work {
	struct gt_table *table;
	bool all;
	size_t printed;      /* items of the JSON document */
	const char *current; /* the function whose replicas come */
	char **names;        /* functions to look at */
	size_t n, cap;
};

static bool ended(const char *state)
{
	return strcmp(state, "stopped") == 0 || strcmp(state, "failed") == 0;
}

/* The parts of a start, once the last of them is known, make the whole. */
static void start_text(const struct gt_value *timings, char *out, size_t size)
{
	const struct gt_value *part;
	const char *name = NULL;
	double ms = 0;

	if (!gt_value_at(timings, "ready_ms"))
		return;
	while ((name = gt_value_member(timings, name, &part)))
		ms += gt_value_num(part, "", 0);
	gt_ms_text(ms, out, size);
}

/* The CPU time so far and the memory now, once the node has looked. */
static void add_usage(struct gt_table *t, const struct gt_value *r)
{
	char cpu[24] = "", memory[32] = "";

	if (gt_value_at(r, "usage.cpu_ms"))
		gt_ms_text(gt_value_num(r, "usage.cpu_ms", 0), cpu, sizeof(cpu));
	if (gt_value_at(r, "usage.memory_bytes"))
		gt_mib_text(gt_value_u64(r, "usage.memory_bytes", 0), memory, sizeof(memory));
	gt_table_cell(t, cpu);
	gt_table_cell(t, memory);
}

/* "2 x H100 (sim)", "0.5 x H100 (sim)" */
static void add_gpus(struct gt_table *t, const struct gt_value *r)
{
	const struct gt_value *gpus = gt_value_at(r, "gpus"), *first = gt_value_item(gpus, 0);

	if (!first) {
		gt_table_cell(t, "");
		return;
	}
	gt_table_cellf(t, "%g x %s (%s)",
		       (double)gt_value_len(gpus) * gt_value_num(first, "share", 1),
		       gt_value_str(first, "model", "?"), gt_value_str(first, "backend", "?"));
}

/* Why it was started and, as long as it waits for that, how much of its image is here. */
static void add_why(struct gt_table *t, const struct gt_value *r)
{
	const char *why = gt_value_str(r, "end.cause", gt_value_str(r, "reason", ""));
	char pull[GT_PULL_TEXT];

	if (!gt_value_at(r, "pull")) {
		gt_table_cell(t, why);
		return;
	}
	gt_pull_text(gt_value_at(r, "pull"), pull);
	gt_table_cellf(t, "%s; its image: %s", why, pull);
}

/* "freeze: it has no GPU", of functions with `park`. */
static void add_park(struct gt_table *t, const struct gt_value *r)
{
	if (gt_value_at(r, "park"))
		gt_table_cellf(t, "%s: %s", gt_value_str(r, "park.method", "?"),
			       gt_value_str(r, "park.why", ""));
	else
		gt_table_cell(t, "");
}

static bool add_row(struct gt_cli *cli, const struct gt_value *r, void *arg)
{
	struct work *w = arg;
	struct gt_table *t = w->table;
	const char *state = gt_value_str(r, "state", "?");
	char age[16], ready[24] = "";

	if (ended(state) && !w->all)
		return true;
	if (cli->json)
		return gt_items_print(cli, r, &w->printed);
	gt_age_text(gt_value_str(r, "created_at", NULL), gt_wall_ms(&gt_clock_system), age,
		    sizeof(age));
	start_text(gt_value_at(r, "timings"), ready, sizeof(ready));
	gt_table_cell(t, gt_value_str(r, "id", "?"));
	gt_table_cell(t, gt_value_str(r, "function", w->current));
	gt_table_cell(t, state);
	gt_table_cellf(t, "%u", (unsigned)gt_value_u64(r, "revision", 0));
	gt_table_cell(t, age);
	gt_table_cell(t, ready);
	add_usage(t, r);
	add_gpus(t, r);
	if (gt_value_u64(r, "pid", 0))
		gt_table_cellf(t, "%u", (unsigned)gt_value_u64(r, "pid", 0));
	else
		gt_table_cell(t, "");
	gt_table_cell(t, gt_value_str(r, "node", ""));
	add_park(t, r);
	add_why(t, r);
	return true;
}

static void remember(struct work *w, const char *name)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 16;
		w->names = gt_grow(w->names, w->cap, sizeof(*w->names));
	}
	w->names[w->n++] = gt_strdup(name);
}

/* The API lists replicas by function; functions at zero are not asked about. */
static bool pick(struct gt_cli *cli GT_UNUSED, const struct gt_value *f, void *arg)
{
	struct work *w = arg;

	if (w->all || strcmp(gt_value_str(f, "state", ""), "idle") != 0)
		remember(w, gt_value_str(f, "name", "?"));
	return true;
}

static enum gt_exit list(struct gt_cli *cli, struct work *w)
{
	enum gt_exit code = GT_EXIT_DONE;

	if (!cli->args.n_operands)
		code = gt_cli_each(cli, "/v1/functions?limit=1000", pick, w);
	else if (gt_cli_function(cli, 0))
		remember(w, cli->args.operands[0]);
	else
		code = GT_EXIT_USAGE;
	for (size_t i = 0; code == GT_EXIT_DONE && i < w->n; i++) {
		gt_auto(free) char *path = gt_asprintf("/v1/functions/%s/replicas", w->names[i]);
		w->current = w->names[i];
		code = gt_cli_each(cli, path, add_row, w);
	}
	return code;
}

static enum gt_exit run(struct gt_cli *cli)
{
	static const char *const headers[] = { "REPLICA", "FUNCTION", "STATE",   ">REV",  ">AGE",
					       ">START",  ">CPU",     ">MEMORY", "?GPUS", ">PID",
					       "NODE",    "?PARK",    "WHY" };
	struct work w = { .table = gt_table_new(headers, GT_LEN(headers)),
			  .all = gt_args_has(&cli->args, "all") };
	enum gt_exit code = list(cli, &w);

	if (code == GT_EXIT_DONE && cli->json)
		gt_items_end(cli, w.printed);
	else if (code == GT_EXIT_DONE)
		gt_table_print(w.table, cli->out, cli->color);
	gt_table_free(w.table);
	for (size_t i = 0; i < w.n; i++)
		free(w.names[i]);
	free(w.names);
	return code;
}

static const struct gt_flag flags[] = {
	{ "all", 'a', NULL, "those that ended lately too", false },
};

const struct gt_command gt_cmd_ps = {
	.name = "ps",
	.args = "[NAME]",
	.summary = "list replicas",
	.help = "Lists the replicas of one function or of all. START is how long it took from the "
		"order to\n"
		"the first answer; CPU the time it used and MEMORY what it has now, looked at "
		"every few\n"
		"seconds; GPUS, where any has some, how many and, in brackets, who tells of "
		"them;\n"
		"PARK, of functions with `park`, by which method and why it is that one; WHY is "
		"why\n"
		"the replica was started or how it ended, and how much of its image is here while "
		"it "
		"waits\n"
		"for that.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.most = 1,
	.run = run,
};
