/* simulate_place.c - `gantry simulate place`. */
#include "simulate.h"

#include <gantry/sim/place.h>
#include <gantry/wire/json.h>

#include "table.h"

#define REPEAT_MAX    1000
#define QUIET_NS      (2 * GT_NS_PER_S) /* a run that is over by then needs no progress */
#define SHOWN_PERCENT 10                /* steps of the allocation in JSON */
#define FULL_PERCENT  100

struct place {
	struct gt_cli *cli;
	struct gt_sim_place p;
	const char *nodes, *pods;
	uint64_t repeat, run;
	uint64_t begin_ns;
	struct gt_sim_facts facts;
	double sum;
	struct gt_table *table;
};

static bool progress(void *arg, uint64_t done, uint64_t all)
{
	struct place *x = arg;

	if (gt_mono_ns(&gt_clock_system) - x->begin_ns >= QUIET_NS)
		gt_progress(x->cli, "run %llu of %llu: %llu %%", (unsigned long long)x->run + 1,
			    (unsigned long long)x->repeat, (unsigned long long)(done * 100 / all));
	return true;
}

static bool flags_read(struct place *x)
{
	struct gt_cli *cli = x->cli;
	uint64_t copies;

	x->nodes = gt_args_get(&cli->args, "nodes");
	x->pods = gt_args_get(&cli->args, "pods");
	x->p.policy = gt_args_get(&cli->args, "policy");
	if (!x->p.policy)
		x->p.policy = gt_sim_place_policies[0];
	if (!x->nodes || !x->pods) {
		gt_cli_usage(cli, "simulate place needs --nodes FILE and --pods FILE");
		return false;
	}
	if (!gt_sim_place_policy_ok(x->p.policy)) {
		gt_cli_usage(cli,
			     "--policy: \"%s\" is none of gantry, fgd+, fgd, bestfit, dotprod, "
			     "packing, clustering, random",
			     x->p.policy);
		return false;
	}
	if (!gt_simulate_double(cli, "inflate", 1.3, GT_SIM_INFLATE_MAX, &x->p.inflate) ||
	    !gt_simulate_u64(cli, "seed", 42, 0, INT64_MAX, &x->p.seed) ||
	    !gt_simulate_u64(cli, "repeat", 1, 1, REPEAT_MAX, &x->repeat) ||
	    !gt_simulate_u64(cli, "copies", 1, 1, 10000, &copies) ||
	    !gt_simulate_u64(cli, "churn", 0, 0, GT_SIM_TASKS_MAX, &x->p.churn))
		return false;
	x->p.copies = (uint32_t)copies;
	return true;
}

/* ---- as JSON ---- */
static void print_json(struct place *x, const struct gt_sim_placed *out)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &b);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "policy", x->p.policy);
	gt_json_u64(&j, "seed", x->p.seed);
	gt_json_object(&j, "allocation");
	for (int k = SHOWN_PERCENT; k < GT_SIM_PERCENTS; k += SHOWN_PERCENT) {
		char name[8];

		snprintf(name, sizeof(name), "%d", k);
		if (out->allocation[k] >= 0)
			gt_json_num(&j, name, out->allocation[k]);
	}
	gt_json_close(&j, '}');
	gt_json_u64(&j, "tasks", out->tasks);
	gt_json_u64(&j, "failed", out->failed);
	gt_simulate_json_hash(&j, "placements_hash", out->hash);
	gt_json_u64(&j, "nodes", x->facts.nodes * x->p.copies);
	gt_json_u64(&j, "gpus", x->facts.gpus * x->p.copies);
	gt_json_num(&j, "inflate", x->p.inflate);
	gt_json_u64(&j, "copies", x->p.copies);
	gt_json_u64(&j, "churn", x->p.churn);
	gt_simulate_json_hash(&j, "nodes_hash", x->facts.nodes_hash);
	gt_simulate_json_hash(&j, "pods_hash", x->facts.pods_hash);
	gt_json_num(&j, "decisions_per_s", out->per_s);
	gt_json_num(&j, "p50_us", out->p50_us);
	gt_json_num(&j, "p99_us", out->p99_us);
	gt_json_num(&j, "p999_us", out->p999_us);
	gt_json_close(&j, '}');
	fprintf(x->cli->out, "%s\n", gt_buf_str(&b));
}

/* ---- for people ---- */
static void print_head(struct place *x)
{
	gt_text_print(x->cli->out, x->nodes);
	fprintf(x->cli->out, ": %llu nodes, %llu GPUs, hash %016llx\n",
		(unsigned long long)x->facts.nodes, (unsigned long long)x->facts.gpus,
		(unsigned long long)x->facts.nodes_hash);
	gt_text_print(x->cli->out, x->pods);
	fprintf(x->cli->out, ": %llu tasks, %llu different ones, hash %016llx\n",
		(unsigned long long)x->facts.tasks, (unsigned long long)x->facts.shapes,
		(unsigned long long)x->facts.pods_hash);
	fprintf(x->cli->out,
		"policy %s, inflate %g, copies %u, churn %llu, seed %llu, %llu runs\n\n",
		x->p.policy, x->p.inflate, x->p.copies, (unsigned long long)x->p.churn,
		(unsigned long long)x->p.seed, (unsigned long long)x->repeat);
}

static void percent_cell(struct gt_table *t, double percent)
{
	if (percent >= 0)
		gt_table_cellf(t, "%.2f", percent);
	else
		gt_table_cell(t, "");
}

static void table_add(struct place *x, const struct gt_sim_placed *out)
{
	gt_table_cellf(x->table, "%llu", (unsigned long long)x->p.seed);
	percent_cell(x->table, out->allocation[50]);
	percent_cell(x->table, out->allocation[FULL_PERCENT]);
	percent_cell(x->table, out->allocation[GT_SIM_PERCENTS - 1]);
	gt_table_cellf(x->table, "%llu", (unsigned long long)out->failed);
	gt_table_cellf(x->table, "%.0f", out->per_s);
	gt_table_cellf(x->table, "%.2f", out->p50_us);
	gt_table_cellf(x->table, "%.2f", out->p99_us);
	gt_table_cellf(x->table, "%.2f", out->p999_us);
	x->sum += out->allocation[FULL_PERCENT];
}

static enum gt_exit runs(struct place *x, const struct gt_sim_cluster *c)
{
	struct gt_err err = { 0 };

	for (x->run = 0; x->run < x->repeat; x->run++, x->p.seed++) {
		struct gt_sim_placed out;

		if (gt_sim_place_run(c, &x->p, &out, &err) < 0)
			return gt_cli_fail(x->cli, &err);
		gt_progress_clear(x->cli);
		if (x->cli->json)
			print_json(x, &out);
		else
			table_add(x, &out);
		fflush(x->cli->out);
	}
	return GT_EXIT_DONE;
}

enum gt_exit gt_simulate_place(struct gt_cli *cli)
{
	static const char *const headers[] = { ">SEED",    ">AT 50%", ">AT 100%",
					       ">AT 130%", ">FAILED", ">DECISIONS/S",
					       ">P50 US",  ">P99 US", ">P99.9 US" };
	gt_auto(sim_cluster) struct gt_sim_cluster *c = NULL;
	gt_auto(table) struct gt_table *table = gt_table_new(headers, GT_LEN(headers));
	struct place x = { .cli = cli,
			   .p = { .clock = gt_clock_system, .progress = progress },
			   .begin_ns = gt_mono_ns(&gt_clock_system),
			   .table = table };
	struct gt_err err = { 0 };
	enum gt_exit code;

	x.p.arg = &x;
	if (!flags_read(&x))
		return GT_EXIT_USAGE;
	if (gt_sim_cluster_read(x.nodes, x.pods, &c, &err) < 0)
		return gt_cli_fail(cli, &err);
	x.facts = gt_sim_cluster_facts(c);
	if (!cli->json)
		print_head(&x);
	code = runs(&x, c);
	if (cli->json || code != GT_EXIT_DONE)
		return code;
	gt_table_print(table, cli->out, cli->color);
	if (!x.p.churn && x.sum > 0)
		fprintf(cli->out, "\nmean at 100%%: %.2f %% of the GPUs\n",
			x.sum / (double)x.repeat);
	return code;
}
