/* simulate_scale.c - `gantry simulate scale`. */
#include "simulate.h"

#include <gantry/sim/scale.h>
#include <gantry/wire/json.h>

#include "table.h"

#define POINTS 1000 /* of the plot */

struct scale {
	struct gt_cli *cli;
	const char *workload, *cold, *svg;
	struct gt_sim_scale run;
	struct gt_sim_load load;
	struct gt_sim_cold starts;
};

static void progress(double part, void *arg)
{
	gt_progress(arg, "%.0f %% of the calls", part * 100);
}

/* Like gt_simulate_double, and 0 is one, too. */
static bool seconds_read(struct gt_cli *cli, const char *flag, double def, double *ret)
{
	const char *text = gt_args_get(&cli->args, flag);

	*ret = def;
	if (!text || gt_streq(text, "0")) {
		*ret = text ? 0 : def;
		return true;
	}
	return gt_simulate_double(cli, flag, def, GT_SIM_SECONDS_MAX, ret);
}

static bool flags_read(struct scale *x)
{
	struct gt_cli *cli = x->cli;
	struct gt_err err = { 0 };
	uint64_t slots;

	x->workload = gt_args_get(&cli->args, "workload");
	x->cold = gt_args_get(&cli->args, "cold");
	x->svg = gt_args_get(&cli->args, "svg");
	x->run.policy = gt_args_get(&cli->args, "policy");
	if (!x->run.policy)
		x->run.policy = "gantry";
	if (!x->workload || !x->cold) {
		gt_cli_usage(cli,
			     "simulate scale needs --workload FILE and --cold FILE or SECONDS");
		return false;
	}
	if (gt_sim_policy_check(x->run.policy, &err) < 0) {
		gt_cli_usage(cli, "--policy: %s", err.text);
		return false;
	}
	if (!gt_simulate_u64(cli, "slots", 1, 1, GT_SIM_SLOTS_MAX, &slots) ||
	    !seconds_read(cli, "slo", 2, &x->run.slo_s) ||
	    !seconds_read(cli, "skip", 0, &x->run.skip_s) ||
	    !seconds_read(cli, "price", 20, &x->run.price) ||
	    !gt_simulate_double(cli, "cold-factor", 1, 1000, &x->starts.factor))
		return false;
	x->run.slots = (uint32_t)slots;
	return true;
}

static void print_json(const struct scale *x, const struct gt_sim_result *r)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &b);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "policy", x->run.policy);
	gt_simulate_json_fixed(&j, "gpu_hours", r->gpu_hours);
	gt_simulate_json_fixed(&j, "mean_delay_s", r->mean_delay_s);
	gt_simulate_json_fixed(&j, "p50_delay_s", r->p50_delay_s);
	gt_simulate_json_fixed(&j, "p90_delay_s", r->p90_delay_s);
	gt_simulate_json_fixed(&j, "p99_delay_s", r->p99_delay_s);
	gt_simulate_json_fixed(&j, "max_delay_s", r->max_delay_s);
	gt_simulate_json_fixed(&j, "slo", r->slo);
	gt_simulate_json_fixed(&j, "cold_fraction", r->cold_fraction);
	gt_json_u64(&j, "starts", r->starts);
	gt_simulate_json_fixed(&j, "waste", r->waste);
	gt_simulate_json_fixed(&j, "j20", r->j20);
	gt_simulate_json_fixed(&j, "clairvoyant_gpu_hours", r->clairvoyant_hours);
	gt_simulate_json_fixed(&j, "zero_cost_gpu_hours", r->zero_hours);
	gt_json_u64(&j, "functions", x->load.n_functions);
	gt_json_u64(&j, "calls", r->calls);
	gt_json_u64(&j, "counted", r->counted);
	gt_json_u64(&j, "slots", x->run.slots);
	gt_simulate_json_fixed(&j, "slo_s", x->run.slo_s);
	gt_simulate_json_fixed(&j, "skip_s", x->run.skip_s);
	gt_simulate_json_fixed(&j, "price", x->run.price);
	gt_simulate_json_fixed(&j, "cold_factor", x->starts.factor);
	gt_simulate_json_hash(&j, "workload_hash", x->load.hash);
	gt_simulate_json_hash(&j, "cold_hash", x->starts.hash);
	if (x->run.clock)
		gt_simulate_json_fixed(&j, "decision_us",
				       r->decide_s * 1e6 / (2 * (double)r->calls));
	gt_json_close(&j, '}');
	fprintf(x->cli->out, "%s\n", gt_buf_str(&b));
}

static void print_text(const struct scale *x, const struct gt_sim_result *r)
{
	FILE *out = x->cli->out;

	gt_text_print(out, x->workload);
	fprintf(out, ": %zu functions, %llu calls, hash %016llx\n", x->load.n_functions,
		(unsigned long long)r->calls, (unsigned long long)x->load.hash);
	fprintf(out, "policy %s, slots %u, price %g, SLO %g s, counted from %g s on, cold starts ",
		x->run.policy, x->run.slots, x->run.price, x->run.slo_s, x->run.skip_s);
	gt_text_print(out, x->cold);
	fprintf(out, " x %g, hash %016llx\n\n", x->starts.factor,
		(unsigned long long)x->starts.hash);
	fprintf(out, "GPU-hours           %10.2f   of them without a call %.1f %%\n", r->gpu_hours,
		r->waste * 100);
	fprintf(out, "bounds              %10.2f   every gap known; %.2f if starts were free\n",
		r->clairvoyant_hours, r->zero_hours);
	fprintf(out, "wait, mean          %10.3f s p50 %.2f, p90 %.2f, p99 %.2f, most %.2f\n",
		r->mean_delay_s, r->p50_delay_s, r->p90_delay_s, r->p99_delay_s, r->max_delay_s);
	fprintf(out, "within the SLO      %10.2f %%\n", r->slo * 100);
	fprintf(out, "met a cold replica  %10.2f %% of %llu calls; %llu starts\n",
		r->cold_fraction * 100, (unsigned long long)r->counted,
		(unsigned long long)r->starts);
	fprintf(out, "J20                 %10.2f   GPU-hours + 20 x hours of waiting\n", r->j20);
	if (x->run.clock)
		fprintf(out, "a decision          %10.2f us a call that came or ended\n",
			r->decide_s * 1e6 / (2 * (double)r->calls));
}

static enum gt_exit svg_write(struct scale *x)
{
	gt_auto(buf) struct gt_buf b = { 0 };

	gt_sim_scale_svg(&x->run, &b);
	return gt_simulate_svg_write(x->cli, x->svg, &b);
}

static void points_spread(struct scale *x)
{
	const struct gt_sim_call *last = &x->load.calls[x->load.n_calls - 1];
	double end_s = (double)last->arrival_ns / 1e9;

	x->run.n_points = POINTS;
	x->run.points = gt_alloc_array(POINTS, sizeof(*x->run.points));
	for (size_t i = 0; i < POINTS; i++)
		x->run.points[i].t_s = end_s * (double)(i + 1) / POINTS;
}

enum gt_exit gt_simulate_scale(struct gt_cli *cli)
{
	struct scale x = { .cli = cli, .run = { .progress = progress, .arg = cli } };
	gt_auto(sim_load) struct gt_sim_load load = { 0 };
	gt_auto(sim_cold) struct gt_sim_cold cold = { 0 };
	gt_auto(free) struct gt_sim_point *points = NULL;
	struct gt_sim_result result;
	struct gt_err err = { 0 };

	if (!flags_read(&x))
		return GT_EXIT_USAGE;
	if (gt_sim_cold_read(x.cold, &cold, &err) < 0 ||
	    gt_sim_load_read(x.workload, &load, &err) < 0)
		return gt_cli_fail(cli, &err);
	cold.factor = x.starts.factor;
	x.starts = cold;
	x.load = load;
	if (gt_args_has(&cli->args, "time"))
		x.run.clock = &gt_clock_system;
	if (x.svg) {
		points_spread(&x);
		points = x.run.points;
	}
	if (gt_sim_scale_run(&x.run, &load, &cold, &result, &err) < 0)
		return gt_cli_fail(cli, &err);
	gt_progress_clear(cli);
	if (x.svg && svg_write(&x) != GT_EXIT_DONE)
		return GT_EXIT_FAILED;
	if (cli->json)
		print_json(&x, &result);
	else
		print_text(&x, &result);
	return GT_EXIT_DONE;
}
