#include "commands.h"
#include "table.h"

#include <gantry/base/units.h>

#include <string.h>

#define TAIL_DEFAULT 20

/* 2026-11-25T12:34:56.789Z -> 12:34:56.789 */
static const char *clock_part(const char *ts)
{
	const char *t = ts ? strchr(ts, 'T') : NULL;

	return t ? t + 1 : "?";
}

/* "queue 3, hold 1": what each rule asked for. */
static void print_alternatives(struct gt_cli *cli, const struct gt_value *d)
{
	const struct gt_value *all = gt_value_at(d, "alternatives"), *n;
	const char *rule = NULL, *sep = "  [";

	while ((rule = gt_value_member(all, rule, &n))) {
		fprintf(cli->out, "%s%s %u", sep, rule, (unsigned)gt_value_u64(n, "", 0));
		sep = ", ";
	}
	if (sep[0] == ',')
		fputc(']', cli->out);
}

static void print_scale(struct gt_cli *cli, const struct gt_value *d)
{
	unsigned have = (unsigned)(gt_value_u64(d, "inputs.ready", 0) +
				   gt_value_u64(d, "inputs.starting", 0));
	unsigned need = (unsigned)gt_value_u64(d, "outcome.need", 0);
	unsigned wanted = (unsigned)gt_value_u64(d, "outcome.wanted", 0);
	const char *rule = gt_value_str(d, wanted > need ? "keep_rule" : "rule", "?");
	bool silent = gt_streq(rule, "none");

	fprintf(cli->out, "%u -> %u%s%s: ", have, have < need ? need : GT_MIN(have, wanted),
		silent ? "" : " by ", silent ? "" : rule);
	gt_text_print(cli->out, gt_value_str(d, "why", ""));
	print_alternatives(cli, d);
}

/* " [score 0; before n2 -3, n3 -5; not 2 by memory]": who was next, and who could not. */
static void print_others(struct gt_cli *cli, const struct gt_value *d)
{
	const struct gt_value *all = gt_value_at(d, "candidates"),
			      *limits = gt_value_at(d, "limits");
	const struct gt_value *n = gt_value_item(all, 0);
	const char *limit = NULL, *sep = "; not ";

	fprintf(cli->out, "  [score %d", (int)gt_value_num(n, "score", 0));
	for (size_t i = 1; (n = gt_value_item(all, i)); i++) {
		fputs(i == 1 ? "; before " : ", ", cli->out);
		gt_text_print(cli->out, gt_value_str(n, "node", "?"));
		fprintf(cli->out, " %d", (int)gt_value_num(n, "score", 0));
	}
	while ((limit = gt_value_member(limits, limit, &n))) {
		fprintf(cli->out, "%s%u by %s", sep, (unsigned)gt_value_u64(n, "", 0), limit);
		sep = ", ";
	}
	fputc(']', cli->out);
}

static void print_place(struct gt_cli *cli, const struct gt_value *d)
{
	const char *node = gt_value_str(d, "outcome.node", NULL);
	const char *gpus = gt_value_str(d, "outcome.gpus", NULL);
	uint64_t total = gt_value_u64(d, "outcome.weights_total", 0);

	if (node)
		fprintf(cli->out, "replica %s to node ", gt_value_str(d, "outcome.replica", "?"));
	else
		fputs("no place: ", cli->out);
	gt_text_print(cli->out, node ? node : gt_value_str(d, "why", ""));
	if (gpus) {
		fputs(", GPUs ", cli->out);
		gt_text_print(cli->out, gpus);
	}
	if (total > 0) {
		char here[32], of[32];

		gt_mib_text(gt_value_u64(d, "outcome.weights_here", 0), here, sizeof(here));
		gt_mib_text(total, of, sizeof(of));
		fprintf(cli->out, ", weights here: %s of %s", here, of);
	}
	if (node)
		print_others(cli, d);
}

static void print_evict(struct gt_cli *cli, const struct gt_value *d)
{
	fprintf(cli->out, "replica %s gives its place: ", gt_value_str(d, "outcome.replica", "?"));
	gt_text_print(cli->out, gt_value_str(d, "why", ""));
}

static void print_park(struct gt_cli *cli, const struct gt_value *d)
{
	const char *by = gt_value_str(d, "outcome.for", NULL);

	fprintf(cli->out, "replica %s %ss by %s: ", gt_value_str(d, "outcome.replica", "?"),
		gt_value_str(d, "outcome.action", "?"), gt_value_str(d, "inputs.method", "?"));
	gt_text_print(cli->out, gt_value_str(d, "why", ""));
	if (by)
		fprintf(cli->out, "; %s needs its place", by);
}

static bool print_decision(struct gt_cli *cli, const struct gt_value *d, void *arg)
{
	static const struct {
		const char *kind;
		void (*print)(struct gt_cli *cli, const struct gt_value *d);
	} kinds[] = { { "scale", print_scale },
		      { "place", print_place },
		      { "evict", print_evict },
		      { "park", print_park } };
	const char *kind = gt_value_str(d, "kind", "?");

	++*(size_t *)arg;
	fprintf(cli->out, "%-13s %-6s ", clock_part(gt_value_str(d, "ts", NULL)), kind);
	for (size_t i = 0; i < GT_LEN(kinds); i++)
		if (gt_streq(kind, kinds[i].kind))
			kinds[i].print(cli, d);
	fputc('\n', cli->out);
	return true;
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *name = gt_cli_function(cli, 0), *tail = gt_args_get(&cli->args, "tail");
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(value) struct gt_value *f = NULL;
	gt_auto(free) char *path = NULL, *list = NULL;
	uint64_t n_tail = TAIL_DEFAULT;
	enum gt_exit code;
	size_t n = 0;

	if (!name)
		return GT_EXIT_USAGE;
	if (tail && gt_parse_u64(tail, 1000, &n_tail) < 0)
		return gt_cli_usage(cli, "--tail %s: write a number up to 1000", tail);
	list = gt_asprintf("/v1/functions/%s/autoscaler/decisions?limit=1000&tail=%llu", name,
			   (unsigned long long)n_tail);
	if (cli->json)
		return gt_cli_list(cli, list, print_decision, &n);
	path = gt_asprintf("/v1/functions/%s", name);
	code = gt_cli_get(cli, path, &text, &f);
	if (code != GT_EXIT_DONE)
		return code;
	fprintf(cli->out, "%s is %s, %u ready, %u wanted: ", name, gt_value_str(f, "state", "?"),
		(unsigned)gt_value_u64(f, "replicas.ready", 0),
		(unsigned)gt_value_u64(f, "wanted", 0));
	gt_text_print(cli->out, gt_value_str(f, "why", ""));
	fputc('\n', cli->out);
	code = gt_cli_list(cli, list, print_decision, &n);
	if (code == GT_EXIT_DONE && n == 0)
		fputs("no decision is kept: it was not called since control started\n", cli->out);
	return code;
}

static const struct gt_flag flags[] = {
	{ "tail", 'n', "N", "the last N decisions (default 20)", false },
};

const struct gt_command gt_cmd_explain = {
	.name = "explain",
	.args = "NAME [--tail N]",
	.summary = "show why a function has its replicas",
	.help = "Shows the last decisions about a function, oldest first: how many replicas by "
		"which "
		"rule,\n"
		"in brackets what every rule asked for; where each new replica went, in brackets "
		"its score\n"
		"there, the nodes that were next and how many could not take it; and what stood in "
		"the way.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 1,
	.run = run,
};
