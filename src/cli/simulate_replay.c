/* simulate_replay.c - `gantry simulate replay`. */
#include "simulate.h"

#include <gantry/sim/replay.h>
#include <gantry/wire/json.h>

#include "table.h"

static void progress(uint64_t rows, void *arg)
{
	gt_progress(arg, "%llu decisions", (unsigned long long)rows);
}

static void json_bill(struct gt_json *j, const char *name, const struct gt_scale_bill *b)
{
	gt_json_object(j, name);
	gt_json_num(j, "replica_seconds", b->replica_s);
	gt_json_num(j, "waiting_seconds", b->waiting_s);
	gt_json_u64(j, "starts", b->starts);
	gt_json_close(j, '}');
}

static void print_json(struct gt_cli *cli, const struct gt_replay *r, const char *candidate)
{
	gt_auto(buf) struct gt_buf b = { 0 };
	struct gt_json j;

	gt_json_begin(&j, &b);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "decisions", r->decisions);
	gt_json_u64(&j, "functions", r->functions);
	gt_json_u64(&j, "differing", r->differing);
	if (r->differing)
		gt_json_str(&j, "first", r->first);
	if (candidate) {
		gt_json_str(&j, "candidate", candidate);
		json_bill(&j, "live", &r->live);
		json_bill(&j, "shadow", &r->candidate);
	}
	gt_simulate_json_hash(&j, "record_hash", r->hash);
	gt_json_close(&j, '}');
	gt_cli_print_json(cli, &b);
}

static void print_bill(FILE *out, const char *name, const struct gt_scale_bill *b)
{
	fprintf(out, "%-9s %.2f replica-hours, calls waited %.1f s, %llu starts\n", name,
		b->replica_s / 3600, b->waiting_s, (unsigned long long)b->starts);
}

static void print_text(struct gt_cli *cli, const char *file, const struct gt_replay *r,
		       const char *candidate)
{
	gt_text_print(cli->out, file);
	fprintf(cli->out, ": %llu decisions about %llu functions, hash %016llx\n",
		(unsigned long long)r->decisions, (unsigned long long)r->functions,
		(unsigned long long)r->hash);
	if (r->differing == 0)
		fputs("every decision is the same\n", cli->out);
	else
		fprintf(cli->out, "%llu decisions differ; the first at %s\n",
			(unsigned long long)r->differing, r->first);
	if (!candidate)
		return;
	print_bill(cli->out, "live", &r->live);
	print_bill(cli->out, "candidate", &r->candidate);
}

enum gt_exit gt_simulate_replay(struct gt_cli *cli)
{
	const char *file = gt_args_get(&cli->args, "record");
	const char *candidate = gt_args_get(&cli->args, "candidate");
	struct gt_scale_candidate policy = { 0 };
	struct gt_replay r;
	struct gt_err err = { 0 };

	if (!file)
		return gt_cli_usage(cli, "simulate replay needs --record FILE");
	if (candidate && gt_scale_candidate_parse(candidate, &policy, &err) < 0)
		return gt_cli_usage(cli, "--candidate: %s", err.text);
	int rc = gt_replay_run(file, gt_args_get(&cli->args, "learned"), &policy,
			       gt_progress_wanted(cli) ? progress : NULL, cli, &r, &err);

	gt_progress_clear(cli);
	if (rc < 0)
		return gt_cli_fail(cli, &err);
	if (cli->json)
		print_json(cli, &r, candidate);
	else
		print_text(cli, file, &r, candidate);
	return r.differing ? GT_EXIT_FAILED : GT_EXIT_DONE;
}
