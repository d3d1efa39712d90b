/* webhook.c - `gantry webhook`: the keys that sign what receivers of webhooks are told. */
#include "commands.h"
#include "rest.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>
#include <gantry/wire/json.h>

#define KEYS_PATH "/v1/webhooks/keys"

static enum gt_exit show(struct gt_cli *cli, const struct gt_buf *body)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_err err = { 0 };

	if (cli->json) {
		gt_cli_print_json(cli, body);
		return GT_EXIT_DONE;
	}
	if (gt_value_parse(body->data ? body->data : "", body->len, &v, &err) < 0)
		return gt_cli_fail(cli, &err);
	fprintf(cli->out, "%s\n", gt_value_str(v, "key", ""));
	if (cli->err_tty)
		fprintf(cli->err, "Give it to the receivers; `gantry webhook keys` says until when "
				  "the key before it\nsigns, too. It is not shown again.\n");
	return GT_EXIT_DONE;
}

static enum gt_exit rotate(struct gt_cli *cli)
{
	const char *overlap = gt_args_get(&cli->args, "overlap");
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;
	uint64_t ms;

	if (overlap && gt_parse_duration_ms(overlap, &ms) < 0)
		return gt_cli_usage(cli, "--overlap %s: write a time, as 0s, 90m or 7d", overlap);
	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	if (overlap)
		gt_json_str(&j, "overlap", overlap);
	gt_json_close(&j, '}');
	struct gt_rest_request req = { .method = "POST",
				       .path = KEYS_PATH,
				       .content_type = "application/json",
				       .body = body.data,
				       .body_len = body.len,
				       .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);

	return code == GT_EXIT_DONE ? show(cli, &answer.body) : code;
}

static enum gt_exit drop(struct gt_cli *cli, const char *id)
{
	gt_auto(free) char *path = gt_asprintf(KEYS_PATH "/%s", id);

	if (!*id || id[strspn(id, "0123456789abcdef")])
		return gt_cli_usage(cli, "\"%s\" is no key's id; `gantry webhook keys` lists them",
				    id);
	return gt_cli_remove(cli, path, "%s signs nothing any more", id);
}

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *v, void *arg)
{
	struct gt_table *t = arg;

	gt_table_cell(t, gt_value_str(v, "id", "?"));
	gt_table_cell(t, gt_value_str(v, "created_at", "-"));
	gt_table_cell(t, gt_value_str(v, "ends_at", "-"));
	return true;
}

static enum gt_exit list(struct gt_cli *cli)
{
	static const char *const headers[] = { "KEY", "CREATED", "ENDS" };

	return gt_cli_table(cli, KEYS_PATH, headers, GT_LEN(headers), add_row);
}

static enum gt_exit run(struct gt_cli *cli)
{
	const struct gt_args *a = &cli->args;
	const char *what = a->operands[0];

	if (strcmp(what, "rotate") == 0 && a->n_operands == 1)
		return rotate(cli);
	if (gt_args_has(a, "overlap"))
		return gt_cli_usage(cli, "--overlap is of gantry webhook rotate");
	if (strcmp(what, "keys") == 0 && a->n_operands == 1)
		return list(cli);
	if (strcmp(what, "rm") == 0 && a->n_operands == 2)
		return drop(cli, a->operands[1]);
	return gt_cli_usage(cli, "write gantry webhook keys, gantry webhook rotate, or gantry "
				 "webhook rm KEY");
}

static const struct gt_flag flags[] = {
	{ "overlap", 0, "TIME", "rotate: so long the key before signs, too (default 24h)", false },
};

const struct gt_command gt_cmd_webhook = {
	.name = "webhook",
	.args = "keys | rotate | rm KEY",
	.summary = "the keys that sign webhooks",
	.help = "rotate makes a new key and prints it. Until the overlap is over each webhook "
		"has a signature by\n"
		"the new one and by the one before, so receivers can change theirs in between; "
		"with 0s the old one\n"
		"signs nothing any more. rm ends an old one at once. keys lists those that sign, "
		"by the first digits\n"
		"of their SHA-256.",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 1,
	.most = 2,
	.run = run,
};
