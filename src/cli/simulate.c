/* simulate.c - the daemon's decisions over recorded loads, without a daemon. */
#include "simulate.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/wire/json.h>

#include "commands.h"

static const struct {
	const char *name;
	enum gt_exit (*run)(struct gt_cli *cli);
} kinds[] = { { "place", gt_simulate_place },
	      { "scale", gt_simulate_scale },
	      { "cluster", gt_simulate_cluster },
	      { "replay", gt_simulate_replay } };

bool gt_simulate_u64(struct gt_cli *cli, const char *flag, uint64_t def, uint64_t least,
		     uint64_t most, uint64_t *ret)
{
	const char *text = gt_args_get(&cli->args, flag);

	*ret = def;
	if (!text)
		return true;
	if (gt_parse_u64(text, most, ret) == 0 && *ret >= least)
		return true;
	gt_cli_usage(cli, "--%s: \"%s\" is no number from %llu to %llu", flag, text,
		     (unsigned long long)least, (unsigned long long)most);
	return false;
}

bool gt_simulate_double(struct gt_cli *cli, const char *flag, double def, double most, double *ret)
{
	const char *text = gt_args_get(&cli->args, flag);
	char *end = NULL;

	*ret = def;
	if (!text)
		return true;
	if (*text && strspn(text, "0123456789.") == strlen(text))
		*ret = strtod(text, &end);
	if (end && *end == '\0' && *ret > 0 && *ret <= most)
		return true;
	gt_cli_usage(cli, "--%s: \"%s\" is no number above 0 and up to %g", flag, text, most);
	return false;
}

void gt_simulate_json_fixed(struct gt_json *j, const char *name, double value)
{
	gt_json_num(j, name, round(value * 1e6) / 1e6);
}

void gt_simulate_json_hash(struct gt_json *j, const char *name, uint64_t hash)
{
	char text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
	gt_json_str(j, name, text);
}

enum gt_exit gt_simulate_svg_write(struct gt_cli *cli, const char *file, const struct gt_buf *svg)
{
	FILE *f = fopen(file, "we");
	struct gt_err err = { 0 };
	bool bad = !f || fwrite(svg->data, 1, svg->len, f) != svg->len;

	if ((f && fclose(f) != 0) || bad) {
		gt_err_errno(&err, errno, "--svg: %s", file);
		return gt_cli_fail(cli, &err);
	}
	return GT_EXIT_DONE;
}

static enum gt_exit run(struct gt_cli *cli)
{
	const char *kind = cli->args.operands[0];

	for (size_t i = 0; i < GT_LEN(kinds); i++)
		if (strcmp(kind, kinds[i].name) == 0)
			return kinds[i].run(cli);
	return gt_cli_usage(cli, "gantry simulate: \"%s\" is none of place, scale, cluster, replay",
			    kind);
}

static const struct gt_flag flags[] = {
	{ "nodes", 0, "FILE|N", "place: the cluster's nodes, CSV or gzip; cluster: how many",
	  false },
	{ "pods", 0, "FILE", "place: the list of tasks, CSV or gzip", false },
	{ "policy", 0, "NAME", "gantry (default), or one to compare with", false },
	{ "inflate", 0, "X", "place: ask for X times the cluster's GPUs (default 1.3)", false },
	{ "seed", 0, "N", "of the first run (default 42)", false },
	{ "gpus", 0, "N", "cluster: of a node (default 8); a replica has one", false },
	{ "gateways", 0, "N", "cluster: how many (default 2)", false },
	{ "hours", 0, "X", "cluster: simulated time (default: to the last call)", false },
	{ "min", 0, "N", "cluster: replicas of each function at least (default 0)", false },
	{ "max", 0, "N", "cluster: and at most (default 1000)", false },
	{ "idle", 0, "S", "cluster: seconds that an idle replica is kept (default 60)", false },
	{ "fail", 0, "KIND=X", "cluster: starts=, crashes=, nodes= ...: how often", true },
	{ "repeat", 0, "N", "runs, each with the next seed (default 1)", false },
	{ "copies", 0, "N", "place: that many times the cluster and the tasks (default 1)", false },
	{ "churn", 0, "N", "place: fill to 85 to 88 %, then N times end one task, start one",
	  false },
	{ "workload", 0, "FILE", "scale, cluster: calls, CSV: function, arrival_s, service_s",
	  false },
	{ "cold", 0, "FILE|S", "scale, cluster: how long starts take: measured ones, or seconds",
	  false },
	{ "cold-factor", 0, "X", "scale: starts take X times as long (default 1)", false },
	{ "slots", 0, "N", "scale, cluster: calls that a replica serves at once (default 1)",
	  false },
	{ "slo", 0, "S", "scale: the wait that is still good (default 2)", false },
	{ "skip", 0, "S", "scale: calls of the first S seconds are not counted (default 0)",
	  false },
	{ "price", 0, "X", "scale: delay_price of the policy gantry (default 20)", false },
	{ "svg", 0, "FILE", "scale, cluster: write a picture of the run", false },
	{ "record", 0, "FILE", "replay: decisions.csv of a daemon, CSV or gzip", false },
	{ "learned", 0, "FILE", "replay: what had been learned before: decisions.learned beside it",
	  false },
	{ "candidate", 0, "TEXT", "replay: a policy to bill: kpa, \"gantry price=50\"", false },
	{ "time", 0, NULL, "scale: also measure how long decisions take", false },
};

const struct gt_command gt_cmd_simulate = {
	.name = "simulate",
	.args = "place|scale|cluster|replay [FLAGS]",
	.summary = "the daemon's decisions over recorded loads",
	.help = "No daemon is needed. Files may be gzip. The same files, flags and "
		"seed give the same output,\n"
		"byte for byte, but for measured times. With --json each run is one "
		"object on a line of its own.\n"
		"\n"
		"place runs tasks through the scheduler: how much of the GPUs is given "
		"away when so much was\n"
		"asked for. Policies: gantry (or fgd+), fgd, bestfit, dotprod, "
		"packing, clustering, random.\n"
		"scale runs recorded calls through the autoscaler: what replicas cost, "
		"how long calls waited.\n"
		"Policies: gantry, kpa, fixed:SECONDS, hist, ray, keda.\n"
		"replay decides a recorded run of a daemon once more; it fails when a "
		"decision differs.\n"
		"\n"
		"cluster runs recorded calls through a whole simulated cluster, the daemon's "
		"control included.\n"
		"A node has --gpus GPUs, a replica one. --fail: starts= (part of them), crashes= "
		"(replica and hour),\n"
		"nodes=, partitions=, agents= (node and day), control= (day).\n"
		"\n"
		"  gantry simulate place --nodes nodes.csv.gz --pods pods.csv.gz "
		"--repeat 10\n"
		"  gantry simulate scale --workload calls.csv.gz --cold 25 --slots 8\n"
		"  gantry simulate cluster --nodes 100 --workload calls.csv.gz --cold 5 --svg "
		"run.svg\n"
		"  gantry simulate replay --record decisions.csv --candidate kpa",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 1,
	.run = run,
};
