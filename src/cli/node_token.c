/* node_token.c - `gantry node token` and `tokens`: what lets a machine join. */
#include <stdio.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/base/units.h>
#include <gantry/model/spec.h>
#include <gantry/wire/json.h>

#include "node.h"
#include "rest.h"
#include "table.h"

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
	fprintf(cli->out, "%s\n", gt_value_str(v, "token", ""));
	if (cli->err_tty)
		fprintf(cli->err,
			"It lets one machine join, until %s, and is not shown again. There:\n"
			"  gantryd agent --join %s --token TOKEN\n",
			gt_value_str(v, "expires_at", "?"), gt_rest_url(cli->rest));
	return GT_EXIT_DONE;
}

static enum gt_exit make(struct gt_cli *cli)
{
	const char *ttl = gt_args_get(&cli->args, "ttl"), *node = gt_args_get(&cli->args, "node");
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;
	uint64_t ms;

	if (ttl && gt_parse_duration_ms(ttl, &ms) < 0)
		return gt_cli_usage(cli, "--ttl %s: write a time, as 10m or 24h", ttl);
	if (node && !gt_name_ok(node))
		return gt_cli_usage(cli,
				    "--node %s: no name of a node (lower-case letters, digits "
				    "and '-')",
				    node);
	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	if (ttl)
		gt_json_str(&j, "ttl", ttl);
	if (node)
		gt_json_str(&j, "node", node);
	gt_json_close(&j, '}');
	struct gt_rest_request req = { .method = "POST",
				       .path = "/v1/nodes/tokens",
				       .content_type = "application/json",
				       .body = body.data,
				       .body_len = body.len,
				       .timeout_ms = 60000 };
	enum gt_exit code = gt_cli_send(cli, &req, &answer);

	return code == GT_EXIT_DONE ? show(cli, &answer.body) : code;
}

static enum gt_exit drop(struct gt_cli *cli, const char *id)
{
	gt_auto(free) char *path = gt_asprintf("/v1/nodes/tokens/%s", id);

	if (!*id || id[strspn(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ")])
		return gt_cli_usage(cli, "\"%s\" is no token's id; `gantry node tokens` lists them",
				    id);
	return gt_cli_remove(cli, path, "%s lets nobody in any more", id);
}

static bool add_row(struct gt_cli *cli GT_UNUSED, const struct gt_value *v, void *arg)
{
	struct gt_table *t = arg;
	char age[16];

	gt_age_text(gt_value_str(v, "created_at", NULL), gt_wall_ms(&gt_clock_system), age,
		    sizeof(age));
	gt_table_cell(t, gt_value_str(v, "id", "?"));
	gt_table_cell(t, gt_value_str(v, "state", "?"));
	gt_table_cell(t, age);
	gt_table_cell(t, gt_value_str(v, "expires_at", "?"));
	gt_table_cell(t, gt_value_str(v, "node", ""));
	gt_table_cell(t, gt_value_str(v, "used_by", ""));
	return true;
}

static enum gt_exit list(struct gt_cli *cli)
{
	static const char *const headers[] = { "TOKEN",   "STATE", ">AGE",
					       "EXPIRES", "?FOR",  "?USED BY" };

	return gt_cli_table(cli, "/v1/nodes/tokens", headers, GT_LEN(headers), add_row);
}

enum gt_exit gt_node_token(struct gt_cli *cli)
{
	const struct gt_args *a = &cli->args;
	bool many = strcmp(a->operands[0], "tokens") == 0;
	bool asked = gt_args_has(a, "ttl") || gt_args_has(a, "node");

	if ((many || a->n_operands > 1) && asked)
		return gt_cli_usage(cli, "--ttl and --node are of gantry node token");
	if (many && a->n_operands == 1)
		return list(cli);
	if (!many && a->n_operands == 1)
		return make(cli);
	if (!many && a->n_operands == 3 && strcmp(a->operands[1], "rm") == 0)
		return drop(cli, a->operands[2]);
	return gt_cli_usage(cli, "write gantry node token, gantry node token rm ID, or gantry "
				 "node tokens");
}
