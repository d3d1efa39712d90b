/* simulate_cluster.c - `gantry simulate cluster`. */
#include "simulate.h"

#include <gantry/sim/capacity.h>
#include <gantry/wire/json.h>

#include <string.h>

#include "table.h"

struct cluster {
	struct gt_cli *cli;
	const char *svg;
	struct gt_capacity run;
	struct gt_capacity_result r;
};

static void progress(double part, void *arg)
{
	gt_progress(arg, "%.0f %% of the time", part * 100);
}

static bool u32_read(struct gt_cli *cli, const char *flag, uint64_t def, uint64_t least,
		     uint64_t most, uint32_t *ret)
{
	uint64_t value;

	if (!gt_simulate_u64(cli, flag, def, least, most, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool faults_read(struct cluster *x)
{
	struct gt_err err = { 0 };
	const char *text;

	for (size_t i = 0; (text = gt_args_nth(&x->cli->args, "fail", i)); i++) {
		if (gt_capacity_fault_read(&x->run.faults, text, &err) == 0)
			continue;
		gt_cli_usage(x->cli, "--fail: %s", err.text);
		return false;
	}
	return true;
}

static bool flags_read(struct cluster *x)
{
	struct gt_cli *cli = x->cli;
	struct gt_capacity *run = &x->run;

	run->workload = gt_args_get(&cli->args, "workload");
	run->cold = gt_args_get(&cli->args, "cold");
	x->svg = gt_args_get(&cli->args, "svg");
	if (!run->workload || !gt_args_has(&cli->args, "nodes")) {
		gt_cli_usage(cli, "simulate cluster needs --nodes N and --workload FILE");
		return false;
	}
	run->queue = GT_DEFAULT_QUEUE;
	run->wait_ms = GT_DEFAULT_WAIT_MS;
	if (gt_args_has(&cli->args, "hours") &&
	    !gt_simulate_double(cli, "hours", 0, GT_CAPACITY_HOURS_MAX, &run->hours))
		return false;
	return u32_read(cli, "nodes", 0, 1, GT_CAPACITY_NODES_MAX, &run->nodes) &&
	       u32_read(cli, "gpus", 8, 0, 16, &run->gpus) &&
	       u32_read(cli, "gateways", 2, 1, 64, &run->gateways) &&
	       u32_read(cli, "slots", 1, 1, 1000, &run->concurrency) &&
	       u32_read(cli, "min", 0, 0, GT_REPLICAS_MAX, &run->min) &&
	       u32_read(cli, "max", GT_REPLICAS_MAX, GT_MAX(run->min, 1U), GT_REPLICAS_MAX,
			&run->max) &&
	       u32_read(cli, "idle", GT_DEFAULT_IDLE_MS / 1000, 0, 86400, &run->idle_ms) &&
	       gt_simulate_u64(cli, "seed", 42, 0, INT64_MAX, &run->seed) && faults_read(x);
}

static void json_parameters(const struct cluster *x, struct gt_json *j)
{
	const struct gt_capacity *run = &x->run;

	gt_json_object(j, "parameters");
	gt_json_str(j, "workload", run->workload);
	gt_json_u64(j, "nodes", run->nodes);
	gt_json_u64(j, "gpus", run->gpus);
	gt_json_u64(j, "gateways", run->gateways);
	gt_json_u64(j, "slots", run->concurrency);
	gt_json_u64(j, "min", run->min);
	gt_json_u64(j, "max", run->max);
	gt_json_u64(j, "idle_s", run->idle_ms / 1000);
	gt_json_str(j, "cold", run->cold ? run->cold : "2");
	gt_json_object(j, "fail");
	gt_simulate_json_fixed(j, "starts", run->faults.starts);
	gt_simulate_json_fixed(j, "crashes", run->faults.crashes);
	gt_simulate_json_fixed(j, "nodes", run->faults.nodes);
	gt_simulate_json_fixed(j, "partitions", run->faults.partitions);
	gt_simulate_json_fixed(j, "agents", run->faults.agents);
	gt_simulate_json_fixed(j, "control", run->faults.control);
	gt_json_close(j, '}');
	gt_json_close(j, '}');
}

static void json_points(const struct cluster *x, struct gt_json *j)
{
	double gpus = (double)x->run.nodes * x->run.gpus;

	gt_json_array(j, "utilisation");
	for (size_t i = 0; i < x->r.n_points; i++) {
		const struct gt_capacity_point *p = &x->r.points[i];

		gt_json_object(j, NULL);
		gt_simulate_json_fixed(j, "t_s", p->t_s);
		gt_json_u64(j, "replicas", p->replicas);
		gt_json_u64(j, "ready", p->ready);
		gt_json_u64(j, "busy", p->busy);
		gt_json_u64(j, "waiting", p->waiting);
		gt_json_u64(j, "nodes_up", p->nodes_up);
		gt_simulate_json_fixed(j, "gpus", gpus > 0 ? p->gpus / gpus : 0);
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
}

static void json_counts(const struct cluster *x, struct gt_json *j)
{
	const struct gt_world_stats *s = &x->r.stats;

	gt_json_u64(j, "functions", x->r.functions);
	gt_json_u64(j, "calls", x->r.calls);
	gt_json_u64(j, "served", s->calls.served);
	gt_json_u64(j, "refused", s->calls.refused);
	gt_json_u64(j, "lost", s->calls.lost);
	gt_json_u64(j, "unfinished", s->calls.waiting + s->calls.running);
	gt_json_u64(j, "starts", s->starts);
	gt_json_u64(j, "failed_starts", s->failed_starts);
	gt_json_u64(j, "crashes", s->crashes);
	gt_json_u64(j, "lost_nodes", s->nodes_lost);
	gt_json_u64(j, "control_starts", s->control_starts);
	gt_json_u64(j, "peak_replicas", s->peak_held);
	gt_json_u64(j, "decisions", s->decisions);
	gt_json_u64(j, "steps", s->steps);
	gt_json_u64(j, "invariants_checked", s->checks);
}

static void print_json(const struct cluster *x)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	const struct gt_capacity_result *r = &x->r;
	struct gt_json j;

	gt_json_begin(&j, &b);
	gt_json_object(&j, NULL);
	gt_json_bool(&j, "simulated", true);
	json_parameters(x, &j);
	gt_json_u64(&j, "seed", x->run.seed);
	gt_simulate_json_hash(&j, "workload_hash", r->input_hash);
	gt_simulate_json_hash(&j, "trace_hash", r->world_hash);
	gt_simulate_json_fixed(&j, "hours", r->hours);
	json_counts(x, &j);
	gt_simulate_json_fixed(&j, "mean_wait_s", r->mean_wait_s);
	gt_simulate_json_fixed(&j, "p50_wait_s", r->p50_wait_s);
	gt_simulate_json_fixed(&j, "p99_wait_s", r->p99_wait_s);
	gt_simulate_json_fixed(&j, "max_wait_s", r->max_wait_s);
	gt_simulate_json_fixed(&j, "cold_fraction",
			       (double)r->stats.cold / (double)GT_MAX(r->stats.calls.served, 1ULL));
	gt_simulate_json_fixed(&j, "gpu_hours", r->gpu_hours);
	gt_simulate_json_fixed(&j, "busy_hours", r->busy_hours);
	gt_json_str(&j, "broken", r->broken.rule[0] ? r->broken.text : NULL);
	json_points(x, &j);
	gt_json_close(&j, '}');
	fprintf(x->cli->out, "%s\n", gt_buf_str(&b));
}

static void print_text(const struct cluster *x)
{
	const struct gt_capacity_result *r = &x->r;
	const struct gt_world_stats *s = &r->stats;
	FILE *out = x->cli->out;
	double gpus = (double)x->run.nodes * x->run.gpus;

	gt_text_print(out, x->run.workload);
	fprintf(out, ": %llu functions, %llu calls, hash %016llx\n",
		(unsigned long long)r->functions, (unsigned long long)r->calls,
		(unsigned long long)r->input_hash);
	fprintf(out, "%u simulated nodes of %u GPUs, %u gateways, %.2f hours, seed %llu\n\n",
		x->run.nodes, x->run.gpus, x->run.gateways, r->hours,
		(unsigned long long)x->run.seed);
	fprintf(out, "served              %12llu   refused %llu, lost %llu, not finished %llu\n",
		(unsigned long long)s->calls.served, (unsigned long long)s->calls.refused,
		(unsigned long long)s->calls.lost,
		(unsigned long long)(s->calls.waiting + s->calls.running));
	fprintf(out, "wait, mean          %12.3f s p50 %.3f, p99 %.3f, most %.3f\n", r->mean_wait_s,
		r->p50_wait_s, r->p99_wait_s, r->max_wait_s);
	fprintf(out, "met a cold replica  %12.2f %%\n",
		100 * (double)s->cold / (double)GT_MAX(s->calls.served, 1ULL));
	fprintf(out, "GPU-hours           %12.2f   %.1f %% of the cluster; with a call %.2f\n",
		r->gpu_hours, gpus > 0 ? 100 * r->gpu_hours / (gpus * r->hours) : 0, r->busy_hours);
	fprintf(out, "starts              %12llu   failed %llu, crashes later %llu; at most %u\n",
		(unsigned long long)s->starts, (unsigned long long)s->failed_starts,
		(unsigned long long)s->crashes, s->peak_held);
	fprintf(out, "lost nodes          %12llu   starts of control %llu\n",
		(unsigned long long)s->nodes_lost, (unsigned long long)s->control_starts);
	fprintf(out, "decisions           %12llu   invariants checked %llu\n",
		(unsigned long long)s->decisions, (unsigned long long)s->checks);
}

static enum gt_exit svg_write(struct cluster *x)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	gt_capacity_svg(&x->run, &x->r, &b);
	return gt_simulate_svg_write(x->cli, x->svg, &b);
}

enum gt_exit gt_simulate_cluster(struct gt_cli *cli)
{
	struct cluster x = { .cli = cli, .run = { .progress = progress, .arg = cli } };
	struct gt_err err = { 0 };

	if (!flags_read(&x))
		return GT_EXIT_USAGE;
	x.run.idle_ms *= 1000;
	int r = gt_capacity_run(&x.run, &x.r, &err);

	gt_progress_clear(cli);
	if (r < 0)
		return gt_cli_fail(cli, &err);
	if (cli->json)
		print_json(&x);
	else
		print_text(&x);
	if (x.r.broken.rule[0]) {
		fprintf(cli->err, "gantry: a rule broke, which is a bug: %s: %s (seed %llu)\n",
			x.r.broken.rule, x.r.broken.text, (unsigned long long)x.run.seed);
		return GT_EXIT_FAILED;
	}
	return x.svg ? svg_write(&x) : GT_EXIT_DONE;
}
