#include "commands.h"
#include "deploy_spec.h"
#include "pull.h"
#include "rest.h"
#include "table.h"

#include <string.h>
#include <time.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>
#include <gantry/model/spec.h>

#define WAIT_DEFAULT_MS (10 * 60 * 1000)
#define POLL_MS         150

struct deploy {
	struct gt_cli *cli;
	char *name;
	const char *file;    /* NULL = flags only */
	struct gt_buf body;  /* the specification */
	uint64_t timeout_ms; /* of --wait */
	uint64_t revision;   /* that the daemon gave */
	struct gt_value *fn; /* newest view of the function */
};

static int read_file(const char *path, struct gt_buf *out, struct gt_err *err)
{
	gt_auto(file) FILE *own = NULL;
	FILE *f = stdin;
	char part[8192];
	size_t n;

	if (strcmp(path, "-") != 0) {
		own = fopen(path, "re");
		if (!own)
			return gt_err_set(err, errno, "usage", "%s: %s", path, strerror(errno));
		f = own;
	}
	gt_buf_init(out, GT_SPEC_BYTES_MAX);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		if (gt_buf_add(out, part, n) < 0)
			return gt_err_set(err, EFBIG, "usage", "%s: larger than %d KiB", path,
					  GT_SPEC_BYTES_MAX / 1024);
	if (ferror(f))
		return gt_err_set(err, EIO, "usage", "%s: %s", path, strerror(errno));
	return 0;
}

static int make_body(struct deploy *d, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf flags = { 0 };
	gt_auto(buf) struct gt_buf file = { 0 };
	int rc = gt_spec_of_args(&d->cli->args, &flags, err);

	if (rc == 0 && !d->file)
		return gt_buf_add(&d->body, flags.data, flags.len);
	if (rc == 0)
		rc = read_file(d->file, &file, err);
	if (rc == 0)
		rc = gt_spec_over(&file, &flags, &d->body, err);
	return rc < 0 ? gt_err_wrap(err, "%s", d->file ? d->file : d->name) : 0;
}

static enum gt_exit put(struct deploy *d, struct gt_rest_answer *answer)
{
	struct gt_cli *cli = d->cli;
	const char *match = gt_args_get(&cli->args, "if-match"), *headers[1];
	bool dry = gt_args_has(&cli->args, "dry-run");
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s%s", d->name,
					       dry ? "?dry_run=1" : "");
	gt_auto(free) char *condition = NULL;
	struct gt_rest_request req = { .method = "PUT",
				       .path = path,
				       .accept = "application/json",
				       .content_type = "application/json",
				       .headers = headers,
				       .body = gt_buf_str(&d->body),
				       .body_len = d->body.len,
				       .timeout_ms = 60000 };

	if (gt_args_has(&cli->args, "create"))
		condition = gt_strdup("If-None-Match: *");
	else if (match)
		condition = gt_asprintf(match[0] == '"' ? "If-Match: %s" : "If-Match: \"%s\"",
					match);
	if (condition)
		headers[req.n_headers++] = condition;
	return gt_cli_send(cli, &req, answer);
}

static void print_result(struct deploy *d, const struct gt_rest_answer *answer)
{
	struct gt_cli *cli = d->cli;
	bool dry = gt_args_has(&cli->args, "dry-run");
	const char *what = "changed";

	if (cli->json) {
		gt_cli_print_json(cli, &answer->body);
		return;
	}
	if (gt_value_bool(d->fn, "unchanged", false))
		what = "unchanged";
	else if (gt_value_bool(d->fn, "created", false))
		what = "created";
	fprintf(cli->out, "%s %s%s", d->name, dry ? "would be " : "", what);
	if (!dry)
		fprintf(cli->out, ", revision %llu", (unsigned long long)d->revision);
	fputc('\n', cli->out);
	fflush(cli->out);
}

static void print_failure(struct deploy *d)
{
	const struct gt_value *end = gt_value_at(d->fn, "last_failure");
	FILE *err = d->cli->err;

	gt_progress_clear(d->cli);
	fprintf(err, "gantry: %s does not start: ", d->name);
	gt_text_print(err, gt_value_str(end, "detail", "no reason known"));
	fprintf(err, "\n  cause: %s\n", gt_value_str(end, "cause", "?"));
	gt_cli_log_tail(d->cli, end);
}

/* What the replicas of the new revision do; the function's own state may still be the old one's. */
struct rollout {
	uint64_t revision;
	bool up;                 /* one serves */
	char pull[GT_PULL_TEXT]; /* of one that waits for its image, or "" */
};

static bool look_at(struct gt_cli *cli GT_UNUSED, const struct gt_value *r, void *arg)
{
	struct rollout *look = arg;

	if (gt_value_u64(r, "revision", 0) != look->revision)
		return true;
	if (gt_value_at(r, "pull"))
		gt_pull_text(gt_value_at(r, "pull"), look->pull);
	look->up = strcmp(gt_value_str(r, "state", ""), "ready") == 0;
	return !look->up;
}

static enum gt_exit look(struct deploy *d, struct rollout *ret)
{
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s/replicas", d->name);

	*ret = (struct rollout){ .revision = d->revision };
	return gt_cli_each(d->cli, path, look_at, ret);
}

static enum gt_exit wait_ready(struct deploy *d)
{
	uint64_t began = gt_mono_ns(&gt_clock_system);
	gt_auto(free) char *path = gt_asprintf("/v1/functions/%s", d->name);
	struct timespec pause = { 0, POLL_MS * 1000000L };

	for (;;) {
		uint64_t ms = (gt_mono_ns(&gt_clock_system) - began) / GT_NS_PER_MS;
		const char *state;
		enum gt_exit code;
		struct rollout rollout;

		gt_value_free(gt_steal(&d->fn));
		code = gt_cli_get(d->cli, path, NULL, &d->fn);
		if (code == GT_EXIT_DONE)
			code = look(d, &rollout);
		if (code != GT_EXIT_DONE)
			return code;
		state = gt_value_str(d->fn, "state", "?");
		if (gt_value_u64(d->fn, "spec.scale.min", 0) == 0) {
			fputs("gantry: scale.min is 0: the first call starts it\n", d->cli->err);
			return GT_EXIT_DONE;
		}
		if (rollout.up) {
			gt_progress_clear(d->cli);
			if (!d->cli->json)
				fprintf(d->cli->out, "%s is ready after %.1f s\n", d->name,
					(double)ms / 1000);
			return GT_EXIT_DONE;
		}
		if (strcmp(state, "failing") == 0) {
			print_failure(d);
			return GT_EXIT_ROLLOUT;
		}
		if (ms > d->timeout_ms) {
			gt_progress_clear(d->cli);
			fprintf(d->cli->err, "gantry: %s is %s after %llu ms; it goes on\n",
				d->name, state, (unsigned long long)d->timeout_ms);
			return GT_EXIT_DEADLINE;
		}
		gt_progress(d->cli, "%s is %s%s%s", d->name, state,
			    rollout.pull[0] ? "; its image: " : "", rollout.pull);
		nanosleep(&pause, NULL);
	}
}

static enum gt_exit wait_if_asked(struct deploy *d)
{
	struct gt_cli *cli = d->cli;

	if (!gt_args_has(&cli->args, "wait") || gt_args_has(&cli->args, "dry-run"))
		return GT_EXIT_DONE;
	return wait_ready(d);
}

static enum gt_exit deploy(struct deploy *d)
{
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct gt_cli *cli = d->cli;
	const char *timeout = gt_args_get(&cli->args, "timeout");
	struct gt_err err = { 0 };
	enum gt_exit code;

	if (timeout && gt_parse_duration_ms(timeout, &d->timeout_ms) < 0)
		return gt_cli_usage(cli, "--timeout %s: write a duration such as 10m", timeout);
	if (gt_deploy_names(&cli->args, &d->name, &d->file, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (!gt_name_ok(d->name))
		return gt_cli_usage(
			cli,
			"\"%s\" is no function name: lower-case letters, digits and '-' "
			"inside; name it before the file: gantry deploy NAME FILE",
			d->name);
	if (make_body(d, &err) < 0)
		return gt_cli_fail(cli, &err);
	if (strcmp(gt_buf_str(&d->body), "{}") == 0)
		return gt_cli_usage(
			cli, "say what to deploy: a FILE, or --image, --port and -- COMMAND");
	code = put(d, &answer);
	if (code != GT_EXIT_DONE)
		return code;
	if (gt_value_parse(gt_buf_str(&answer.body), answer.body.len, &d->fn, &err) < 0)
		return gt_cli_fail(cli, &err);
	d->revision = gt_value_u64(d->fn, "revision", 0);
	print_result(d, &answer);
	return wait_if_asked(d);
}

static enum gt_exit run(struct gt_cli *cli)
{
	struct deploy d = { .cli = cli, .timeout_ms = WAIT_DEFAULT_MS };
	enum gt_exit code = deploy(&d);

	gt_value_free(d.fn);
	gt_buf_fini(&d.body);
	free(d.name);
	return code;
}

const struct gt_command gt_cmd_deploy = {
	.name = "deploy",
	.args = "[NAME] [FILE] [FLAGS] [-- COMMAND ARGS...]",
	.summary = "create or change a function",
	.help = "Declares a function, from a FILE (docs/functions.md), from flags, or from a file "
		"with flags\n"
		"over it. Without NAME the function is called like the file: echo.json makes echo. "
		"A word with\n"
		"a '/' or '.' in it, or \"-\", is the FILE. Deploying the same again changes "
		"nothing.\n"
		"\n"
		"  gantry deploy echo.json\n"
		"  gantry deploy echo --image dir:/srv/echo --port 8000 --memory 64MiB -- /echo",
	.flags = gt_deploy_flags,
	.n_flags = GT_DEPLOY_FLAGS_N,
	.most = 2,
	.rest = true,
	.run = run,
};
